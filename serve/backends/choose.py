"""The backend that the options of `ludocast serve` ask for."""

from __future__ import annotations

import sys

from ludocast.serve.calls import Backend


def choose_backend(
    workers: int = 1, threads: int = 1, device: str = "cpu", deadline: float = 30.0, torchserve: bool = False
) -> Backend:
    """Scoring in this process, in workers, or in those of TorchServe.

    Args:
        workers: Processes that score; 1 is this process alone.
        threads: Of onnxruntime, in each.
        device: "cpu" or "cuda".
        deadline: Seconds within which a request is scored.
        torchserve: Whether TorchServe runs the workers.

    Raises:
        ValueError: If one of them cannot be.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"expected one worker and one thread or more, however: {workers=} {threads=}")
    if device != "cpu":
        from ludocast.serve.device import providers  # onnxruntime is slow to import, and workers import it themselves

        providers(device)
    if torchserve:
        if threads != 1 or device != "cpu":
            raise ValueError("behind TorchServe a worker has one thread and no GPU; leave out --threads and --device")
        from ludocast.serve.torchserve.backend import TorchServeBackend

        return TorchServeBackend(workers, deadline)
    if workers == 1:
        from ludocast.serve.backends.local import LocalBackend

        return LocalBackend(threads, device)
    if sys.platform == "win32":
        raise ValueError("--workers needs Linux or macOS; start several servers behind a load balancer")
    from ludocast.serve.backends.worker_link import WorkerOptions
    from ludocast.serve.backends.workers import WorkersBackend

    return WorkersBackend(workers, WorkerOptions(threads, device), deadline)
