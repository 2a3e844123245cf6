"""Routes of this project: predictions, and the document that describes them."""

from __future__ import annotations

import orjson
from ludocast.serve.codecs.table import BY_CONTENT_TYPE
from ludocast.serve.http.message import Request, Response
from ludocast.serve.http.router import Route, Router, direct
from ludocast.serve.openapi import openapi
from ludocast.serve.service import Service


def add_predict_routes(router: Router, service: Service) -> None:
    """Predictions of the first model or one by name, OpenAPI."""

    def describe(request: Request) -> Response:  # noqa: ARG001
        return Response(200, orjson.dumps(openapi([one.manifest for one in service.deployments], router)))

    for path in ("/predict", "/models/{name}/predict"):
        router.add("POST", path, Route(service.predicting("records", BY_CONTENT_TYPE), scope="predict"))
    router.add("GET", "/openapi.json", Route(direct(describe), scope="predict"))
