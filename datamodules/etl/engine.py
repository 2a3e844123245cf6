"""Where a log is worked on: DuckDB inside the process, Spark, or a PostgreSQL warehouse; all by way of Ibis."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ludocast.datamodules.errors import first_line

Kind = Literal["duckdb", "spark", "postgres"]
DUCKDB_SHARE = 0.7  # of the memory: the rest is Python's, Arrow's, and what DuckDB does not count
SPARK_PARTITIONS = "8"


@dataclass
class Engine:
    """A connection, and how tables that are used again are kept on it.

    Attributes:
        kind: Which engine.
        con: Ibis' backend.
        memory: Bytes that may be used; told to DuckDB alone, others have settings of their own.
    """

    kind: Kind
    con: Any
    memory: int
    _kept: list[Any] = field(default_factory=list)

    @property
    def can_try(self) -> bool:
        """Whether a text that is no time or number can be read as missing instead of ending the query."""
        return self.kind != "postgres"

    @property
    def has_order(self) -> bool:
        """Whether rows come in the order in which they are stored, where that is asked for: `in_order`."""
        return self.kind == "duckdb"

    @contextlib.contextmanager
    def in_order(self) -> Iterator[None]:
        """Meanwhile rows come in the order in which they are stored, if the engine has one."""
        if self.has_order:
            self.con.raw_sql("SET preserve_insertion_order = true")
        try:
            yield
        finally:
            if self.has_order:
                self.con.raw_sql("SET preserve_insertion_order = false")

    def keep(self, name: str, expression: ir.Table) -> ir.Table:
        """The rows of an expression, worked out once."""
        if self.kind == "spark":
            cached = expression.cache()
            self._kept.append(cached)  # gone with its last reference
            return cached
        table: ir.Table = self.con.create_table(name, expression, temp=self.kind == "postgres")
        return table

    def row(self, expression: ir.Table) -> dict[str, Any]:
        """The one row of an aggregate."""
        found: dict[str, Any] = expression.to_pyarrow().to_pylist()[0]
        return found

    def batches(self, expression: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of an expression, in its order."""
        yield from self.con.to_pyarrow_batches(expression, chunk_size=rows)

    def close(self) -> None:
        """End the connection; what was kept on it is gone."""
        self._kept.clear()
        with contextlib.suppress(Exception):  # an engine that has broken down cannot say goodbye
            self.con.disconnect()


def connect(engine: str, memory: int, work: Path, spill: Path | None = None, threads: int | None = None) -> Engine:
    """Connect to an engine.

    Args:
        engine: duckdb, spark, spark://HOST:PORT, or postgres://USER:PASSWORD@HOST/DATABASE.
        memory: Bytes.
        work: An empty folder, for the tables of DuckDB.
        spill: Where DuckDB lays what does not fit into memory; in `work` by default.
        threads: Of DuckDB; one a core by default.

    Raises:
        ValueError: If there is no such engine, or it does not answer.
    """
    scheme = engine.partition(":")[0]
    if engine == "duckdb":
        return Engine("duckdb", _duckdb(memory, work, work / "spill" if spill is None else spill, threads), memory)
    if scheme == "spark":
        return Engine("spark", _spark("local[*]" if engine == "spark" else engine), memory)
    if scheme in ("postgres", "postgresql"):
        return Engine("postgres", _postgres(engine), memory)
    raise ValueError(f'--engine is duckdb, spark, spark://HOST:PORT or postgres://USER@HOST/DATABASE, got "{engine}"')


def _duckdb(memory: int, work: Path, spill: Path, threads: int | None) -> Any:
    settings: dict[str, Any] = {"memory_limit": f"{int(memory * DUCKDB_SHARE / 1e6)}MB"}
    if threads is not None:
        settings["threads"] = threads
    con = ibis.duckdb.connect(work / "log.duckdb", temp_directory=str(spill), **settings)
    con.raw_sql("SET TimeZone = 'UTC'")
    con.raw_sql("SET preserve_insertion_order = false")  # rows are ordered where order counts
    return con


def _spark(master: str) -> Any:
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise ValueError("--engine spark needs PySpark: pip install 'ludocast[spark]', and Java 17") from error
    builder = SparkSession.builder.master(master).appName("ludocast").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.shuffle.partitions", SPARK_PARTITIONS)
    try:
        session = builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    except Exception as error:
        raise ValueError(
            f"Spark does not start ({first_line(error)}); it needs Java 17, and JAVA_HOME if it has several"
        ) from error
    session.conf.set("spark.sql.session.timeZone", "UTC")
    return ibis.pyspark.connect(session)


def _postgres(url: str) -> Any:
    try:
        con = ibis.connect(url.replace("postgresql://", "postgres://", 1))
    except ModuleNotFoundError as error:
        raise ValueError("a PostgreSQL engine needs its driver: pip install 'ludocast[postgres]'") from error
    except Exception as error:
        hidden = re.sub(r"://[^@/]*@", "://…@", url)
        raise ValueError(f"{hidden} does not answer: {first_line(error)}") from error
    con.raw_sql("SET TIME ZONE 'UTC'")
    return con


_ENGINES = ("duckdb", "psycopg", "pyspark", "py4j", "ibis", "_duckdb")


@contextlib.contextmanager
def telling_of_engines() -> Iterator[None]:
    """Turn what an engine refuses into one sentence.

    Raises:
        ValueError: With its reason.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (ValueError, OSError)) or type(error).__module__.split(".")[0] not in _ENGINES:
            raise
        raise ValueError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    text = first_line(error)
    low = str(error).lower()
    if any(sign in low for sign in ("no space left", "file too large", "max_temp_directory_size")):
        return f"the disk is full: {text}; free some of it, or give another folder with --spill"
    if "out of memory" in low or type(error).__name__ == "OutOfMemoryException":
        return f"the memory does not suffice: {text}; give more with --memory, or a folder with more room with --spill"
    return f"the log cannot be worked on: {text}"


def parse_memory(text: str) -> int:
    """Bytes of a size such as 4GB or 800MB.

    Raises:
        ValueError: If it is none, or below 200 MB.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([GMgm])[Bb]?\s*", text)
    if found is None:
        raise ValueError(f'--memory is a size such as 4GB or 800MB, got "{text}"')
    size = int(float(found[1]) * (10**9 if found[2] in "Gg" else 10**6))
    if size < 200_000_000:
        raise ValueError(f'--memory is 200MB or more, got "{text}"')
    return size
