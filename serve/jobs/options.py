"""What a server does with jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class JobOptions:
    """Scoring of whole tables in the background.

    Attributes:
        folder: Where uploads, results and the list of jobs are kept; without it there are no jobs.
        files: Folder whose tables jobs may name as input; jobs of Azure's clients write their results there too.
        processes: Jobs that are scored at the same time.
        keep: How long jobs, uploads and results are kept, such as 7d, 12h or 30m.
        largest: The largest upload in megabytes.
        memory: Megabytes that the process of a job may take.
    """

    folder: Path | None = None
    files: Path | None = None
    processes: int = 1
    keep: str = "7d"
    largest: int = 10_240
    memory: int = 4_096

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.absolute().parent.is_dir():
            raise ValueError(f"--jobs: there is no folder {self.folder.absolute().parent}")
        if self.files is not None and not self.files.is_dir():
            raise ValueError(f"--job_files: there is no folder {self.files}")
        if min(self.processes, self.largest, self.memory) < 1:
            raise ValueError("--job_processes, --largest_job and --job_memory are 1 or more")
        if self.seconds <= 0:
            raise ValueError(f'--keep_jobs is a time such as 7d, 12h or 30m, got "{self.keep}"')

    @property
    def seconds(self) -> float:
        """How long jobs are kept; 0 where `keep` says nothing."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", self.keep)
        return 0.0 if found is None else float(found[1]) * _UNITS[found[2]]


NO_JOBS = JobOptions()
