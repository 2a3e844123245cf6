"""The OpenAPI document of a server with several models, and the page that shows it, in a real browser."""

from __future__ import annotations

import json
import shutil
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
            if "text/plain" in operation["responses"]["200"]["content"]:
                continue
            status, answer = ask(url + place, b"{}" if method == "post" else None, method.upper())
            assert str(status) in operation["responses"], (path, method, status, answer)
            assert "there is no /" not in json.dumps(answer)


def test_the_page_shows_and_tries_each_route(url: str, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with (
        api.sync_playwright() as driver,
        driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(url) else errors.append(request.url))
        page.goto(f"{url}/docs")
        route = page.locator(".route", has_text="/models/three/predict")
        route.locator("summary").focus()
        page.keyboard.press("Enter")
        route.locator("textarea").fill('[{"age": 0}]')
        route.get_by_role("button", name="Try it").focus()
        page.keyboard.press("Enter")
        output = route.locator("form pre")
        api.expect(output).to_contain_text("200 OK")
        api.expect(output).to_contain_text('"probability": 0.33333')
        route.locator("textarea").fill('[{"age": "x"}]')
        route.get_by_role("button", name="Try it").click()
        api.expect(output).to_contain_text('expected a number, got \\"x\\"')
        page.screenshot(path=tmp_path / "docs.png", full_page=True)
        page.locator(".route", has_text="/v2/health/ready").locator("summary").click()
        page.locator(".route", has_text="/v2/health/ready").get_by_role("button", name="Try it").click()
        api.expect(page.locator(".route", has_text="/v2/health/ready").locator("form pre")).to_contain_text('"ok"')
        route.get_by_role("link", name="2.three.Record").click()
        api.expect(page.locator("[id='schema-2.three.Record'] pre")).to_contain_text('"age"')
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(path=tmp_path / "phone.png")
        assert errors == []
