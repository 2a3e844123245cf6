"""`ludocast serve`: predictions of one bundle or several over HTTP."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from ludocast.serve.backends.choose import choose_backend
from ludocast.serve.batcher import Batcher
from ludocast.serve.calls import Backend
from ludocast.serve.deployments import Deployments
from ludocast.serve.http.application import Application
from ludocast.serve.http.connections import Connections
from ludocast.serve.http.listen import Listener, open_socket, until_signal
from ludocast.serve.http.router import Router
from ludocast.serve.routes.models import add_model_routes
from ludocast.serve.routes.predict import add_predict_routes
from ludocast.serve.routes.studio import add_studio_routes
from ludocast.serve.service import Service


def serve(
    bundle: list[str],
    host: str = "127.0.0.1",
    port: int = 8080,
    drain: float = 30.0,
    workers: int = 1,
    threads: int = 1,
    device: str = "cpu",
) -> None:
    """Answer predictions over HTTP until stopped.

    POST /predict takes one record or a JSON list of records, such as [{"level": 3, "country": "KR"}]; of a model of an
    event log also raw events, {"events": [{"time": "2026-01-31T18:00:00Z", "event": "login"}]}. With several bundles
    the first one answers there, each at /models/NAME/predict. GET /openapi.json describes it for this model, GET
    /v2/health/ready tells when it answers.

    Example: ludocast serve --bundle run/bundle --port 8080

    Args:
        bundle: Folder of a bundle, RUN/bundle of a training; of several if given again.
        host: Address to listen on; by default this machine alone can reach it.
        port: Port to listen on; 0 takes a free one.
        drain: Seconds that requests have to be answered in once the server is told to stop.
        workers: Processes that score. With 1 the server does it itself; one of several may die, and loses nothing.
        threads: Of onnxruntime, in each process that scores.
        device: cpu, or cuda where onnxruntime-gpu is installed.
    """
    backend = choose_backend(workers, threads, device)
    run_loop(_serve(Server(open_socket(host, port), drain, backend), [Path(one) for one in bundle]))


class Server:
    """Bundles behind a socket.

    Args:
        listening: Of `open_socket`.
        drain: Seconds that requests have to be answered in once the server stops.
        backend: That scores; None scores in this process.
    """

    def __init__(self, listening: socket.socket, drain: float = 30.0, backend: Backend | None = None) -> None:
        if backend is None:
            backend = choose_backend()
        self.service = Service(backend, Deployments(backend), Batcher(backend))
        self._listening = listening
        self._drain = drain
        self._listener: Listener | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._listening.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self, bundles: Sequence[Path]) -> None:
        """Load bundles, then listen.

        Raises:
            ValueError: If one is damaged, too new, or does not reproduce its check rows.
        """
        for bundle in bundles:
            await self.service.deployments.load(bundle)
        self._listener = Listener(Connections(application(self.service)), self._listening)
        await self._listener.start()
        self.service.is_ready = True

    async def stop(self) -> bool:
        """Answer what was accepted, then end; whether all was answered in time."""
        self.service.is_ready = False
        in_time = self._listener is None or await self._listener.drain(self._drain)
        await self.service.backend.close()
        return in_time


async def _serve(server: Server, bundles: Sequence[Path]) -> None:
    try:
        await server.start(bundles)
        names = ", ".join(f"{one.manifest.name} {one.manifest.version}" for one in server.service.deployments)
        print(f"{names} listens on {server.url} (Ctrl-C stops)", flush=True)
        await until_signal()
    finally:
        if not await server.stop():
            print("some requests were not answered within --drain", file=sys.stderr)


def application(service: Service) -> Application:
    """All routes of a service."""
    router = Router()
    add_predict_routes(router, service)
    add_model_routes(router, service)
    add_studio_routes(router)
    return Application(router)


def run_loop(main: object) -> None:
    """Run a coroutine in the fastest event loop there is."""
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows has none
        asyncio.run(main)  # type: ignore[arg-type]
    else:
        uvloop.run(main)  # type: ignore[arg-type]
