"""The whole recipe through the command line: what it leaves, what it refuses."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv as pacsv
import pytest
from ludocast.datamodules.simulate import simulate
from ludocast.recipes.predictions import Predictions, read_predictions
from ludocast.serve.scorer import Scorer

from tests.warm.start import warm_python

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
OPTIONS = ["--label", "churned", "--positive", "yes", "--exclude", "player_id", "--members", "2"]


def run(*words: str, cwd: Path, python: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [warm_python() if python is None else python, "-m", "ludocast", *words]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("game")
    simulate(1200, folder / "data", seed=1)
    done = run(
        "train", "churn", "--data", "data/players.csv", *OPTIONS, "--epochs", "2", "--out", "run",
        "--truth", "data/truth.csv", cwd=folder, python=sys.executable,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "report: run/report.html" in done.stdout
    best = json.loads((folder / "run" / "metrics.json").read_text())["best_possible_auc"]
    assert f"best possible auc    {best:.4f}" in done.stdout
    return folder


def test_a_run_leaves_report_metrics_schema_split_and_one_bundle(game: Path) -> None:
    out = game / "run"
    assert not (game / "run.partial").exists()
    assert [path.parent for path in out.rglob("bundle.json")] == [out / "bundle"]
    metrics = json.loads((out / "metrics.json").read_text())
    auc = metrics["metrics"]["auc"]
    assert 0.6 < auc["low"] < auc["value"] < auc["high"] <= 1
    assert auc["value"] < metrics["best_possible_auc"] + 0.05
    names = [entry["name"] for entry in metrics["leaderboard"]]
    assert {"logistic regression", "random forest", "gradient boosting"} <= set(names)
    parts = pd.read_csv(out / "split.csv")
    assert parts.row.tolist() == list(range(1, 1201))
    assert parts.part.value_counts()["test"] == 240
    page = (out / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert " object at 0x" not in page
    shown = html.unescape(page.partition("values in training")[2])
    described = {column["name"]: column for column in json.loads((out / "schema.json").read_text())["columns"]}
    most, count = next(iter(described["country"]["categories"].items()))
    assert f"{most} ({count:,})" in shown
    low, high = described["win_rate"]["quantiles"][0], described["win_rate"]["quantiles"][-1]
    assert f"{low:g} to {high:g}" in shown
    since = pd.read_csv(game / "data" / "players.csv")["registered_at"][(parts.part == "train").to_numpy()]
    assert f"{since.min()[:10]} to {since.max()[:10]}, median " in shown


def test_the_bundle_scores_as_the_report_says(game: Path) -> None:
    data = pd.read_csv(game / "data" / "players.csv", dtype=str, keep_default_na=False)
    parts = pd.read_csv(game / "run" / "split.csv")
    test = data[(parts.part == "test").to_numpy()]
    scorer = Scorer.load(game / "run" / "bundle")
    found = scorer.predict(test)
    positive = scorer.manifest.positive_index
    assert positive is not None
    p, hit = found.probabilities[:, positive], (test.churned == "yes").to_numpy()
    # AUC as its definition says: the share of pairs in the right order.
    pairs = (p[hit][:, None] > p[~hit][None]).mean() + 0.5 * (p[hit][:, None] == p[~hit][None]).mean()
    reported = json.loads((game / "run" / "metrics.json").read_text())["metrics"]["auc"]["value"]
    assert pairs == pytest.approx(reported, abs=1e-5)


def test_an_evaluation_of_the_test_rows_tells_the_runs_own_figures(game: Path) -> None:
    data = pd.read_csv(game / "data" / "players.csv", dtype=str, keep_default_na=False)
    is_test = (pd.read_csv(game / "run" / "split.csv").part == "test").to_numpy()
    data[is_test].to_csv(game / "test.csv", index=False)
    done = run("evaluate", "--bundle", "run/bundle", "--data", "test.csv", "--out", "evaluated", cwd=game)
    assert done.returncode == 0, done.stderr
    then, now = (json.loads((game / out / "metrics.json").read_text()) for out in ("run", "evaluated"))
    for name, entry in then["metrics"].items():
        assert now["metrics"][name]["value"] == pytest.approx(entry["value"], abs=2e-5)
        assert now["metrics"][name]["low"] == pytest.approx(entry["low"], abs=2e-5)
    assert now["confusion"] == then["confusion"]
    score = next(one for one in now["drift"] if one["kind"] == "score")
    assert score["psi"] < 0.01
    mine, theirs = read_predictions(game / "run"), read_predictions(game / "evaluated")
    assert isinstance(mine, Predictions)
    assert isinstance(theirs, Predictions)
    np.testing.assert_allclose(mine.probabilities, theirs.probabilities, atol=1e-5)
    assert mine.rows.tolist() == (np.flatnonzero(is_test) + 1).tolist()
    assert (mine.label == theirs.label).all()
    assert (mine.predicted == theirs.predicted).all()


def test_no_players_row_is_in_the_bundle(game: Path) -> None:
    rows = json.loads((game / "run" / "bundle" / "bundle.json").read_text())["check_rows"]["rows"]
    data = pacsv.read_csv(game / "data" / "players.csv").to_pandas()
    for row in rows:
        shared = [name for name in row if row[name] is not None]
        same = np.logical_and.reduce([data[name].astype(str) == str(row[name]) for name in shared])
        assert not same.any() or len(shared) < 3


def test_a_killed_run_goes_on_where_it_stopped(game: Path) -> None:
    few = (game / "data" / "players.csv").read_text().splitlines()[:401]
    (game / "few.csv").write_text("\n".join(few))
    words = ["train", "churn", "--data", "few.csv", *OPTIONS, "--model", "network", "--epochs", "3", "--name", "n"]
    assert run(*words, "--out", "whole", cwd=game).returncode == 0
    command = [sys.executable, "-m", "ludocast", *words, "--out", "cut"]
    process = subprocess.Popen(command, cwd=game, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = game / "cut.partial" / "checkpoints" / "folds" / "last.ckpt"
    for _ in range(1200):
        if checkpoint.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert not (game / "cut").exists()
    neither = run(*words, "--out", "cut", cwd=game)
    assert neither.returncode == 2
    assert "--resume" in neither.stderr
    assert "--overwrite" in neither.stderr
    other = run(*words, "--out", "cut", "--resume", "--seed", "5", cwd=game)
    assert other.returncode == 2
    assert "was begun with seed 0" in other.stderr
    resumed = run(*words, "--out", "cut", "--resume", cwd=game)
    assert resumed.returncode == 0, resumed.stderr
    models = [
        json.loads((game / name / "bundle" / "bundle.json").read_text())["files"]["model.onnx"]
        for name in ("whole", "cut")
    ]
    assert models[0] == models[1]


def _broken(change: Callable[[pd.DataFrame], object]) -> Callable[[Path, pd.DataFrame], None]:
    return lambda path, frame: change(frame).to_csv(path, index=False)  # type: ignore[attr-defined]


BAD: dict[str, tuple[Callable[[Path, pd.DataFrame], object], str]] = {
    "missing file": (lambda path, frame: None, "there is no file"),  # noqa: ARG005
    "empty file": (lambda path, frame: path.write_bytes(b""), "is empty (0 bytes)"),  # noqa: ARG005
    "header only": (_broken(lambda f: f.head(0)), "header but no rows"),
    "one row": (_broken(lambda f: f.head(1)), "1 row"),
    "one class": (_broken(lambda f: f.assign(churned="no")), 'always "no"'),
    "label absent": (_broken(lambda f: f.rename(columns={"churned": "chruned"})), 'did you mean "chruned"'),
    "binary": (lambda path, frame: path.write_bytes(b"\x00\x01\x02" * 100), "binary file"),  # noqa: ARG005
    "broken line": (
        lambda path, frame: path.write_text(frame.head(5).to_csv(index=False) + "a,b\n"),
        "Row #7",
    ),
    "duplicate names": (
        lambda path, frame: path.write_text("age," + frame.to_csv(index=False).replace("\n", "\n1,")[:-2]),
        "'age' twice",
    ),
    "no usable column": (_broken(lambda f: f[["player_id", "churned"]]), "no column is left"),
    "a 10 MB cell": (
        _broken(lambda f: f.assign(country=["x" * 10_000_000, *f.country[1:]]).head(100)),
        "cell of more than 1,000,000 characters",
    ),
    "label with gaps": (_broken(lambda f: f.assign(churned=["", *f.churned[1:]])), "drop those rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(
    game: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ludocast.__main__ import main

    make, sentence = BAD[name]
    frame = pd.read_csv(game / "data" / "players.csv", dtype=str, keep_default_na=False)
    make(tmp_path / "x.csv", frame)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(["train", "churn", "--data", "x.csv", *OPTIONS, "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--members", "0"], "--members"),
        (["--cost-missed", "0"], "above 0"),
        (["--positive", "maybe"], '"maybe" is no value'),
        (["--split-time", "playerid"], 'no column "playerid"'),
        (["--split-time", "country"], "expected a time"),
        (["--resume"], "to resume"),
    ],
)
def test_bad_options_are_one_sentence(
    game: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from ludocast.__main__ import main

    data, out = str(game / "data" / "players.csv"), tmp_path / "run"
    assert main(["train", "churn", "--data", data, *OPTIONS, "--out", str(out), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_existing_run_is_kept(game: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ludocast.__main__ import main

    before = (game / "run" / "metrics.json").read_bytes()
    assert main(["train", "churn", "--data", str(game / "data/players.csv"), *OPTIONS, "--out", str(game / "run")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (game / "run" / "metrics.json").read_bytes() == before


def test_changing_validation_and_test_rows_changes_nothing_fitted(tmp_path: Path) -> None:
    from ludocast.datamodules.fit_preprocessing import fit_preprocessing
    from ludocast.recipes.labelled_table import read_labelled_table

    simulate(800, tmp_path / "data", seed=2)
    table = read_labelled_table(
        tmp_path / "data" / "players.csv", "churned", "yes", ["player_id"], None, "registered_at", None, 0, "utf-8",
        None, None,
    )  # fmt: skip
    assert table.split.validation is not None
    changed = {name: values.copy() for name, values in table.columns.items()}
    for rows in (table.split.validation, table.split.test):
        for values in changed.values():
            values[rows] = values[rows][::-1] if values.dtype == object else 1e9
    fitted = []
    for columns in (table.columns, changed):
        part = {name: values[table.split.train] for name, values in columns.items()}
        fitted.append(fit_preprocessing(table.schema, part, table.label[table.split.train])[0])
    assert repr(fitted[0]) == repr(fitted[1])
