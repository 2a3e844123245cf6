"""Routes of this project: predictions, health, and the document that describes them."""

from __future__ import annotations

import orjson
from ludocast.serve.http.message import RefusedError, Request, Response, json_response
from ludocast.serve.http.router import Route, Router, direct
from ludocast.serve.openapi import openapi
from ludocast.serve.service import Service


def add_predict_routes(router: Router, service: Service) -> None:
    """Predictions of the first model or one by name, health, OpenAPI."""

    def alive(request: Request) -> Response:  # noqa: ARG001
        return json_response({"status": "ok"})

    def ready(request: Request) -> Response:  # noqa: ARG001
        if not service.is_ready:
            raise RefusedError(503, "the server starts or stops; ask again in a moment", {"Retry-After": "1"})
        return json_response({"status": "ok"})

    def describe(request: Request) -> Response:  # noqa: ARG001
        return Response(200, orjson.dumps(openapi(service.deployments.version().manifest)))

    for path in ("/predict", "/models/{name}/predict"):
        router.add("POST", path, Route(service.predicting("records"), scope="predict"))
    router.add("GET", "/v2/health/live", Route(direct(alive)))
    router.add("GET", "/v2/health/ready", Route(direct(ready)))
    router.add("GET", "/openapi.json", Route(direct(describe), scope="predict"))
