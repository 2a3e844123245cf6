"""`ludocast serve`: predictions of one bundle over HTTP."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from ludocast.serve.answers import answer_records
from ludocast.serve.openapi import openapi
from ludocast.serve.scorer import Predictions, Scorer

LARGEST_BODY = 16 << 20  # bytes
MOST_ROWS = 10_000  # a request; files are for `ludocast score`
FEW_ROWS, FEW_BYTES = 32, 1 << 16  # up to here a thread of its own would cost more than it frees
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(bundle: Path, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Answer predictions over HTTP until stopped.

    POST /predict takes one record or a JSON list of records, such as [{"level": 3, "country": "KR"}]; of a model of an
    event log also raw events, {"events": [{"time": "2026-01-31T18:00:00Z", "event": "login"}]}. GET /openapi.json
    describes it for this model, GET /v2/health/ready tells when it answers.

    Example: ludocast serve --bundle run/bundle --port 8080

    Args:
        bundle: Folder of the bundle, RUN/bundle of a training.
        host: Address to listen on; by default this machine alone can reach it.
        port: Port to listen on; 0 takes a free one.
    """
    scorer = Scorer.load(bundle)
    try:
        asyncio.run(_listen(scorer, host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} of {host} is taken; choose another with --port") from error
        raise


async def _listen(scorer: Scorer, host: str, port: int) -> None:
    runner = web.AppRunner(application(scorer), access_log=None, shutdown_timeout=30)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        at = runner.addresses[0]
        manifest = scorer.manifest
        print(f"{manifest.name} {manifest.version} listens on http://{at[0]}:{at[1]} (Ctrl-C stops)", flush=True)
        await stopped.wait()
    finally:
        await runner.cleanup()  # requests in flight are finished first


def application(scorer: Scorer) -> web.Application:
    """The aiohttp application of one bundle."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_errors_as_json])
    document = orjson.dumps(openapi(scorer.manifest))

    async def predict(request: web.Request) -> web.Response:
        body = await request.read()
        records = _records(body)
        try:
            if len(records) <= FEW_ROWS and len(body) <= FEW_BYTES:
                found = scorer.predict_rows(records)
            else:
                found = await asyncio.to_thread(scorer.predict_rows, records)
        except ValueError as error:
            return _error(422, str(error))
        return _json(_answer(scorer, found))

    async def healthy(request: web.Request) -> web.Response:  # noqa: ARG001
        return _json({"status": "ok"})

    async def describe(request: web.Request) -> web.Response:  # noqa: ARG001
        return web.Response(body=document, content_type="application/json")

    app.router.add_post("/predict", predict)
    app.router.add_get("/v2/health/live", healthy)
    app.router.add_get("/v2/health/ready", healthy)
    app.router.add_get("/openapi.json", describe)
    return app


def _records(body: bytes) -> list[dict[str, Any]]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _RefusedError(
            400, f"the body is no JSON ({error}); NaN and Infinity are none, missing is null"
        ) from error
    records = [document] if isinstance(document, dict) else document
    if not isinstance(records, list) or not records:
        raise _RefusedError(422, 'expected one record such as {"level": 3}, or a list of one record or more')
    if len(records) > MOST_ROWS:
        raise _RefusedError(413, f"{len(records):,} records in one request; send at most {MOST_ROWS:,}")
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise _RefusedError(
                422, f'row {row + 1}: expected a record such as {{"level": 3}}, got {type(record).__name__}'
            )
    return records


def _answer(scorer: Scorer, found: Predictions) -> dict[str, Any]:
    manifest = scorer.manifest
    return {
        "model": manifest.name,
        "version": manifest.version,
        "predictions": answer_records(manifest, found),
        "warnings": list(found.warnings),
    }


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except _RefusedError as error:
        return _error(error.status, str(error))
    except web.HTTPRequestEntityTooLarge:
        return _error(413, f"the body is larger than {LARGEST_BODY >> 20} MB; send fewer records")
    except web.HTTPMethodNotAllowed as error:
        return _error(405, f"{request.path} takes {', '.join(sorted(error.allowed_methods))}, not {request.method}")
    except web.HTTPNotFound:
        return _error(404, f"there is no {request.path}; POST /predict predicts, GET /openapi.json describes it")


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def _error(status: int, sentence: str) -> web.Response:
    return _json({"error": sentence}, status)
