"""What a server does with jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class JobOptions:
    """Jobs, which score whole tables in the background.

    Attributes:
        jobs: Folder for jobs: uploads, results and the list of them; without it there are none.
        job_files: Folder whose tables jobs may name in place of an upload; programs of Azure ML Studio (classic) get
            their results there too.
        job_processes: Jobs that are scored at the same time.
        keep_jobs: How long jobs, their uploads and results are kept, such as 7d, 12h or 30m.
        largest_job: The largest upload of a job in megabytes.
        job_memory: Megabytes of memory that the process of a job may take.
    """

    jobs: Path | None = None
    job_files: Path | None = None
    job_processes: int = 1
    keep_jobs: str = "7d"
    largest_job: int = 10_240
    job_memory: int = 4_096

    def __post_init__(self) -> None:
        if self.jobs is not None and not self.jobs.absolute().parent.is_dir():
            raise ValueError(f"--jobs: there is no folder {self.jobs.absolute().parent}")
        if self.job_files is not None and not self.job_files.is_dir():
            raise ValueError(f"--job-files: there is no folder {self.job_files}")
        if min(self.job_processes, self.largest_job, self.job_memory) < 1:
            raise ValueError("--job-processes, --largest-job and --job-memory are 1 or more")
        if self.seconds <= 0:
            raise ValueError(f'--keep-jobs is a time such as 7d, 12h or 30m, got "{self.keep_jobs}"')

    @property
    def seconds(self) -> float:
        """How long jobs are kept; 0 where `keep_jobs` says nothing."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", self.keep_jobs)
        return 0.0 if found is None else float(found[1]) * _UNITS[found[2]]


NO_JOBS = JobOptions()
