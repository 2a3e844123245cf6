"""Routes of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ludocast.serve.codecs.inference import HEADER_LENGTH, LENGTH_HEADER, metadata
from ludocast.serve.codecs.tensors import NUMPY
from ludocast.serve.http.message import RefusedError, Reply, Request, Response, json_response
from ludocast.serve.http.router import Route, Router, direct
from ludocast.serve.manifest import Manifest
from ludocast.serve.openapi import json_content, operation
from ludocast.serve.service import Service

import ludocast

_TAG = "Open Inference Protocol"
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "description": "Of a column."},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "datatype": {"type": "string", "enum": ["BYTES", *NUMPY]},
        "data": {"type": "array"},
    },
}
_TENSORS = {
    "required": True,
    "content": json_content(
        {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
                "outputs": {
                    "type": "array",
                    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                },
            },
        }
    ),
}
_MODELS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")


def add_inference_routes(router: Router, service: Service) -> None:
    """Inference, what is told of server and models, and their health."""

    def manifest_of(request: Request) -> Manifest:
        return service.deployments.version(request.names["name"], request.names.get("version")).manifest

    def infer(request: Request, reply: Reply) -> None:
        length = request.headers.get(LENGTH_HEADER.lower())
        options = {} if length is None else {HEADER_LENGTH: length}
        names = request.names
        service.predict(request, reply, "inference", names["name"], options, names.get("version"))

    def telling(summary: str, tell: Callable[[Request], dict[str, Any]], scope: str = "") -> Route:
        def answer(request: Request) -> Response:
            return json_response(tell(request))

        return Route(direct(answer), scope=scope, document=operation(_TAG, summary))

    def check_ready() -> None:
        if not service.is_ready:
            raise RefusedError(503, "the server starts or stops; ask again in a moment", {"Retry-After": "1"})

    def server(request: Request) -> dict[str, Any]:  # noqa: ARG001
        return {"name": "ludocast", "version": ludocast.__version__, "extensions": ["binary_tensor_data"]}

    def live(request: Request) -> dict[str, Any]:  # noqa: ARG001
        return {"status": "ok"}

    def ready(request: Request) -> dict[str, Any]:  # noqa: ARG001
        check_ready()
        return {"status": "ok"}

    def model_ready(request: Request) -> dict[str, Any]:
        check_ready()
        return {"name": manifest_of(request).name, "ready": True}

    def model(request: Request) -> dict[str, Any]:
        return metadata(manifest_of(request))

    router.add("GET", "/v2", telling("Name, version and extensions of the server.", server))
    router.add("GET", "/v2/health/live", telling("Whether the process runs.", live))
    router.add("GET", "/v2/health/ready", telling("Whether the models answer.", ready))
    asked = operation(_TAG, "Predict for rows given as tensors.", requestBody=_TENSORS)
    for path in _MODELS:
        router.add("GET", path, telling("Names and types of a model's tensors.", model, "predict"))
        router.add("GET", f"{path}/ready", telling("Whether a model answers.", model_ready, "predict"))
        router.add("POST", f"{path}/infer", Route(infer, scope="predict", document=asked))
