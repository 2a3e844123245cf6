"""Versions that come, go, are tried out and taken back, on a real server under real requests."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ludocast.serve.calls import Answer
from ludocast.serve.deployment import read_share
from ludocast.serve.shadow import Counts
from ludocast.serve.trials import Trials

from tests.serve.listening import ask, served
from tests.serve.logistic import TERMS, by_hand, write_logistic

ROW = {"age": 30, "plan": "pro", "active": True, "last seen ": None}
OLD = by_hand(30, "pro", "true", None)
TYPE = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1, version 2 with age weighing the other way, one that reads another column, a damaged one, links."""
    folder = tmp_path_factory.mktemp("models")
    root = folder / "models"
    root.mkdir()
    other = (TERMS[0].__class__(TERMS[0].input, weight=-0.1, missing=0.25), *TERMS[1:])
    write_logistic(root / "v1", version="1")
    write_logistic(root / "v2", version="2", terms=other, name="demo2")
    write_logistic(root / "narrow", version="3", terms=TERMS[1:])
    write_logistic(root / "broken", version="4")
    (root / "broken" / "model.onnx").write_bytes(b"nothing")
    write_logistic(folder / "outside", version="5")
    (root / "link").symlink_to(folder / "outside")
    write_logistic(root / "linked", version="6")
    (root / "linked" / "model.onnx").unlink()
    (root / "linked" / "model.onnx").symlink_to(folder / "outside" / "model.onnx")
    (root / "circle").symlink_to(root / "circle")
    return root


@pytest.fixture
def url(models: Path) -> Iterator[str]:
    with served(models / "v1", trials=Trials(models_folder=models)) as found:
        yield found


def _change(url: str, body: Any, name: str = "demo") -> tuple[int, Any]:
    return ask(f"{url}/admin/models/{name}", body, headers=TYPE)


def _back(url: str, name: str = "demo") -> tuple[int, Any]:
    return ask(f"{url}/admin/models/{name}/rollback", b"", headers=TYPE)


def _answered(url: str, count: int = 1) -> Counter[str]:
    return Counter(ask(url + "/models/demo/predict", ROW)[1]["version"] for _ in range(count))


def test_a_version_is_switched_and_taken_back(url: str) -> None:
    assert _answered(url) == {"1": 1}
    status, told = _change(url, {"bundle": "v2"})
    assert (status, told["live"]["version"], told["live"]["model"], told["previous"]["version"]) == (
        200,
        "2",
        "demo2",
        "1",
    )
    answer = ask(url + "/predict", ROW)[1]
    assert answer["version"] == "2"
    assert answer["predictions"][0]["probability"] != pytest.approx(OLD, abs=0.1)
    assert ask(url + "/v2/models/demo")[1]["versions"] == ["2"]
    assert _back(url)[1]["live"]["version"] == "1"
    assert ask(url + "/predict", ROW)[1]["predictions"][0]["probability"] == pytest.approx(OLD, abs=1e-6)
    assert _back(url)[1]["live"]["version"] == "2"
    assert [one["live"]["version"] for one in ask(url + "/admin/models")[1]["models"]] == ["2"]
    paths = ask(url + "/openapi.json")[1]["paths"]
    assert {"/admin/models", "/admin/models/{name}", "/admin/models/{name}/rollback"} <= set(paths)


def test_a_new_name_is_a_new_model(url: str) -> None:
    assert _change(url, {"bundle": "v2"}, "another")[0] == 200
    assert ask(url + "/models/another/predict", ROW)[1]["version"] == "2"
    assert _answered(url) == {"1": 1}
    status, told = _back(url, "another")
    assert (status, told["error"]) == (409, 'model "another" has no version before this one')


def test_a_canary_gets_its_share(url: str) -> None:
    told = _change(url, {"bundle": "v2", "canary": "25%"})[1]
    assert told["canary"] == {**told["canary"], "version": "2", "share": "25%", "answered": 0}
    found = _answered(url, 100)
    assert abs(found["2"] - 25) <= 2
    assert found["1"] + found["2"] == 100
    assert ask(url + "/admin/models")[1]["models"][0]["canary"]["answered"] == found["2"]
    tensors = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [value]} for name, value in ROW.items()]
    for version in "12":  # a request may ask for a version
        path = f"{url}/v2/models/demo/versions/{version}"
        assert ask(f"{path}/infer", {"inputs": tensors})[1]["model_version"] == version
        assert ask(f"{path}/ready")[0] == 200
    assert ask(f"{url}/v2/models/demo/versions/3/infer", {"inputs": tensors})[0] == 404
    told = _back(url)[1]
    assert "canary" not in told
    assert _answered(url, 10) == {"1": 10}


def test_what_a_canary_cannot_answer_the_live_version_does(models: Path, url: str) -> None:
    wide = (*TERMS, TERMS[0].__class__(TERMS[0].input.__class__("level", "x4", "number", None, (0, 9)), weight=0.0))
    if not (models / "wide").exists():
        write_logistic(models / "wide", version="7", terms=wide)  # needs a column that no client sends
    assert _change(url, {"bundle": "wide", "canary": "50%"})[0] == 200
    assert _answered(url, 20) == {"1": 20}
    assert abs(ask(url + "/admin/models")[1]["models"][0]["canary"]["refused"] - 10) <= 2


def test_a_shadow_is_compared_and_not_heard(models: Path) -> None:
    with served(models / "v1", trials=Trials(models, shadow=models / "v2")) as url:
        assert _answered(url, 20) == {"1": 20}
        assert ask(url + "/predict", {**ROW, "age": "x"})[0] == 422
        counts = {}
        for _ in range(100):
            counts = ask(url + "/admin/models")[1]["models"][0]["shadow"]
            if counts["same"] + counts["numbers_differ"] + counts["labels_differ"] + counts["skipped"] == 21:
                break
        assert counts["skipped"] < 21
        assert counts["same"] <= 1  # both refuse the wrong one
        assert counts["numbers_differ"] or counts["labels_differ"]
        with urllib.request.urlopen(url + "/metrics", timeout=20) as answer:
            told = re.findall(r'ludocast_shadow_answers_total\{.*result="(\w+)"\} (\d+)', answer.read().decode())
        assert {result: int(count) for result, count in told} == {
            result: counts[result] for result in ("same", "numbers_differ", "labels_differ", "failed", "skipped")
        }
        assert "shadow" not in _back(url)[1]


def test_answers_are_compared_by_labels_and_numbers() -> None:
    counts = Counts()
    given = Answer(200, b'{"version":"1","predictions":[{"label":"a","p":0.5}]}')
    for text in (
        b'{"version":"2","predictions":[{"label":"a","p":0.5000001}]}',
        b'{"version":"2","predictions":[{"label":"a","p":0.75}]}',
        b'{"version":"2","predictions":[{"label":"b","p":0.5}]}',
        b'{"version":"2","predictions":[]}',
    ):
        counts.compare(given, Answer(200, text))
    counts.compare(given, Answer(422, error="x"))
    assert counts.describe() == {
        "same": 1, "numbers_differ": 1, "labels_differ": 2, "failed": 1, "skipped": 0, "largest_difference": 0.25
    }  # fmt: skip


@pytest.mark.parametrize(
    "given",
    ["", ".", "..", "../outside", "v1/../../outside", "/etc", "link", "linked", "circle", "absent", "broken", "v1/model.onnx",
     "v1\\..\\x", "v\x00", "~", "x" * 5000],
)  # fmt: skip
def test_what_is_no_bundle_inside_the_folder_is_refused(models: Path, url: str, given: str) -> None:
    for trial in ({}, {"canary": "5%"}, {"shadow": True}):
        status, told = _change(url, {"bundle": given, **trial})
        assert status == 422, told
        assert str(models.parent) not in told["error"]
        assert "outside/" not in told["error"]
    assert _answered(url) == {"1": 1}
    assert "previous" not in ask(url + "/admin/models")[1]["models"][0]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "no JSON"),
        ([], 422, 'expected {"bundle": FOLDER}'),
        ({"bundle": 1}, 422, 'expected {"bundle": FOLDER}'),
        ({"bundle": "v2", "canery": "5%"}, 422, 'unknown field "canery"'),
        ({"bundle": "v2", "canary": "0%"}, 422, "above 0% and below 100%"),
        ({"bundle": "v2", "canary": 0.05}, 422, "such as 5%"),
        ({"bundle": "v2", "canary": "5%", "shadow": True}, 422, 'true only without "canary"'),
    ],
)
def test_wrong_changes_are_told(url: str, body: Any, status: int, sentence: str) -> None:
    found, told = _change(url, body)
    assert (found, sentence in told["error"]) == (status, True), told


def test_only_json_changes_models_and_only_where_a_folder_is_given(models: Path, url: str) -> None:
    for path in ("/admin/models/demo", "/admin/models/demo/rollback"):
        assert ask(url + path, b'{"bundle": "v2"}', headers={"Content-Type": "text/plain"})[0] == 415
    assert _change(url, {"bundle": "v2", "canary": "5%"}, "absent")[0] == 404
    with served(models / "v1") as plain:
        assert ask(plain + "/admin/models")[0] == 404


def test_a_bundle_that_was_changed_is_not_gone_back_to(tmp_path: Path, models: Path) -> None:
    write_logistic(tmp_path / "a", version="1")
    write_logistic(tmp_path / "b", version="2")
    with served(tmp_path / "a", trials=Trials(models_folder=tmp_path)) as url:
        assert _change(url, {"bundle": "b"})[0] == 200
        write_logistic(tmp_path / "a", version="3", overwrite=True)
        status, told = _back(url)
        assert status == 422
        assert "was changed since it was served" in told["error"]
        assert str(tmp_path) not in told["error"]
        assert _answered(url) == {"2": 1}


def test_no_request_is_lost_while_versions_change(url: str) -> None:
    found: list[tuple[int, Any]] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            found.append(ask(url + "/predict", ROW))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            assert _change(url, {"bundle": ("v2", "v1")[number % 2]})[0] == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in found} == {200}
    new = next(answer["predictions"] for _, answer in found if answer["version"] == "2")
    for _, answer in found:
        wanted = OLD if answer["version"] == "1" else new[0]["probability"]
        assert answer["predictions"][0]["probability"] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.5%", 0.005), (" 99.999 %", 0.99999)])
def test_shares(text: str, share: float) -> None:
    assert read_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "5", "0%", "0.0%", "100%", "-5%", "5%%", "nan%", "1e1%"])
def test_wrong_shares(text: str) -> None:
    with pytest.raises(ValueError, match="above 0% and below 100%"):
        read_share(text)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((Path("absent"), None, None), "--models-folder: there is no folder absent"),
        ((None, "run/bundle", None), "--canary: expected FOLDER=SHARE%"),
        ((None, "run/bundle=2", None), "--canary: expected a share"),
    ],
)
def test_wrong_options(options: tuple[Path | None, str | None, Path | None], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Trials(*options)
