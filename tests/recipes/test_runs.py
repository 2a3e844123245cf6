"""`ludocast runs` from the command line, over folders as trainings and evaluations leave them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ludocast.recipes.predictions import Predictions, UserScores, read_predictions, read_user_scores

from ludocast.__main__ import main

ROOT = Path(__file__).parent.parent.parent


def write_run(folder: Path, noise: float, seed: int, rows: int = 400, sha256: str = "a" * 64, first: int = 1) -> Path:
    generator = np.random.default_rng(7)
    logit = generator.normal(-0.5, 1.5, rows)
    label = (generator.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    p = 1 / (1 + np.exp(-(logit + np.random.default_rng(seed).normal(0, noise, rows))))
    folder.mkdir(parents=True)
    two = np.stack([1 - p, p], axis=1).astype(np.float32)
    predicted = (p >= 0.5).astype(np.int64)
    Predictions(sha256, np.arange(rows) + first, label, predicted, two, ("no", "yes"), "yes").write(folder)
    accuracy = float((predicted == label).mean())
    document = {"rows": {"test": rows}, "metrics": {"auc": {"value": 0.5 + accuracy / 2}, "accuracy": accuracy}}
    (folder / "metrics.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "report.html").write_text("<p>report", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "good", 0.3, 1)
    write_run(folder / "alike", 0.3, 2)
    write_run(folder / "deep" / "poor", 4.0, 3)
    write_run(folder / "other data", 0.3, 1, sha256="b" * 64)
    write_run(folder / "other rows", 0.3, 1, first=2)
    write_run(folder / "stopped.partial", 0.3, 1)
    return folder


def test_what_is_kept_comes_back(runs: Path) -> None:
    found = read_predictions(runs / "good")
    assert isinstance(found, Predictions)
    assert (found.classes, found.positive, found.data_sha256) == (("no", "yes"), "yes", "a" * 64)
    assert found.rows.tolist() == list(range(1, 401))
    assert found.probabilities.shape == (400, 2)
    assert set(found.label.tolist()) == {0, 1}
    assert (found.predicted == (found.probabilities[:, 1] >= 0.5)).all()


def test_a_list_of_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", str(runs), "--by", "auc"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "when", "test", "auc", "accuracy"]
    assert len(lines) == 5
    assert lines[-1].startswith("deep/poor")
    assert lines[-1].split()[-3] == "400"
    measured = json.loads((runs / "deep" / "poor" / "metrics.json").read_text())["metrics"]
    assert lines[-1].split()[-2:] == [f"{measured['auc']['value']:.4f}", f"{measured['accuracy']:.4f}"]


def test_a_comparison_says_which_is_better(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", str(runs / "good"), str(runs / "deep" / "poor")]) == 0
    told = capsys.readouterr().out
    assert "poor is worse than good: AUC" in told
    assert main(["runs", "compare", str(runs / "deep" / "poor"), str(runs / "good"), "--measure", "log_loss"]) == 0
    told = capsys.readouterr().out
    assert "good is better than poor: log loss" in told
    assert main(["runs", "compare", str(runs / "good"), str(runs / "alike"), "--level", "0.99"]) == 0
    told = capsys.readouterr().out
    assert "alike and good cannot be told apart: AUC" in told
    assert "99 % interval" in told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compare", "good", "other data"], "was tested on other data than good"),
        (["compare", "good", "other rows"], "was tested on other rows of the same data than good"),
        (["compare", "good", "nothing"], "nothing: no such folder"),
        (["compare", "good", "deep"], "neither predictions.parquet nor users.parquet"),
        (["compare", "good", "alike", "--measure", "acu"], "--measure is one of auc, average_precision"),
        (["compare", "good", "alike", "--level", "1"], "from 0.5 to below 1"),
        (["list", "nothing"], "there is no folder nothing"),
        (["list", "stopped.partial/nothing"], "there is no folder"),
        (["list", ".", "--by", "acu"], 'no run here has the measure "acu"; there is accuracy, auc'),
        (["open", "deep"], "deep has no report.html"),
    ],
)
def test_bad_input_is_one_sentence(
    runs: Path,
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(runs)
    assert main(["runs", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_other_rows_are_compared_as_two_samples_where_asked(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", str(runs / "good"), str(runs / "other data"), "--unpaired"]) == 0
    assert "cannot be told apart" in capsys.readouterr().out


def test_recommenders_are_compared_by_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    users, good = np.arange(0, 600, 2), generator.random(300)
    for name, values in (("first", good), ("second", 0.9 * good), ("third", good)):
        (tmp_path / name).mkdir()
        hidden = "a fifth (12)" if name != "third" else "the last (34)"
        UserScores("a" * 64, hidden, users, {"ndcg@10": values}).write(tmp_path / name)
    assert read_user_scores(tmp_path / "first").users.tolist() == users.tolist()
    assert main(["runs", "compare", str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    assert "second is worse than first: NDCG@10" in capsys.readouterr().out
    assert main(["runs", "compare", str(tmp_path / "first"), str(tmp_path / "third")]) == 2
    assert "other rows" in capsys.readouterr().err


def test_damaged_predictions_are_told(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(runs / "good", broken)
    content = (broken / "predictions.parquet").read_bytes()
    (broken / "predictions.parquet").write_bytes(content[: len(content) // 2])
    assert main(["runs", "compare", str(runs / "good"), str(broken)]) == 2
    assert "predictions.parquet is damaged" in capsys.readouterr().err


def test_a_report_is_opened(runs: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BROWSER": "echo opened %s"}
    command = [sys.executable, "-m", "ludocast", "runs", "open", str(runs / "good")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (runs / "good" / "report.html").as_uri() in done.stdout
