"""From a request for a job to the job: which model, which table, which options."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ludocast.serve.deployment import Version
from ludocast.serve.http.message import RefusedError, Request
from ludocast.serve.jobs.job import NEW, Job
from ludocast.serve.jobs.worker import batch_of
from ludocast.serve.suggest_options import OPTIONS
from ludocast.serve.tables.formats import FORMATS, format_of, is_packed

_TYPES = {
    "text/csv": ".csv",
    "application/csv": ".csv",
    "text/tab-separated-values": ".csv",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    "application/x-parquet": ".parquet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_FILENAME = re.compile(r'filename="?([^";]+)"?')
_SAFE = re.compile(r"[^\w. -]")
_OWN = ("keep", "encoding", "delimiter", "on_error")
_NUMBERS = {"k": int, "diversity": float}
_LISTS = ("keep", "exclude", "only", "category")
_LONGEST_KEY = 200


def upload_name(request: Request) -> str:
    """What the table in a body is called, with a suffix that tells its format.

    Raises:
        RefusedError: 415 if neither a file name nor the content type tells it.
    """
    found = _FILENAME.search(request.headers.get("content-disposition", ""))
    given = request.query.get("filename", found[1] if found is not None else "")
    name = _SAFE.sub("_", Path(given.replace("\\", "/")).name)[-100:].lstrip(".")
    suffix = _TYPES.get(request.content_type, "")
    plain = name[: -len(".gz")] if name.endswith(".gz") else name
    if Path(plain).suffix.lower().lstrip(".") in (*FORMATS, "pq", "ndjson", "txt", "tsv"):
        return name
    if not suffix:
        raise RefusedError(
            415,
            "what table is this? Send Content-Type text/csv, application/x-ndjson or application/vnd.apache.parquet, "
            "or name the file, ?filename=players.csv",
        )
    packed = ".gz" if request.headers.get("content-encoding", "").lower() == "gzip" else ""
    return f"{name if name else 'table'}{suffix}{packed}"


def query_options(query: Mapping[str, str]) -> dict[str, Any]:
    """Options of a job from the parameters of an address, all of them texts.

    Raises:
        RefusedError: 422 if one is no number.
    """
    found: dict[str, Any] = {}
    for name, text in query.items():
        if name in ("model", "filename", "output"):
            continue
        if name in _LISTS:
            found[name] = [part for part in text.split(",") if part]
        elif name == "exclude_owned":
            found[name] = text.lower() != "false"
        elif name in _NUMBERS:
            try:
                found[name] = _NUMBERS[name](text)
            except ValueError:
                raise RefusedError(422, f'"{name}": expected a number, got "{text[:40]}"') from None
        else:
            found[name] = text
    return found


def file_in(folder: Path | None, given: object) -> Path:
    """A place below the folder that jobs may name files of.

    Raises:
        RefusedError: 403 if there is no such folder or the place is outside of it, 422 if it is no path.
    """
    if folder is None:
        raise RefusedError(403, "this server scores no files of its own (--job-files); send the table as the body")
    if not isinstance(given, str) or not given or "\0" in given:
        raise RefusedError(422, "expected the path of a file below the server's folder of files")
    root = folder.resolve()
    found = (root / given.replace("\\", "/").lstrip("/")).resolve()
    if not found.is_relative_to(root) or found == root:
        raise RefusedError(403, f'"{given[:100]}" is not below the server\'s folder of files')
    return found


def new_job(
    request: Request,
    job_id: str,
    version: Version,
    input: Path,  # noqa: A002 - what it is
    name: str,
    is_upload: bool,
    folder: Path,
    output: object,
    given: Mapping[str, Any],
) -> Job:
    """A job that is not begun yet.

    Args:
        request: Whose key and Idempotency-Key it gets.
        job_id: Of the job.
        version: Of the model.
        input: That is scored.
        name: Of the input, for the client.
        is_upload: Whether it comes with the request.
        folder: Of the result.
        output: The result's format; None for that of the input.
        given: Options by the names of `ludocast score`.

    Raises:
        RefusedError: 422 if an option is unknown or does not fit.
    """
    known = (*_OWN, *OPTIONS)
    for option in given:
        if option not in known:
            raise RefusedError(422, f'no option "{option[:40]}"; there are model, output, {", ".join(known)}')
    own = {option: given[option] for option in _OWN if given.get(option) is not None}
    keep = own.get("keep", [])
    if not isinstance(keep, list) or not all(isinstance(one, str) for one in keep):
        raise RefusedError(422, '"keep": expected a list of columns')
    if output is not None and output not in FORMATS:
        raise RefusedError(422, f'"output" is one of {", ".join(FORMATS)}, got "{str(output)[:40]}"')
    suffix = f".{format_of(input) if output is None else output}"
    if output is None and is_packed(input):
        suffix += ".gz"
    options = {**own, "suggest": {option: given[option] for option in OPTIONS if given.get(option) is not None}}
    result = folder / f"result{suffix}"
    try:
        batch_of(version.folder, input, result, options)
    except (ValueError, TypeError) as error:
        raise RefusedError(422, str(error)) from None
    asked = json.dumps([version.manifest.name, name, options, suffix, request.headers.get("content-length")])
    return Job(
        job_id, request.key, version.manifest.name, version.manifest.version, version.folder.absolute(), name, input,
        is_upload, result, options, NEW, time.time(), idempotency=_key(request),
        asked=hashlib.sha256(asked.encode()).hexdigest(), secret=secrets.token_urlsafe(24),
    )  # fmt: skip


def with_result(job: Job, result: Path, output: str) -> Job:
    """A job whose result goes elsewhere, under a name of the client's."""
    return replace(job, result=result, output=output)


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= _LONGEST_KEY:
        raise RefusedError(422, f"an Idempotency-Key has 1 to {_LONGEST_KEY} characters")
    return key
