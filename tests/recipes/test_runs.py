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
from ludocast.models.number_loss import NumberLoss
from ludocast.recipes.assignments import Assignments, agreement, read_assignments
from ludocast.recipes.predictions import NumberPredictions, Predictions, UserScores, read_predictions, read_user_scores

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
    assert head.split() == ["run", "when", "rows", "auc", "accuracy"]
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
        (["compare", "good", "deep"], "none of predictions.parquet, users.parquet, segments.parquet"),
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


def write_segments(folder: Path, segment: list[int], names: tuple[str, ...], sha256: str = "a" * 64) -> Path:
    folder.mkdir(parents=True)
    Assignments(sha256, np.array(segment), names).write(folder)
    document = {"rows": {"all": len(segment)}, "metrics": {"silhouette": 0.5, "stability": 0.9}, "segments": []}
    (folder / "metrics.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "report.html").write_text("<p>report", encoding="utf-8")
    return folder


def test_of_segments_it_is_told_how_far_runs_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_segments(tmp_path / "first", [0] * 6 + [1] * 4, ("1", "2"))
    second = write_segments(tmp_path / "second", [1] * 5 + [0] * 1 + [2] * 4, ("a", "b", "c"))
    assert read_assignments(second).segment.tolist() == [1] * 5 + [0] + [2] * 4
    assert read_assignments(second).names == ("a", "b", "c")
    found = agreement(read_assignments(first), read_assignments(second))
    # By hand: pairs of rows together in both C(5,2)+C(4,2) = 16, in the first 21, in the second 16, of all 45.
    expected = 21 * 16 / 45
    assert found.index == pytest.approx((16 - expected) / ((21 + 16) / 2 - expected))
    assert found.pairs == (("b", "1", 1.0), ("c", "2", 1.0), ("a", "1", 1.0))
    backwards = agreement(read_assignments(second), read_assignments(first))
    assert backwards.pairs == (("1", "b", 5 / 6), ("2", "c", 1.0))
    assert main(["runs", "compare", str(second), str(first)]) == 0
    told = capsys.readouterr().out
    assert f"Segments of first and second agree on the rows by {found.index:.2f}" in told
    assert "83% of segment 1 of first are in segment b of second" in told
    third = write_segments(tmp_path / "third", [0] * 10, ("1",), "b" * 64)
    for words in ([str(third)], [str(second), "--unpaired"], [str(second), "--measure", "stability"]):
        assert main(["runs", "compare", str(first), *words]) == 2
    told = capsys.readouterr().err
    assert "found in different tables" in told
    assert told.count("leave --measure and --unpaired out") == 2


def test_a_list_shows_a_measure_of_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_segments(tmp_path / "groups", [0] * 6 + [1] * 4, ("1", "2"))
    many = dict.fromkeys(("auc", "log_loss", "ndcg@10", "recall@20", "perplexity", "accuracy", "r2"), 0.5)
    for name, metrics in (("many", many), ("words", {"f1": 0.75})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({"metrics": metrics}), encoding="utf-8")
        (tmp_path / name / "report.html").write_text("<p>report", encoding="utf-8")
    assert main(["runs", "list", str(tmp_path)]) == 0
    head, groups, _, words = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "when", "rows", "auc", "log_loss", "ndcg@10", "recall@20", "f1", "silhouette"]
    assert groups.split()[-2:] == ["10", "0.5000"]
    assert words.split()[-1] == "0.7500"


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


def test_quantiles_are_compared_by_their_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = np.random.default_rng(0).normal(size=300)
    for name, value in (("low", 0.0), ("high", 1.3)):
        (tmp_path / name).mkdir()
        predicted, loss = np.full(300, value), NumberLoss("quantile", 0.9)
        bounds = np.column_stack([predicted - 1, predicted + 1])
        NumberPredictions("a" * 64, np.arange(300) + 1, label, predicted, bounds, 0.9, loss).write(tmp_path / name)
    found = read_predictions(tmp_path / "high")
    assert isinstance(found, NumberPredictions)
    assert found.loss == NumberLoss("quantile", 0.9)
    assert main(["runs", "compare", str(tmp_path / "low"), str(tmp_path / "high")]) == 0
    assert "high is better than low: pinball loss" in capsys.readouterr().out
