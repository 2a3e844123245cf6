"""Parquet, some rows at a time: a file, or a folder of files, whose names may tell columns as Hive's do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ludocast.datamodules.errors import first_line
from ludocast.datamodules.read import check_file, check_names
from ludocast.serve.tables.formats import PARQUET
from ludocast.serve.tables.source import Reading, Source


@dataclass(frozen=True)
class Folder:
    """A data set.

    Attributes:
        files: In the order of their paths.
        keys: For each file the columns that its path tells, such as {"country": "KR"} of country=KR/part-0.parquet.
        kinds: Types of these columns.
    """

    files: Sequence[Path]
    keys: Sequence[dict[str, Any]]
    kinds: dict[str, pa.DataType]


def parquet_files(path: Path) -> list[Path]:
    """The file, or all Parquet files below a folder; those whose names begin with a point or a line are left out.

    Raises:
        ValueError: If there is none, or one is empty.
    """
    found = [path]
    if path.is_dir():
        parts = sorted(part for part in path.rglob("*") if part.suffix.lower() in PARQUET and part.is_file())
        hidden = [any(name.startswith((".", "_")) for name in part.relative_to(path).parts) for part in parts]
        found = [part for part, is_hidden in zip(parts, hidden, strict=True) if not is_hidden]
        found = found if found else [path]
    for file in found:
        check_file(file)
    return found


@contextmanager
def open_parquet(path: Path, reading: Reading) -> Iterator[Source]:
    """The table of a Parquet file or a folder of them.

    Raises:
        ValueError: If a file is broken, or has other columns than the first.
    """
    folder = _folder(path)
    try:
        schema = pq.read_schema(folder.files[0])
        rows = sum(pq.read_metadata(file).num_rows for file in folder.files)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error
    names = [str(name) for name in schema.names]
    check_names([*names, *folder.kinds], path)
    done = [0]
    chunks = _chunks(folder, schema, reading.chunk_rows, done)
    yield Source([*names, *folder.kinds], chunks, rows, lambda: done[0] / max(rows, 1), told_by_path=list(folder.kinds))


def _folder(path: Path) -> Folder:
    files = parquet_files(path)
    if not path.is_dir():
        return Folder(files, [{}], {})
    import pyarrow.dataset as ds  # it takes longer to load than all else here

    try:
        dataset = ds.dataset(
            [str(file) for file in files], format="parquet", partitioning="hive", partition_base_dir=str(path)
        )
        of_file = {one.path: ds.get_partition_keys(one.partition_expression) for one in dataset.get_fragments()}
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise _unreadable(path, error) from error
    keys = [of_file[str(file)] for file in files]
    return Folder(files, keys, {name: dataset.schema.field(name).type for name in keys[0]})


def _chunks(
    folder: Folder, schema: pa.Schema, chunk_rows: int, done: list[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    for number, (path, keys) in enumerate(zip(folder.files, folder.keys, strict=True)):
        try:
            with pq.ParquetFile(path) as file:
                if not file.schema_arrow.equals(schema) or keys.keys() != folder.kinds.keys():
                    raise ValueError(f"{path} has other columns than {folder.files[0].name}; score them one by one")
                for batch in file.iter_batches(chunk_rows, use_threads=False):
                    done[0] += batch.num_rows
                    told = [pa.repeat(pa.scalar(keys[name], kind), len(batch)) for name, kind in folder.kinds.items()]
                    columns = [*batch.columns, *told]
                    yield number, pa.RecordBatch.from_arrays(columns, [*batch.schema.names, *folder.kinds])
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is not a readable Parquet file: {first_line(error)}")
