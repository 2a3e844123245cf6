"""Jobs: a table is sent or named, scored in the background, and its result fetched."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ludocast.serve.batch.answer import ON_ERROR
from ludocast.serve.http.message import JSON, RefusedError, Request, Response, json_response
from ludocast.serve.http.router import Route, Router, awaited, direct
from ludocast.serve.jobs.asking import CONTENT_TYPES, file_in, new_job, query_options, upload_name
from ludocast.serve.jobs.job import DONE, ENDED, UPLOADING, Job
from ludocast.serve.jobs.jobs import Jobs, state_of
from ludocast.serve.openapi import json_content, operation
from ludocast.serve.service import Service
from ludocast.serve.tables.formats import format_of, is_packed

_LARGEST_DOCUMENT = 1 << 20  # bytes of JSON
_TEXT = {"type": "string"}
_QUERY: list[dict[str, Any]] = [
    {"name": name, "in": "query", "schema": _TEXT} for name in ("model", "output", "keep", "filename")
]
_QUERY.append({"name": "on_error", "in": "query", "schema": {"enum": list(ON_ERROR)}})
_QUERY.append({"name": "Idempotency-Key", "in": "header", "schema": _TEXT})
_TABLE = {
    "required": True,
    "content": {
        "text/csv": {},  # of any text: a schema would say of what JSON it is
        **json_content({"type": "object", "required": ["input"], "properties": {"input": _TEXT, "model": _TEXT}}),
    },
}
_PURGE = {
    "required": True,
    "content": json_content(
        {
            "type": "object",
            "required": ["column", "value"],
            "properties": {"column": _TEXT, "value": {"type": ["string", "integer"]}},
        }
    ),
}


def add_job_routes(router: Router, service: Service, jobs: Jobs) -> None:
    """All of them, for the scope "jobs"."""

    async def create(request: Request) -> Response:
        assert request.stream is not None
        if request.content_type == JSON:
            return await create_by_path(request, request.stream)
        version = service.deployments.version(request.query.get("model"))
        job_id, name = jobs.new_id(), upload_name(request)
        folder = jobs.folder_of(job_id)
        suffix = name[name.index(".") :] if "." in name else ""
        place = folder / f"input{suffix[-20:]}"
        options = query_options(request.query)
        job = new_job(request, job_id, version, place, name, True, folder, request.query.get("output"), options)
        job.state = UPLOADING
        taken = jobs.take(job)
        if taken is job:
            await jobs.upload(job, request.stream)
        return accepted(taken)

    async def create_by_path(request: Request, stream: AsyncIterator[bytes]) -> Response:
        document = await read_document(stream)
        path = file_in(jobs.options.job_files, document.pop("input", None))
        if not path.exists():
            raise RefusedError(404, "there is no such file in the server's folder of files")
        model, output, options = document.pop("model", None), document.pop("output", None), document.pop("options", {})
        if document or not isinstance(options, dict) or not isinstance(model, (str, type(None))):
            raise RefusedError(422, 'expected {"input": "players.csv", "model": …, "output": …, "options": {…}}')
        version = service.deployments.version(model)
        job_id = jobs.new_id()
        job = new_job(request, job_id, version, path, path.name, False, jobs.folder_of(job_id), output, options)
        taken = jobs.take(job)
        if taken is job:
            jobs.begin(job)
        return accepted(taken)

    def accepted(job: Job) -> Response:
        return json_response(state_of(job, time.time()), 202, {"Location": f"/jobs/{job.id}"})

    def found(request: Request) -> Job:
        return jobs.find(request.names["job"], request.key)

    def all_of(request: Request) -> Response:
        return json_response({"jobs": [state_of(job, time.time()) for job in jobs.of(request.key)]})

    def one(request: Request) -> Response:
        return json_response(state_of(found(request), time.time()))

    def result(request: Request) -> Response:
        return result_of(found(request))

    def bad_rows(request: Request) -> Response:
        job = found(request)
        if job.state != DONE or not job.bad_rows.is_file():
            raise RefusedError(404, f"this job is {job.state} and has no file of bad rows")
        return _file("bad_rows.csv", job.bad_rows)

    async def cancel(request: Request) -> Response:
        job = found(request)
        await jobs.cancel(job)
        return json_response(state_of(job, time.time()))

    async def remove(request: Request) -> Response:
        await jobs.remove(found(request))
        return json_response({"deleted": request.names["job"]})

    async def purge(request: Request) -> Response:
        document = _document(request.body)
        column, value = document.get("column"), document.get("value")
        if not isinstance(column, str) or not isinstance(value, (str, int)) or isinstance(value, bool):
            raise RefusedError(422, 'expected {"column": "player_id", "value": "P0000001"}')
        return json_response(await jobs.purge(request.key, column, str(value)))

    largest = jobs.options.largest_job << 20
    asked = operation("jobs", "Have a table scored in the background.", parameters=_QUERY, requestBody=_TABLE)
    asked["responses"]["202"] = asked["responses"].pop("200")
    created = Route(awaited(create), scope="jobs", largest_body=largest, streams=True, document=asked)
    router.add("POST", "/jobs", created)
    asked = operation("jobs", "Take a player's rows out of all uploads and results.", requestBody=_PURGE)
    purged = Route(awaited(purge), scope="jobs", largest_body=_LARGEST_DOCUMENT, document=asked)
    router.add("POST", "/jobs/purge", purged)
    for method, pattern, handler, summary in (
        ("GET", "/jobs", direct(all_of), "All jobs of this key, the newest first."),
        ("GET", "/jobs/{job}", direct(one), "How far a job is."),
        ("DELETE", "/jobs/{job}", awaited(remove), "Stop a job, and remove all of it."),
        ("POST", "/jobs/{job}/cancel", awaited(cancel), "Stop a job."),
        ("GET", "/jobs/{job}/result", direct(result), "The table of answers."),
        ("GET", "/jobs/{job}/bad_rows", direct(bad_rows), "The rows without an answer, and why."),
    ):
        router.add(method, pattern, Route(handler, scope="jobs", document=operation("jobs", summary)))


def result_of(job: Job) -> Response:
    """The file.

    Raises:
        RefusedError: 409 if there is none yet, or never will be.
    """
    if job.state != DONE:
        why = job.error if job.error else "ask again later" if job.state not in ENDED else "there is no result"
        raise RefusedError(409, f"this job is {job.state}: {why}")
    if not job.result.is_file():
        raise RefusedError(404, "the result was taken away")
    return _file(f"scored_{job.name.partition('.')[0]}{''.join(job.result.suffixes)}", job.result)


def _file(name: str, path: Path) -> Response:
    kind = "application/gzip" if is_packed(path) else CONTENT_TYPES[format_of(path)]
    ascii_name = name.encode("ascii", "replace").decode().replace('"', "_")
    headers = {"Content-Disposition": f'attachment; filename="{ascii_name}"'}
    return Response(200, b"", kind, headers, file=path)


async def read_document(stream: AsyncIterator[bytes]) -> dict[str, Any]:
    """A JSON object that comes piece by piece.

    Raises:
        RefusedError: 413 if it is too large, 400 if it is none.
    """
    body = b""
    async for piece in stream:
        body += piece
        if len(body) > _LARGEST_DOCUMENT:
            raise RefusedError(413, "a description of a job has at most 1 MB")
    return _document(body)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RefusedError(400, "the body is no JSON object")
    return document
