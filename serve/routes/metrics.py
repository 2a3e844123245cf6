"""The route that Prometheus asks."""

from __future__ import annotations

from ludocast.serve.http.message import Request, Response
from ludocast.serve.http.router import Route, Router, awaited
from ludocast.serve.observe.metrics import CONTENT_TYPE, Metrics
from ludocast.serve.openapi import operation


def add_metrics_routes(router: Router, metrics: Metrics) -> None:
    """`GET /metrics`; with keys it asks for one of the scope "metrics", which predicts nothing."""

    async def tell(request: Request) -> Response:  # noqa: ARG001
        return Response(200, (await metrics.text()).encode(), CONTENT_TYPE)

    text = {
        "200": {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
    document = operation("server", "Counts of requests, rows, batches and of what inputs hold.", responses=text)
    router.add("GET", "/metrics", Route(awaited(tell), scope="metrics", document=document))
