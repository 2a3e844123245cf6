"""The OpenAPI document of a server: what its models read and answer, and what its routes tell of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ludocast.serve.http.message import error_response
from ludocast.serve.http.router import Route
from ludocast.serve.manifest import Manifest
from ludocast.serve.openapi_model import model_schemas, predict_operation

import ludocast

_ERRORS = {
    "400": "The request is not as the protocol has it.",
    "401": "A key is asked for, or this one is not known.",
    "403": "This key is not good for this.",
    "404": "There is no such thing.",
    "408": "The request did not arrive in time.",
    "413": "Too many rows or bytes.",
    "415": "The body is compressed.",
    "422": "A row does not fit; the sentence names row and column.",
    "429": "Too many requests; Retry-After tells when to come again.",
    "431": "Too long a request line, or too many headers.",
    "503": "Not scored in time, or the server starts or stops; try again.",
}
_OF_KEYS, _OF_BODIES = ("401", "403"), ("408", "413", "415", "422")
_PART = re.compile(r"\{(\w+)\}")


def openapi(manifests: Sequence[Manifest], routes: Iterable[tuple[str, Route]] = ()) -> dict[str, Any]:
    """OpenAPI 3.1 as a JSON document.

    Args:
        manifests: Of all models, the first one first.
        routes: Methods and routes; those with a document are described.
    """
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {}
    names = [manifest.name for manifest in manifests]
    for number, manifest in enumerate(manifests):
        prefix = "" if number == 0 else f"{number + 1}.{re.sub(r'[^A-Za-z0-9_-]', '_', manifest.name)}."
        schemas |= model_schemas(manifest, prefix)
        operation = _whole(predict_operation(manifest, prefix), has_body=True, scope="predict", error=_ref("Error"))
        if number == 0:
            paths["/predict"] = {"post": operation}
        paths[f"/models/{manifest.name}/predict"] = {"post": operation}
    for method, route in routes:
        if route.document is not None:
            error = _ref("Error" if route.refuse is error_response else "OtherError")
            operation = _whole(dict(route.document), method == "POST", route.scope, error)
            parameters = [_path_parameter(name, names) for name in _PART.findall(route.pattern)]
            operation["parameters"] = [*parameters, *operation.get("parameters", ())]
            paths.setdefault(route.pattern, {})[method.lower()] = operation
    schemas["Error"] = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    schemas["OtherError"] = {"type": "object", "required": ["error"], "properties": {"error": {"type": "object"}}}
    is_one = len(manifests) == 1
    return {
        "openapi": "3.1.0",
        "info": {
            "title": names[0] if is_one else "ludocast",
            "version": manifests[0].version if is_one else ludocast.__version__,
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "Where keys are used."}},
        },
    }


def json_content(schema: Any, example: Any = None) -> dict[str, Any]:
    """Content of a request or a response that is JSON."""
    return {"application/json": {"schema": schema} if example is None else {"schema": schema, "example": example}}


def operation(tag: str, summary: str, answer: Any = None, **more: Any) -> dict[str, Any]:
    """The document of a route.

    Args:
        tag: Of what it is a part.
        summary: One sentence.
        answer: Schema of the JSON of a 200; any object where None.
        more: Other fields of an OpenAPI operation.
    """
    schema = {"type": "object"} if answer is None else answer
    responses = {"200": {"description": "Done.", "content": json_content(schema)}}
    return {"tags": [tag], "summary": summary, "responses": responses, **more}


def _whole(operation: dict[str, Any], has_body: bool, scope: str, error: dict[str, str]) -> dict[str, Any]:
    """With the errors that all routes of its kind have."""
    absent = (() if has_body else _OF_BODIES) + (() if scope else _OF_KEYS)
    errors = {
        status: {"description": text, "content": json_content(error)}
        for status, text in _ERRORS.items()
        if status not in absent
    }
    security: dict[str, Any] = {"security": [{"key": []}, {}]} if scope else {}
    return {**operation, **security, "responses": {**errors, **operation["responses"]}}


def _path_parameter(name: str, models: Sequence[str]) -> dict[str, Any]:
    is_model = name in ("name", "id")
    schema = {"type": "string", "enum": list(models)} if is_model else {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
