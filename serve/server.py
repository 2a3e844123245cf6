"""`ludocast serve`: predictions of one bundle or several over HTTP."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ludocast.serve.backends.choose import choose_backend
from ludocast.serve.batcher import Batcher
from ludocast.serve.calls import Backend
from ludocast.serve.deployments import Deployments
from ludocast.serve.http.application import Application, Guard
from ludocast.serve.http.connections import Connections
from ludocast.serve.http.listen import Listener, open_socket, raise_file_limit, tls, until_signal
from ludocast.serve.http.router import Router
from ludocast.serve.jobs.options import NO_JOBS, JobOptions
from ludocast.serve.observe.access_log import AccessLog, open_log
from ludocast.serve.observe.metrics import Metrics
from ludocast.serve.options import Access, Listening, Observing, Scoring
from ludocast.serve.routes.admin import add_admin_routes
from ludocast.serve.routes.classic import add_classic_routes
from ludocast.serve.routes.inference import add_inference_routes
from ludocast.serve.routes.metrics import add_metrics_routes
from ludocast.serve.routes.models import add_model_routes
from ludocast.serve.routes.predict import add_predict_routes
from ludocast.serve.routes.studio import add_studio_routes
from ludocast.serve.safety.guard import guard_of
from ludocast.serve.service import Service
from ludocast.serve.trials import NO_TRIALS, Trials

if TYPE_CHECKING:
    from ludocast.serve.jobs.jobs import Jobs


def serve(
    bundle: list[str],
    listening: Listening,
    access: Access,
    scoring: Scoring,
    jobs: JobOptions,
    trials: Trials,
    observing: Observing,
    service_ids: dict[str, str] | None = None,
) -> None:
    """Answer predictions over HTTP until stopped.

    POST /predict takes one record or a JSON list of records, such as [{"level": 3, "country": "KR"}]; of a model of an
    event log also raw events, {"events": [{"time": "2026-01-31T18:00:00Z", "event": "login"}]}. With several bundles
    the first one answers there, each at /models/NAME/predict. GET /openapi.json describes it for this model, GET
    /v2/health/ready tells when it answers, and / is a page for people.

    Example: ludocast serve --bundle run/bundle --port 8080

    Args:
        bundle: Folder of a bundle, RUN/bundle of a training; of several if given again.
        listening: Where.
        access: To whom.
        scoring: By what.
        jobs: Of whole tables.
        trials: Other versions.
        observing: What is written down.
        service_ids: Ids of web services of Azure ML Studio (classic) to names of models, for programs that keep theirs:
            --service_ids.ID NAME.
    """
    context = None
    if listening.tls_certificate is not None and listening.tls_key is not None:
        context = tls(listening.tls_certificate, listening.tls_key)
    backend = choose_backend(scoring)
    listener = open_socket(listening.host, listening.port)
    try:
        guard = guard_of(listener.getsockname()[0], access)
        log = open_log(observing)
    except (ValueError, OSError):
        listener.close()
        raise
    server = Server(listener, listening.drain, guard, context, backend, log, jobs, trials, service_ids)
    run_loop(_serve(server, [Path(one) for one in bundle]))


class Server:
    """Bundles behind a socket.

    Args:
        listening: Of `open_socket`.
        drain: Seconds that requests have to be answered in once the server stops.
        guard: Who may call what; None lets everybody.
        context: Of TLS; None speaks plainly.
        backend: That scores; None scores in this process.
        log: Of answers; None keeps none.
        jobs: Scoring of whole tables in the background.
        trials: Versions beside those that answer.
        service_ids: Ids of web services of Azure ML Studio (classic) to names of models.
    """

    def __init__(
        self,
        listening: socket.socket,
        drain: float = 30.0,
        guard: Guard | None = None,
        context: ssl.SSLContext | None = None,
        backend: Backend | None = None,
        log: AccessLog | None = None,
        jobs: JobOptions = NO_JOBS,
        trials: Trials = NO_TRIALS,
        service_ids: Mapping[str, str] | None = None,
    ) -> None:
        if backend is None:
            backend = choose_backend()
        batcher = Batcher(backend)
        self.service = Service(backend, Deployments(backend, batcher), batcher)
        if service_ids is not None:
            self.service.services = service_ids
        self._trials = trials
        self._listening = listening
        self._drain = drain
        self._guard = guard
        self._context = context
        self._job_options = jobs
        self._jobs: Jobs | None = None
        self._log = log
        self._listener: Listener | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._listening.getsockname()[:2]
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def start(self, bundles: Sequence[Path]) -> None:
        """Load bundles, then listen.

        Raises:
            ValueError: If one is damaged, too new, or does not reproduce its check rows.
        """
        for bundle in bundles:
            await self.service.deployments.load(bundle)
        await self._trials.start(self.service.deployments)
        if self._job_options.jobs is not None:
            # Not above: what reads and writes tables takes time to load.
            from ludocast.serve.jobs.jobs import Jobs

            self._jobs = await asyncio.to_thread(Jobs, self._job_options)
            await self._jobs.start()
        models_folder = self._trials.models_folder
        connections = Connections(application(self.service, self._guard, self._log, self._jobs, models_folder))
        self._listener = Listener(connections, self._listening, self._context)
        await self._listener.start()
        self.service.is_ready = True

    async def stop(self) -> bool:
        """Answer what was accepted, then end; whether all was answered in time."""
        self.service.is_ready = False
        in_time = self._listener is None or await self._listener.drain(self._drain)
        if self._jobs is not None:
            await self._jobs.stop()
        await self.service.backend.close()
        if self._log is not None:
            self._log.close()
        return in_time


async def _serve(server: Server, bundles: Sequence[Path]) -> None:
    raise_file_limit()
    try:
        await server.start(bundles)
        names = ", ".join(f"{one.manifest.name} {one.manifest.version}" for one in server.service.deployments)
        print(f"{names} listens on {server.url} (Ctrl-C stops)", flush=True)
        await until_signal()
    finally:
        if not await server.stop():
            print("some requests were not answered within --drain", file=sys.stderr)


def application(
    service: Service,
    guard: Guard | None = None,
    log: AccessLog | None = None,
    jobs: Jobs | None = None,
    models_folder: Path | None = None,
) -> Application:
    """All routes of a service, and those of jobs and of changing models where there are such."""
    metrics = Metrics(service)
    router = Router()
    add_predict_routes(router, service)
    add_inference_routes(router, service)
    add_classic_routes(router, service)
    add_model_routes(router, service)
    add_studio_routes(router)
    add_metrics_routes(router, metrics)
    if models_folder is not None:
        add_admin_routes(router, service, models_folder)
    if jobs is not None:
        from ludocast.serve.routes.classic_jobs import add_classic_job_routes
        from ludocast.serve.routes.jobs import add_job_routes

        add_job_routes(router, service, jobs)
        add_classic_job_routes(router, service, jobs)
    return Application(router, guard, [metrics] if log is None else [metrics, log])


def run_loop(main: object) -> None:
    """Run a coroutine in the fastest event loop there is."""
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows has none
        asyncio.run(main)  # type: ignore[arg-type]
    else:
        uvloop.run(main)  # type: ignore[arg-type]
