"""Files of a simulated game: there as a whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
from ludocast.datamodules.whole_files import sync_file


def check_out(out: Path, names: Sequence[str], overwrite: bool) -> None:
    """Refuse a folder that cannot take these files.

    Raises:
        ValueError: If it is a file, or one of them is there and is not to be replaced.
    """
    there = [name for name in names if (out / name).exists()]
    if there and not overwrite:
        raise ValueError(f"{out / there[0]} exists; give another --out, or --overwrite to replace it")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out names a folder, but {out} is a file")


@contextmanager
def filling(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """A hidden folder to write these files into; they are then moved to the target, in this order.

    Args:
        out: The target; made where it is absent.
        names: Of the files; where the last one stands, the others do too.
    """
    # Beside the target, hence on the same disk, where a rename is one step.
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        yield partial
        out.mkdir(exist_ok=True)
        for name in names:
            (partial / name).replace(out / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_csv(table: pa.Table, path: Path) -> None:
    """Write a CSV file, on the disk when this returns."""
    with path.open("wb") as file:
        pacsv.write_csv(table, file, pacsv.WriteOptions(quoting_style="needed"))
        sync_file(file)
