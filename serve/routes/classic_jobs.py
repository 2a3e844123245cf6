"""Batches of Azure ML Studio (classic): files below a folder of the server stand for its clients' blobs.

Shapes: https://learn.microsoft.com/previous-versions/azure/machine-learning/classic/consume-web-services. A client says
where its input lies, gets an id, starts the job, asks for its state, and finds there where the outputs can be read.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ludocast.serve.http.message import RefusedError, Request, Response, json_response
from ludocast.serve.http.router import Route, Router, awaited, direct
from ludocast.serve.jobs.asking import file_in, new_job, with_result
from ludocast.serve.jobs.job import CANCELLED, DONE, ENDED, FAILED, NEW, QUEUED, RUNNING, Job
from ludocast.serve.jobs.jobs import Jobs
from ludocast.serve.openapi import json_content, operation
from ludocast.serve.routes.classic import classic_error
from ludocast.serve.routes.jobs import read_document, result_of
from ludocast.serve.service import Service
from ludocast.serve.tables.formats import format_of

# The service tells of a job that waits for its turn as of one that runs.
_CODES = {NEW: "NotStarted", QUEUED: "Running", RUNNING: "Running", FAILED: "Failed", CANCELLED: "Cancelled"}
_CODES[DONE] = "Finished"
_PATH = "/workspaces/{workspace}/services/{id}/jobs"
_NOTHING = Response(204)
_TAG = "Azure ML Studio (classic)"
_ID = {"type": "string"}
_QUERY = [{"name": "api-version", "in": "query", "schema": {"enum": ["2.0"]}}]
_BLOB = {"type": "object", "required": ["RelativeLocation"], "properties": {"RelativeLocation": {"type": "string"}}}
_BODY = {
    "required": True,
    "content": json_content({"type": "object", "properties": {"Input": _BLOB, "Output": _BLOB}, "required": ["Input"]}),
}


def add_classic_job_routes(router: Router, service: Service, jobs: Jobs) -> None:
    """All of them, for the scope "jobs"; the address of an output has a secret in place of a key, as the service's."""

    async def create(request: Request) -> Response:
        _check_version(request)
        assert request.stream is not None
        document = await read_document(request.stream)
        if document.get("GlobalParameters"):
            raise RefusedError(400, "GlobalParameters: a batch takes none; put their values into a column of the table")
        version = service.deployments.version(service.model_of(request.names["id"]))
        path = file_in(jobs.options.job_files, _location(document, "Input"))
        if not path.is_file():
            raise RefusedError(400, "Input: there is no such file; put it below the server's folder of files")
        job_id = jobs.new_id()
        folder = jobs.folder_of(job_id)
        job = new_job(request, job_id, version, path, path.name, False, folder, None, {})
        job.options = {**job.options, "is_classic": True}
        name, place = _output(document)
        result = job.result
        if place is not None:
            result = file_in(jobs.options.job_files, place)
            if result == path or result.is_dir():
                raise RefusedError(400, f"{name}: its location is that of the input, or a folder")
            result.parent.mkdir(parents=True, exist_ok=True)
        return json_response(jobs.take(with_result(job, result, name)).id)

    def found(request: Request) -> Job:
        _check_version(request)
        return jobs.find(request.names["job"], request.key)

    def start(request: Request) -> Response:
        job = found(request)
        if job.state != NEW:
            raise RefusedError(400, f"the job is {_CODES.get(job.state, job.state)}; only a new one can be started")
        jobs.begin(job)
        return _NOTHING

    def state(request: Request) -> Response:
        job = found(request)
        results = {job.output: _reference(job, request)} if job.state == DONE else None
        return json_response(
            {
                "StatusCode": _CODES[job.state],
                "Results": results,
                "Details": job.error if job.error else None,
                "CreatedAt": _moment(job.created),
                "StartTime": _moment(job.started),
                "EndTime": _moment(job.ended),
            }
        )

    async def remove(request: Request) -> Response:
        job = found(request)
        if job.state in ENDED:
            await jobs.remove(job)
        else:
            await jobs.cancel(job)
        return _NOTHING

    def output(request: Request) -> Response:
        job = jobs.find_any(request.names["job"])
        if job is None or not hmac.compare_digest(request.query.get("sig", "").encode(), job.secret.encode()):
            raise RefusedError(403, "this address has no right signature; ask for the state of the job once more")
        return result_of(job)

    def route(handler: Any, summary: str, answer: Any = None, streams: bool = False) -> Route:
        told = operation(_TAG, summary, answer, parameters=_QUERY, **({"requestBody": _BODY} if streams else {}))
        return Route(handler, scope="jobs", largest_body=1 << 20, streams=streams, refuse=classic_error, document=told)

    router.add("POST", _PATH, route(awaited(create), "Make a batch of a file; the answer is its id.", _ID, True))
    router.add("POST", f"{_PATH}/{{job}}/start", route(direct(start), "Have a batch scored."))
    router.add("GET", f"{_PATH}/{{job}}", route(direct(state), "How far a batch is, and where its outputs are."))
    router.add("DELETE", f"{_PATH}/{{job}}", route(awaited(remove), "Cancel a batch, or forget one that has ended."))
    router.add("GET", "/outputs/{job}/{output}", Route(direct(output), refuse=classic_error))


def _check_version(request: Request) -> None:
    version = request.query.get("api-version", "2.0")
    if version != "2.0":
        raise RefusedError(400, f'api-version: expected 2.0, got "{version[:40]}"')


def _location(document: Mapping[str, Any], name: str) -> object:
    """Of the one input: {"Input": {"RelativeLocation": …}}, or {"Inputs": {"input1": {"RelativeLocation": …}}}."""
    several = document.get(f"{name}s")
    one = next(iter(several.values())) if isinstance(several, dict) and len(several) == 1 else document.get(name)
    if not isinstance(one, dict):
        raise RefusedError(400, f'expected {{"{name}": {{"RelativeLocation": "container/players.csv"}}}}')
    return one.get("RelativeLocation")


def _output(document: Mapping[str, Any]) -> tuple[str, str | None]:
    """Name of the output and its location; none where the service chooses."""
    several = document.get("Outputs")
    if isinstance(several, dict) and len(several) > 1:
        raise RefusedError(400, f"Outputs: a model has one, got {len(several)}")
    if isinstance(several, dict) and several:
        name = next(iter(several))
    elif isinstance(document.get("Output"), dict):
        return "output1", str(_location(document, "Output"))
    else:
        return "output1", None
    location = _location(document, "Output")
    return name, None if location is None else str(location)


def _reference(job: Job, request: Request) -> Mapping[str, Any]:
    """Where an output can be read: the three parts, one behind the other, are its address."""
    scheme = request.headers.get("x-forwarded-proto", request.scheme)  # the former of a proxy that ends TLS
    base = f"{'https' if scheme == 'https' else 'http'}://{request.headers.get('host', '')}"
    return {
        "ConnectionString": None,
        "RelativeLocation": f"{job.output}.{format_of(job.result)}",
        "BaseLocation": f"{base}/outputs/{job.id}/",
        "SasBlobToken": f"?sig={job.secret}",
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
