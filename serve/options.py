"""Options of `ludocast serve`; each class is a group of them, which the command line shows flat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and how it ends.

    Attributes:
        host: Address to listen on; by default this machine alone can reach it, any other asks for --keys.
        port: Port to listen on; 0 takes a free one.
        drain: Seconds that requests have to be answered in once the server is told to stop.
        tls_certificate: File with the certificate (PEM, with its chain); the server then speaks HTTPS.
        tls_key: File with the certificate's private key.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    drain: float = 30.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port is a number up to 65535, got {self.port}")
        if not 0 <= self.drain < math.inf:
            raise ValueError(f"--drain is 0 or more seconds, got {self.drain}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("--tls-certificate and --tls-key belong together; give both")


@dataclass(frozen=True)
class Access:
    """Who may call it.

    Attributes:
        keys: File of keys that `ludocast keys add` wrote; requests then need one. It is read again when it changes.
        no_auth: Let other machines call without a key.
    """

    keys: Path | None = None
    no_auth: bool = False


@dataclass(frozen=True)
class Scoring:
    """What scores.

    Attributes:
        workers: Processes that score. With 1 the server does it itself; one of several may die, and loses nothing.
        threads: Of onnxruntime, in each process that scores.
        device: cpu, or cuda where onnxruntime-gpu is installed.
        torchserve: Have TorchServe run the workers, as `ludocast torchserve` does; needs ludocast[torchserve].
    """

    workers: int = 1
    threads: int = 1
    device: str = "cpu"
    torchserve: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1 or self.threads < 1:
            raise ValueError(f"--workers and --threads are 1 or more, got {self.workers} and {self.threads}")
        if self.torchserve and (self.threads != 1 or self.device != "cpu"):
            raise ValueError("behind TorchServe a worker has one thread and no GPU; leave out --threads and --device")


@dataclass(frozen=True)
class Observing:
    """What is written down of requests.

    Attributes:
        access_log: File to which a line of JSON is added for each answer, or stderr, or off.
        log_values: Have those lines hold what was asked and answered, so values of players.
    """

    access_log: str = "stderr"
    log_values: bool = False
