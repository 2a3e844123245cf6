"""Routes that tell what the models are: what each reads, how good it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ludocast.serve.http.message import Request, Response, json_response
from ludocast.serve.http.router import Route, Router, direct
from ludocast.serve.manifest import Input, Manifest
from ludocast.serve.openapi import operation
from ludocast.serve.raw_events import FEATURES_FILE
from ludocast.serve.service import Service


def add_model_routes(router: Router, service: Service) -> None:
    """`GET /models` lists them, the first one first; `GET /models/{name}` describes one."""

    def list_models(request: Request) -> Response:  # noqa: ARG001
        known = [version.manifest for version in service.deployments]
        return json_response({"models": [{"name": m.name, "version": m.version, "task": m.task} for m in known]})

    def describe_model(request: Request) -> Response:
        return json_response(describe(service.deployments.version(request.names["name"]).manifest))

    listed = operation("models", "Name, version and task of each model, the first one first.")
    described = operation("models", "What a model reads, how good it is, and examples to ask it.")
    router.add("GET", "/models", Route(direct(list_models), scope="predict", document=listed))
    router.add("GET", "/models/{name}", Route(direct(describe_model), scope="predict", document=described))


def describe(manifest: Manifest) -> dict[str, Any]:
    """What a client has to know to ask a model; its examples are made up, of no player."""
    return {
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "created": manifest.created,
        "inputs": [_input(item) for item in manifest.inputs],
        "classes": manifest.classes,
        "positive": manifest.positive,
        "threshold": manifest.threshold,
        "coverage": manifest.coverage,
        "measures": manifest.measures,
        "labels": None if manifest.labels is None else [asdict(one) for one in manifest.labels],
        "takes_events": FEATURES_FILE in manifest.files,
        "metrics": manifest.metrics,
        "examples": manifest.check_rows.rows,
    }


def _input(item: Input) -> dict[str, Any]:
    return {
        "column": item.column,
        "kind": item.kind,
        "form": item.form,
        "categories": item.categories,
        "range": item.range,
    }
