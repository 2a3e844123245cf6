"""The work folder of a recipe: `RUN.partial/` until all is done, then `RUN/`."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from ludocast.datamodules.whole_files import put_folder
from ludocast.recipes.experiment import EXPERIMENT_FILE, Asked, plain_values, read_experiment, write_experiment


class RunFolder:
    """Holds what a recipe has written so far.

    Args:
        out: Where the finished run will be.
        resume: Go on from what a stopped run left; None of a recipe that cannot.
        overwrite: Discard what a stopped or finished run left.
        owner: False where another process checks, makes and ends the folder.
        experiment: What the recipe was asked.

    Raises:
        ValueError: If a folder is in the way, or there is nothing to resume.
    """

    def __init__(
        self,
        out: Path,
        *,
        resume: bool | None,
        overwrite: bool,
        owner: bool = True,
        experiment: Asked | None = None,
    ) -> None:
        if out.name in ("", ".."):
            raise ValueError(f"--out {out} names no folder of its own; give one that is to be made, such as run")
        self.out, self.partial = out, out.with_name(out.name + ".partial")
        self.resume, self.overwrite, self.owner = resume, overwrite, owner
        self.experiment = experiment
        self._made: list[Path] = []
        if resume and overwrite:
            raise ValueError("--resume keeps what is there and --overwrite discards it; give one of them")
        if owner:
            self._check()

    def _check(self) -> None:
        out, resume, overwrite = self.out, self.resume, self.overwrite
        if out.exists() and not overwrite:
            raise ValueError(f"{out} exists; choose another --out, or --overwrite to replace it")
        if self.partial.exists() and not (resume or overwrite):
            ways = "--overwrite discards it" if resume is None else "--resume goes on with it, --overwrite discards it"
            raise ValueError(f"{self.partial} is left of a run that was stopped; {ways}")
        if resume and not self.partial.exists():
            raise ValueError(f"there is no {self.partial} to resume; leave --resume out")
        self._check_parent()

    def _check_parent(self) -> None:
        parent = self.out.absolute().parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise ValueError(f"{parent} is a file, so {self.out} cannot be made; choose another --out")
        if not os.access(parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise ValueError(f"no permission to write in {parent}; choose another --out")

    def begin(self, settings: dict[str, Any]) -> Path:
        """Make the work folder, or find the one to resume, and return it.

        Args:
            settings: What the run depends on; a resumed run has to agree with it.

        Raises:
            ValueError: If a resumed run was begun with other settings.
        """
        if not self.owner:
            return self.partial
        if self.partial.exists() and self.overwrite:
            shutil.rmtree(self.partial)
        if self.resume:
            self._compare(settings)
            for left in self.partial.glob(".*.partial"):  # a bundle that was being written when the run was killed
                shutil.rmtree(left)
        else:
            self._made = [parent for parent in self.partial.parents if not parent.exists()]
            self.partial.mkdir(parents=True)
            write_experiment(self.partial / EXPERIMENT_FILE, self.experiment, plain_values(settings))
        return self.partial

    def _compare(self, settings: dict[str, Any]) -> None:
        try:
            before = dict(read_experiment(self.partial)["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.partial} holds no readable {EXPERIMENT_FILE}; --overwrite discards it") from error
        for name, value in plain_values(settings).items():
            if before.get(name) != value:
                raise ValueError(
                    f"{self.partial} was begun with {name} {before.get(name)!r}, now it is {value!r}; "
                    "give the same again, or --overwrite"
                )

    def finish(self) -> None:
        """Rename the work folder to the finished run, which then appears whole."""
        put_folder(self.partial, self.out)

    def discard(self) -> None:
        """Leave nothing behind, not even the folders that were made on the way."""
        if not self.owner:
            return
        shutil.rmtree(self.partial, ignore_errors=True)
        for parent in self._made:
            with contextlib.suppress(OSError):  # never made, or in use by others meanwhile
                parent.rmdir()


def quoted(path: str | Path) -> str:
    """A path as a shell takes it, for commands that are printed to be copied."""
    return shlex.quote(str(path))
