"""The work folder of a run, OUTPUT.partial: what a killed run has answered, for the run that goes on.

It holds `run.json` (what is scored, and how), a file of answers for each chunk that is done, and the output while it is
written. A run that goes on reads and writes all rows again, and asks the model about none twice: so any input can be
gone on with, and the output has the bytes of an unbroken run.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ludocast.datamodules.whole_files import sync_folder, write_whole
from ludocast.serve.batch.answered import Answered

Fingerprint = Mapping[str, Any]
_TOLD = "run.json"
_LOCK_SECONDS = 10.0  # that a run which was killed just now has to be gone


class Work:
    """A work folder that this process has for itself.

    Args:
        output: The file or folder that is made.
        fingerprint: What is scored and how, by which a run may be gone on with.
        resume: Whether a run that was stopped is gone on with.
        overwrite: Whether what is left of another run is thrown away; with `resume` only if it cannot be gone on with.

    Raises:
        ValueError: If there is something of another run, or another process works on this one.
    """

    def __init__(self, output: Path, fingerprint: Fingerprint, resume: bool, overwrite: bool) -> None:
        self.output = output
        self.folder = work_folder(output)
        self.result = self.folder / "output"
        told = self.folder / _TOLD
        if told.exists() and not resume and not overwrite:
            raise ValueError(
                f"{self.folder} holds what a run answered that was stopped; --resume goes on with it, --overwrite "
                "begins anew"
            )
        self.folder.mkdir(exist_ok=True)
        self._lock = locked(self.folder)
        try:
            known = json.loads(told.read_bytes()) if resume and told.exists() else {}
            wanted = json.loads(json.dumps(fingerprint))
            changed = [name for name in {**known, **wanted} if known.get(name) != wanted.get(name)]
            if known and changed and not overwrite:
                raise ValueError(
                    f"{self.folder} is of another run: {', '.join(changed)} changed since; --overwrite begins anew"
                )
            if changed:
                self._clear()
                write_whole(told, json.dumps(wanted, indent=1, ensure_ascii=False).encode())
        except BaseException:
            self._lock.close()
            raise

    def answered(self, number: int) -> Answered | None:
        """The answers to a chunk, if an earlier run had them."""
        path = self._path(number)
        return Answered.from_buffer(path.read_bytes()) if path.exists() else None

    def keep(self, number: int, found: Answered) -> None:
        """Keep the answers to a chunk, whatever happens to this process or machine."""
        write_whole(self._path(number), found.to_buffer())

    def finish(self, more: Mapping[Path, Path]) -> None:
        """Put what was made where it belongs, and leave nothing else.

        Args:
            more: Files beside the output, from where they are to where they belong.
        """
        for made, path in more.items():
            made.replace(path)
        if self.output.is_dir():  # a folder cannot be put over another one
            self.output.replace(self.folder / "replaced")
        self.result.replace(self.output)
        sync_folder(self.output.parent)
        self.remove()

    def stop(self) -> bool:
        """Keep the answers alone; whether there are any."""
        # What lies there counts: a signal may come right after answers were put there.
        if not any(self.folder.glob("*.answers")):
            self.remove()
            return False
        _delete(self.result)
        self._lock.close()
        return True

    def remove(self) -> None:
        """Throw all of it away."""
        shutil.rmtree(self.folder)
        self._lock.close()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:09d}.answers"

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != "lock":
                _delete(path)


def work_folder(output: Path) -> Path:
    """Where a run keeps what it has answered."""
    return output.with_name(f"{output.name}.partial")


def is_begun(output: Path) -> bool:
    """Whether a run was begun and not ended."""
    return (work_folder(output) / _TOLD).exists()


def locked(folder: Path) -> BinaryIO:
    """A folder that no other process has while the answer is open.

    Raises:
        ValueError: If one has it, and goes on having it.
    """
    lock = (folder / "lock").open("ab")
    if sys.platform == "win32":
        return lock
    import fcntl

    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                lock.close()
                raise ValueError(f"another process works in {folder}; wait for its end") from None
            time.sleep(0.1)
        else:
            return lock


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
