"""Routes that change what is served: another version of a model, a share of requests for one, the one before it."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import orjson
from ludocast.serve.bundle import MANIFEST_FILE
from ludocast.serve.deployment import Deployment, read_share
from ludocast.serve.http.message import JSON, RefusedError, Request, Response, json_response
from ludocast.serve.http.router import Route, Router, awaited, direct
from ludocast.serve.openapi import json_content, operation
from ludocast.serve.service import Service

_LARGEST_BODY = 1 << 16
_LONGEST_NAME = 100
_FIELDS = ("bundle", "canary", "shadow")
_BODY = {
    "type": "object",
    "required": ["bundle"],
    "properties": {
        "bundle": {"type": "string", "description": "Folder, below that of models."},
        "canary": {"type": "string", "description": "The share of requests that it answers.", "examples": ["5%"]},
        "shadow": {"type": "boolean", "description": "Whether its answers are compared, and not given."},
    },
    "additionalProperties": False,
}


def add_admin_routes(router: Router, service: Service, models_folder: Path) -> None:
    """What is served; a new version, canary or shadow out of a folder; back to the one before.

    Args:
        router: That gets the routes.
        service: Whose deployments are changed.
        models_folder: That bundles are taken from.
    """
    root = models_folder.resolve()
    deployments = service.deployments

    def listed(request: Request) -> Response:  # noqa: ARG001
        return json_response({"models": [deployments.deployment(name).describe() for name in deployments.names]})

    async def change(request: Request) -> Response:
        name, asked = request.names["name"], _asked(request)
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise RefusedError(422, f"a model's name is up to {_LONGEST_NAME} printable characters")
        folder = _inside(root, asked["bundle"])
        share = None
        if "canary" in asked:
            try:
                share = read_share(str(asked["canary"]))
            except ValueError as error:
                raise RefusedError(422, f"canary: {error}") from error
        if share is not None or asked.get("shadow") is True:
            changing = deployments.try_out(folder, share, name)
        else:
            changing = deployments.switch(name, folder)
        return json_response((await _changed(changing, root, folder, asked["bundle"])).describe())

    async def roll_back(request: Request) -> Response:
        _check_type(request)
        name = request.names["name"]
        previous = deployments.deployment(name).previous
        folder = root if previous is None else previous.folder
        return json_response((await _changed(deployments.roll_back(name), root, folder, "of that version")).describe())

    document = operation("admin", "Which version of each model answers, and what is tried beside it.")
    router.add("GET", "/admin/models", Route(direct(listed), scope="admin", document=document))
    for pattern, function, summary, body in (
        ("/admin/models/{name}", change, "Have another bundle answer, or try it by a share or as a shadow.", _BODY),
        ("/admin/models/{name}/rollback", roll_back, "Take back the last change.", {"type": "object"}),
    ):
        document = operation("admin", summary, requestBody={"required": True, "content": json_content(body)})
        route = Route(awaited(function), scope="admin", largest_body=_LARGEST_BODY, document=document)
        router.add("POST", pattern, route)


async def _changed(changing: Awaitable[Deployment], root: Path, folder: Path, given: str) -> Deployment:
    """What a change came to; its errors without a path of the host."""
    try:
        return await changing
    except ValueError as error:
        sentence = str(error).replace(str(folder), given)
        if str(root) in sentence or str(folder.parent) in sentence:
            sentence = f"bundle {given} cannot be loaded"
        raise RefusedError(422, f"{sentence}; what was served before goes on") from error


def _check_type(request: Request) -> None:
    """A page of another site may have a browser send other types unasked."""
    if request.content_type != JSON:
        raise RefusedError(415, f"expected Content-Type: {JSON}")


def _asked(request: Request) -> dict[str, Any]:
    _check_type(request)
    try:
        asked = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"the body is no JSON ({error})") from error
    if not isinstance(asked, dict) or not isinstance(asked.get("bundle"), str):
        raise RefusedError(
            422, 'expected {"bundle": FOLDER}, with "canary": "5%" or "shadow": true where it is tried out'
        )
    unknown = sorted(set(asked) - set(_FIELDS))
    if unknown:
        raise RefusedError(422, f'unknown field "{unknown[0][:40]}"; there are {", ".join(_FIELDS)}')
    if not isinstance(asked.get("shadow", False), bool) or (asked.get("shadow") and "canary" in asked):
        raise RefusedError(422, 'expected "shadow": true or false, and true only without "canary"')
    return asked


def _inside(root: Path, given: str) -> Path:
    """A bundle's folder inside another.

    Raises:
        RefusedError: 422 if it leads elsewhere, even by a link, or holds no bundle.
    """
    parts = Path(given).parts
    wrong = RefusedError(422, f'"{given[:200]}" is no bundle inside the folder of models')
    if not given.isprintable() or "\\" in given or not parts or Path(given).is_absolute() or ".." in parts:
        raise wrong
    try:
        folder = (root / given).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # absent, or a circle of links
        raise wrong from error
    if not folder.is_relative_to(root) or not (folder / MANIFEST_FILE).is_file():  # loading looks at its files
        raise wrong
    return folder
