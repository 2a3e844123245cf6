"""The backend that the options of `ludocast serve` ask for."""

from __future__ import annotations

import sys

from ludocast.serve.calls import Backend
from ludocast.serve.options import Scoring

IN_PROCESS = Scoring()


def choose_backend(scoring: Scoring = IN_PROCESS, deadline: float = 30.0) -> Backend:
    """Scoring in this process, in workers, or in those of TorchServe.

    Args:
        scoring: Which of them, and how.
        deadline: Seconds within which a request is scored.

    Raises:
        ValueError: If it cannot be here.
    """
    if scoring.device != "cpu":
        from ludocast.serve.device import providers  # onnxruntime is slow to import, and workers import it themselves

        providers(scoring.device)
    if scoring.torchserve:
        from ludocast.serve.torchserve.backend import TorchServeBackend

        return TorchServeBackend(scoring.workers, deadline)
    if scoring.workers == 1:
        from ludocast.serve.backends.local import LocalBackend

        return LocalBackend(scoring.threads, scoring.device)
    if sys.platform == "win32":
        raise ValueError("--workers needs Linux or macOS; start several servers behind a load balancer")
    from ludocast.serve.backends.worker_link import WorkerOptions
    from ludocast.serve.backends.workers import WorkersBackend

    return WorkersBackend(scoring.workers, WorkerOptions(scoring.threads, scoring.device), deadline)
