"""A real server process over real HTTP, on a trained bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ludocast.serve.scorer import Scorer

from tests.serve.listening import ROOT, ask, listening


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ludocast.datamodules.simulate import simulate

    from ludocast.__main__ import main

    folder = tmp_path_factory.mktemp("served")
    simulate(400, folder / "data", seed=3)
    words = ["--label", "churned", "--positive", "yes", "--exclude", "player_id", "--model", "boosting"]
    assert (
        main(["train", "churn", "--data", str(folder / "data/players.csv"), *words, "--out", str(folder / "run")]) == 0
    )
    return folder / "run" / "bundle"


@pytest.fixture(scope="module")
def url(bundle: Path) -> Iterator[str]:
    with listening(bundle) as found:
        yield found


def test_predictions_equal_the_scorer(bundle: Path, url: str) -> None:
    scorer = Scorer.load(bundle)
    rows = [dict(row) for row in scorer.manifest.check_rows.rows]
    status, answer = ask(url + "/predict", rows)
    assert status == 200
    assert answer["model"] == "run"
    assert answer["version"] == scorer.manifest.version
    assert answer["warnings"] == []
    for found, p in zip(answer["predictions"], scorer.manifest.check_rows.probabilities, strict=True):
        assert found["probabilities"] == pytest.approx({"no": p[0], "yes": p[1]}, abs=1e-6)
        assert found["probability"] == found["probabilities"]["yes"]
        assert found["label"] == ("yes" if p[1] >= 0.5 else "no")
    one = ask(url + "/predict", rows[0])[1]["predictions"]
    assert one == answer["predictions"][:1]
    many = ask(url + "/predict", rows * 10)[1]["predictions"]
    assert [entry["label"] for entry in many] == [entry["label"] for entry in answer["predictions"]] * 10


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "no JSON"),
        (b"age,plan\n30,pro\n", 400, "a CSV file is for POST /jobs"),
        (b'{"age": NaN}', 400, "missing is null"),
        ([], 422, "list of one record or more"),
        ([1], 422, "row 1: expected a record"),
        ({}, 422, "column"),
        ([{}] * 10_001, 413, "at most 10,000"),
        (b" " * (17 << 20), 413, "larger than 16 MB"),
    ],
)
def test_refusals_are_sentences(url: str, body: Any, status: int, sentence: str) -> None:
    found, answer = ask(url + "/predict", body)
    assert found == status
    assert sentence in answer["error"]


def test_a_wrong_cell_is_named(bundle: Path, url: str) -> None:
    row = dict(Scorer.load(bundle).manifest.check_rows.rows[0])
    status, answer = ask(url + "/predict", [row, {**row, "age": "abc"}])
    assert status == 422
    assert answer["error"] == 'row 2, column "age": expected a number, got "abc"'
    status, answer = ask(url + "/predict", {**row, "colour": 1, "age": 1e300})
    assert status == 200
    assert len(answer["warnings"]) == 2


def test_health_openapi_and_wrong_paths(url: str) -> None:
    assert ask(url + "/v2/health/live") == (200, {"status": "ok"})
    assert ask(url + "/v2/health/ready") == (200, {"status": "ok"})
    document = ask(url + "/openapi.json")[1]
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert ask(url + "/predict", example)[0] == 200
    assert ask(url + "/nothing")[0] == 404
    assert ask(url + "/predict")[0] == 405


def test_a_taken_port_is_one_sentence(bundle: Path, url: str) -> None:
    port = url.rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-m", "ludocast", "serve", "--bundle", str(bundle), "--port", port],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: port {port} of 127.0.0.1 is taken; choose another with --port\n"
