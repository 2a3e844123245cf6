"""What the commands on an event log have in common: where the log is, the windows of snapshots, how both are opened."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ludocast.datamodules.etl.engine import Engine, connect, parse_memory, telling_of_engines
from ludocast.datamodules.etl.log import Log, open_log
from ludocast.datamodules.etl.plan import Kind
from ludocast.datamodules.etl.rules import Rules, read_document, rules_of, whole_days
from ludocast.datamodules.etl.sources import find_source
from ludocast.datamodules.etl.times import Unit

Given = Mapping[str, str | None]


@dataclass(frozen=True)
class LogOptions:
    """Where a log is, and how it is read.

    Attributes:
        log: Files, folders and globs (Parquet, CSV, JSON lines), a DuckDB file, or a table of the engine.
        player: Column of the player; found by its name.
        time: Column of the time; found by its name.
        event: Column of the event's type, none to leave it aside; found by its name.
        amount: Column of money, the same.
        time_unit: Of times that are numbers; found by itself.
        dedupe: Count rows that are equal in every column once.
        engine: duckdb, spark, spark://HOST:PORT or postgres://USER:PASSWORD@HOST/DATABASE.
        table: Table of a DuckDB file.
        memory: What DuckDB may use.
        spill: Folder for what does not fit into memory.
    """

    log: list[str]
    player: str | None = None
    time: str | None = None
    event: str | None = None
    amount: str | None = None
    time_unit: Unit | None = None
    dedupe: bool = False
    engine: str = "duckdb"
    table: str | None = None
    memory: str = "4GB"
    spill: Path | None = None

    @property
    def columns(self) -> dict[str, str | None]:
        """Role to column, None to look for one."""
        return {"player": self.player, "time": self.time, "event": self.event, "amount": self.amount}

    @contextmanager
    def engine_in(self, work: Path) -> Iterator[Engine]:
        """The engine, for as long as the block lasts.

        Args:
            work: Folder for its tables, which is made, and taken away in the end.

        Raises:
            ValueError: If it does not answer, or refuses what it is asked.
        """
        memory = parse_memory(self.memory)
        work.mkdir()
        with telling_of_engines():
            try:
                engine = connect(self.engine, memory, work, self.spill)
                try:
                    yield engine
                finally:
                    engine.close()
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def opened(self, engine: Engine, columns: Given, unit: Unit | None, until: int | None = None) -> Log:
        """The log, what was found and left out told.

        Args:
            engine: Of `engine_in`.
            columns: Role to column, None to look for one.
            unit: Of times that are numbers; None to find it.
            until: Day since 1970 from which on nothing is to be known; None for everything.

        Raises:
            ValueError: If it does not serve; the sentence says why.
        """
        source = find_source(engine, self.log, self.table)
        log = open_log(engine, source, columns, unit, self.dedupe, until)
        for note in log.notes:
            print(f"note: {note}", flush=True)
        return log


@dataclass(frozen=True)
class SnapshotOptions:
    """Which moments players are asked about.

    Attributes:
        level: Column of the player's level, none to leave it aside; found by its name.
        session: Column that names the session, the same.
        observe: How much of the past is known.
        gap: Time between a snapshot and its label.
        horizon: How long a player who left is not seen.
        active_within: A player seen last before this is not asked about.
        step: From one snapshot to the next.
        at: One snapshot without labels, for scoring: a date such as 2026-01-31, now, or end for the log's.
        like: Earlier output of this command; columns and windows are its own.
        players_apart: Players of the test are in no other part.
        seed: Of the players of the test.
    """

    level: str | None = None
    session: str | None = None
    observe: str = "56d"
    gap: str = "0d"
    horizon: str = "28d"
    active_within: str = "7d"
    step: str = "14d"
    at: str | None = None
    like: Path | None = None
    players_apart: bool = False
    seed: int = 0

    @property
    def columns(self) -> dict[str, str | None]:
        """Role to column, None to look for one."""
        return {"level": self.level, "session": self.session}

    def rules(self, **others: Any) -> Rules:
        """The windows, checked.

        Args:
            others: What decides a snapshot beside them.

        Raises:
            ValueError: If one is no duration, or they contradict each other.
        """
        rules = Rules(
            whole_days("--observe", self.observe), whole_days("--gap", self.gap), whole_days("--horizon", self.horizon),
            whole_days("--active-within", self.active_within), whole_days("--step", self.step), **others,
        )  # fmt: skip
        rules.windows  # noqa: B018 — checks them
        return rules


@dataclass(frozen=True)
class Asked:
    """What is to be made of a log, once `--like` is followed.

    Attributes:
        rules: Windows and the like.
        columns: Role to column, None to look for one.
        unit: Of times that are numbers; None to find it.
        like: The document of earlier output that is followed; None for none.
    """

    rules: Rules
    columns: Given
    unit: Unit | None = None
    like: Mapping[str, Any] | None = None


def asked_for(kind: Kind, source: LogOptions, options: SnapshotOptions, rules: Rules) -> Asked:
    """Windows and columns as given, or those of `--like`.

    Raises:
        ValueError: If it names no folder of this kind.
    """
    columns = source.columns | options.columns
    if options.like is None:
        return Asked(rules, columns, source.time_unit)
    like = read_document(options.like, kind)
    own = {role: like["log"].get(role, "none") for role in columns}
    return Asked(rules_of(like["rules"]), own, like["time_unit"], like)


def day_asked(at: str | None) -> int | None:
    """Days since 1970 of the one snapshot; None for all of them, or where the log's end says it.

    Raises:
        ValueError: If it is no date.
    """
    if at is None or at == "end":
        return None
    if at == "now":
        return (dt.datetime.now(dt.UTC).date() - dt.date(1970, 1, 1)).days
    return day_of_date("--at", at, ", or now, or end")


def day_of_date(option: str, text: str, others: str = "") -> int:
    """Days since 1970 of a date such as 2008-01-01.

    Args:
        option: Its name, for the error.
        text: As a person wrote it.
        others: What else the option takes.

    Raises:
        ValueError: If it is none.
    """
    try:
        return (dt.date.fromisoformat(text) - dt.date(1970, 1, 1)).days
    except ValueError as error:
        raise ValueError(f'{option} is a date such as 2008-01-01{others}, got "{text}"') from error
