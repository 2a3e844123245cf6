"""The OpenAPI document of a server with several models, and the page that shows it, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.listening import ask, served
from tests.serve.logistic import write_logistic, write_softmax
from tests.serve.made_shop import write_shop


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    with served(write_logistic(folder / "a"), write_softmax(folder / "b"), write_shop(folder / "c")) as found:
        yield found


@pytest.fixture(scope="module")
def document(url: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(f"{url}/openapi.json")[1]
    return found


def test_each_model_has_its_path_and_an_example_that_works(url: str, document: dict[str, Any]) -> None:
    for path in ("/predict", "/models/demo/predict", "/models/three/predict", "/models/shop/predict"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        status, answer = ask(url + path, content["application/json"]["example"])
        assert status == 200, answer
    names = {"demo": "Record", "three": "2.three.Record", "shop": "3.shop.Record"}
    assert "age" in document["components"]["schemas"][names["three"]]["properties"]
    assert "history" in document["components"]["schemas"][names["shop"]]["properties"]


def test_all_references_lead_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from references(one)

    found = set(references(document))
    assert {name.rsplit("/", 1)[1] for name in found} == set(document["components"]["schemas"])


def test_what_is_described_is_there(url: str, document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            place = path
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    values = parameter["schema"].get("enum", ["1"])
                    place = place.replace(f"{{{parameter['name']}}}", values[0])
            status, answer = ask(url + place, b"{}" if method == "post" else None, method.upper())
            assert str(status) in operation["responses"], (path, method, status, answer)
            assert "there is no /" not in json.dumps(answer)
