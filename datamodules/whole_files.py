"""Files and folders that are there as a whole or not at all, whatever happens to the process or the machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO


def sync_file(file: IO[Any]) -> None:
    """Have the disk hold all that was written into an open file."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder last through a power cut; Windows opens no folders."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(folder: Path) -> None:
    """Have the disk hold all files of a folder."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def put_file(made: Path, path: Path) -> None:
    """Rename a file, on the disk as a whole, to the target, which then appears whole."""
    with made.open("rb+") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())
    made.replace(path)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A hidden file beside the target, put in its place at the end; it is gone if that is not reached.

    Args:
        path: The target.
    """
    made = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with made.open("wb") as file:
            yield file
            sync_file(file)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def write_whole(path: Path, content: Any) -> None:
    """Write a file.

    Args:
        path: The target.
        content: Bytes, or a buffer of them.
    """
    with replacing(path) as file:
        file.write(content)


def put_folder(made: Path, folder: Path) -> None:
    """Rename a folder to the target, which then appears whole; what stood there goes last, or comes back on failure."""
    replaced = made.with_name(f"{made.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)  # of a process that was killed here
    if not folder.exists():
        made.rename(folder)
        return
    folder.rename(replaced)
    try:
        made.rename(folder)
    except BaseException:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
