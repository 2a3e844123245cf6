"""`ludocast train churn --budget | --trials`: the search of `train table`, on the split of churn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.simulate import simulate
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.datamodules.data_sets import write_parts
from tests.datamodules.etl.logs import random_events, write_log
from tests.recipes.test_table_search import context, interruptible

WINDOWS = ["--observe=28d", "--horizon=14d", "--active-within=7d", "--step=7d"]
TRIALS = 5  # logistic, naive Bayes, neighbours, machine, boosting


def words(folder: Path, out: str, *more: str) -> list[str]:
    table = ("--data", str(folder / "players.csv"), "--label", "churned", "--positive", "yes", "--exclude", "player_id")
    return ["train", "churn", *table, "--trials", str(TRIALS), "--name", "n", "--out", str(folder / out), *more]


def model(run: Path) -> bytes:
    return (run / "bundle" / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("game")
    simulate(400, folder, seed=1)
    assert main(words(folder, "run")) == 0
    return folder


def test_the_best_trials_are_the_model(game: Path) -> None:
    run = game / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    trials = {f"{one['learner']} {one['number']}": one for one in metrics["search"]["trials"]}
    assert [one["learner"] for one in trials.values()] == ["logistic", "naive_bayes", "knn", "svm", "boosting"]
    members = metrics["search"]["ensemble"]
    assert sum(members.values()) == pytest.approx(1)
    assert set(members) == set(metrics["weights"]) <= set(trials)
    shown = {entry["name"] for entry in metrics["leaderboard"]}
    assert {f"its {name} alone" for name in members if len(members) > 1} < shown
    assert {"ludocast (n)", "random forest"} <= shown
    assert "<h2>The search</h2>" in (run / "report.html").read_text(encoding="utf-8")
    frame = pd.read_csv(game / "players.csv", dtype=str, keep_default_na=False)
    test = (pd.read_csv(run / "split.csv").part == "test").to_numpy()
    p = Scorer.load(run / "bundle").predict(frame[test]).probabilities[:, 1]
    hit = (frame.churned[test] == "yes").to_numpy()
    pairs = (p[hit][:, None] > p[~hit][None]).mean() + 0.5 * (p[hit][:, None] == p[~hit][None]).mean()
    assert pairs == pytest.approx(metrics["metrics"]["auc"]["value"], abs=1e-5)


def test_stopped_it_goes_on_to_the_same_model(game: Path) -> None:
    told = game / "told"
    process = context().Process(target=interruptible, args=(words(game, "cut"), told))
    process.start()
    assert process.pid is not None
    while process.is_alive() and not (told.exists() and "trial 2 " in told.read_text()):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert main(words(game, "cut", "--resume")) == 0
    assert model(game / "cut") == model(game / "run")


@pytest.fixture(scope="module")
def snaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    log = write_log(random_events(4, players=160, days=150), folder / "log.parquet")
    assert main(["snapshots", "--log", str(log), "--out", str(folder / "clean"), *WINDOWS]) == 0
    return folder / "clean"


def test_snapshots_are_held_out_by_time_and_the_test_part_has_no_say(snaps: Path) -> None:
    frame, poisoned = pd.read_parquet(snaps), snaps.with_name("poisoned")
    late = (frame.split == "test").to_numpy()
    order = np.arange(len(frame))
    order[late] = np.random.default_rng(0).permutation(order[late])
    moved = frame.iloc[order].reset_index(drop=True)
    moved["churned"] = frame.churned ^ late
    write_parts(moved, poisoned)
    for name in ("_schema.json", "_features.json"):
        shutil.copy(snaps / name, poisoned)
    runs = []
    for folder in (snaps, poisoned):
        run = folder.with_name(f"{folder.name}_run")
        options = ("--model", "boosting", "--trials", "3", "--name", "n")
        assert main(["train", "churn", "--data", str(folder), "--out", str(run), *options]) == 0
        runs.append(run)
    assert model(runs[0]) == model(runs[1])
    clean, other = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert clean["metrics"]["auc"] != other["metrics"]["auc"]
    held_out = int((frame.split == "validation").sum())
    assert f"come from {held_out:,} validation rows" in clean["protocol"][1]
    assert {one["learner"] for one in clean["search"]["trials"]} == {"boosting"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "network"], "there are no settings of --model network to search"),
        (["--devices", "2"], "a search runs in one process"),
        (["--trials", "0"], "--trials is 1 or more, got 0"),
        (["--most-rows", "150"], "a search holds all training rows in memory, and these are more than --most-rows"),
    ],
)
def test_what_is_no_search_is_a_sentence(
    snaps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    words = ["train", "churn", "--data", str(snaps), "--out", str(tmp_path / "run"), "--trials", "3", *options]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
