"""What is made of a log, as Parquet: sorted, the same bytes for the same input, there as a whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ludocast.datamodules.whole_files import put_folder

ROW_GROUP = 131_072  # rows
FILE_GROUPS = 16


class PartialFolder:
    """A hidden folder beside the target, renamed to it when all is done; what a killed run left is taken away.

    Args:
        out: The target.
        overwrite: Replace what is there.

    Raises:
        ValueError: If the target is in the way, or another run is writing it.
    """

    def __init__(self, out: Path, overwrite: bool = False) -> None:
        if out.name in ("", ".."):
            raise ValueError(f"--out {out} names no folder of its own; give one that is to be made, such as snaps")
        if out.exists() and not overwrite:
            raise ValueError(f"{out} exists; choose another --out, or --overwrite to replace it")
        self.out = out
        self.path = out.absolute().parent / f".{out.name}.partial"
        self._lock: TextIO | None = None

    def __enter__(self) -> Path:
        lock = self.path.with_name(self.path.name + ".lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise ValueError(f"another run is writing {self.out}; wait for it, or choose another --out") from error
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()
        return self.path

    def finish(self) -> None:
        """Rename to the target, which then appears whole."""
        put_folder(self.path, self.out)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.with_name(self.path.name + ".lock").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()


class DataSetWriter:
    """Takes rows in their order and writes them in row groups of one size.

    Args:
        folder: Where the files come.
        row_group: Rows of a row group.
        file_groups: Row groups of a file; None for one file of all.
    """

    def __init__(self, folder: Path, row_group: int = ROW_GROUP, file_groups: int | None = FILE_GROUPS) -> None:
        self.folder, self.row_group, self.file_groups = folder, row_group, file_groups
        self.rows = self.files = 0
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0
        self._writer: pq.ParquetWriter | None = None
        self._in_file = 0

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        self._waiting += table.to_batches()
        self._count += table.num_rows
        self.rows += table.num_rows
        while self._count >= self.row_group:
            self._write(self._take(self.row_group))

    def finish(self, schema: pa.Schema) -> None:
        """Write what is left; a file without rows where there are none."""
        if self._count or not self.files:
            self._write(self._take(self._count) if self._count else schema.empty_table())
        if self._writer is not None:
            self._close()

    def _take(self, rows: int) -> pa.Table:
        whole = pa.Table.from_batches(self._waiting)
        rest = whole.slice(rows)
        self._waiting, self._count = rest.to_batches(), rest.num_rows
        return whole.slice(0, rows).combine_chunks()

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            path = self.folder / f"part-{self.files:05d}.parquet"
            self._writer = pq.ParquetWriter(
                path, table.schema, compression="zstd", write_statistics=True, write_page_checksum=True
            )
            self.files += 1
            self._in_file = 0
        self._writer.write_table(table, row_group_size=self.row_group)
        self._in_file += 1
        if self._in_file == self.file_groups:
            self._close()

    def _close(self) -> None:
        assert self._writer is not None
        self._writer.close()
        self._writer = None


def write_json(path: Path, document: Any) -> None:
    """Write JSON to be read by people too."""
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def test_players(players: pa.Array | pa.ChunkedArray, share: float, seed: int) -> np.ndarray:
    """Which players are kept for the test alone, by a digest of their names; bool [N]."""
    texts = pc.cast(players, pa.string())
    encoded = (texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])).combine_chunks()
    encoded = (encoded if isinstance(encoded, pa.Array) else pa.concat_arrays(encoded.chunks)).dictionary_encode()
    limit = int(share * 2**32)
    chosen = np.array([_place(str(name), seed) < limit for name in encoded.dictionary.to_pylist()], bool)
    return chosen[encoded.indices.to_numpy(zero_copy_only=False)] if len(chosen) else np.zeros(0, bool)


def _place(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4, key=str(seed).encode()).digest(), "big")
