"""`ludocast train table --budget | --trials`: killed it goes on, the test part has no say, the page tells of it."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.models.table.search_store import STUDY_FILE
from ludocast.recipes.table_search import SEARCH, search_budget
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.serve.made_table import made_frame

FAST = ("--learners", "naive_bayes,svm,logistic,tree")


def words(folder: Path, *more: str) -> list[str]:
    return ["train", "table", "--data", str(folder / "rows.csv"), "--label", "y", "--out", str(folder / "run"), *more]


def model(folder: Path) -> bytes:
    return (folder / "run" / "bundle" / "model.onnx").read_bytes()


def timeless(folder: Path) -> list[dict[str, object]]:
    trials = json.loads((folder / "run" / "metrics.json").read_text())["search"]["trials"]
    return [{key: value for key, value in one.items() if key not in ("seconds", "elapsed")} for one in trials]


def context() -> ForkServerContext:
    """Of processes that need not import everything anew."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["ludocast.recipes.table", "optuna", "lightgbm", __name__])
    return found


def killed_and_resumed(folder: Path, options: tuple[str, ...], kills: int, seed: int) -> int:
    """Kill the command at random moments, each time after those before were survived; how often it was at work then."""
    partial, generator, hits = folder / "run.partial", np.random.default_rng(seed), 0
    for attempt in range(kills + 1):
        begun = (partial / SEARCH / STUDY_FILE).exists()
        how = ["--resume"] if begun else ["--overwrite"] if partial.exists() else []
        process = context().Process(target=main, args=(words(folder, *options, *how),))
        process.start()
        if attempt == kills:
            process.join()
            break
        end = time.monotonic() + generator.uniform(0.2, 2.0)
        while process.is_alive() and time.monotonic() < end:
            time.sleep(0.005)
        hits += process.is_alive()
        process.kill()  # nothing where it has ended by itself
        process.join()
        if (folder / "run").exists():
            break
    assert (folder / "run").exists()
    return hits


def interruptible(arguments: list[str], told: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background have it ignored
    with told.open("w", buffering=1) as file, contextlib.redirect_stdout(file):
        code = main(arguments)
    raise SystemExit(code)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    made_frame(2, 150).to_csv(tmp_path / "rows.csv", index=False)
    arguments, told = words(tmp_path, *FAST, "--trials", "500"), tmp_path / "told"
    process = context().Process(target=interruptible, args=(arguments, told))
    process.start()
    assert process.pid is not None
    while process.is_alive() and not (told.exists() and "trial 7 " in told.read_text()):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert f"stopped; --resume goes on with {tmp_path / 'run.partial'}" in told.read_text()


def check_kills(tmp_path: Path, trials: int, kills: int, seed: int) -> None:
    options = (*FAST, "--trials", str(trials), "--seed", "5")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        made_frame(3, 150).to_csv(tmp_path / name / "rows.csv", index=False)
    assert main(words(tmp_path / "whole", *options)) == 0
    assert killed_and_resumed(tmp_path / "killed", options, kills, seed) > 0
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "whole")
    assert model(tmp_path / "killed") == model(tmp_path / "whole")


def test_killed_at_random_it_goes_on_to_the_same_model(tmp_path: Path) -> None:
    check_kills(tmp_path, trials=10, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_many_times_it_goes_on_to_the_same_model(tmp_path: Path, seed: int) -> None:
    check_kills(tmp_path, trials=60, kills=40, seed=seed)


def test_neither_label_nor_features_of_the_test_part_change_the_model(tmp_path: Path) -> None:
    frame = made_frame(2, 300)
    frame["when"] = np.arange(len(frame))
    options = ("--split-time", "when", "--exclude", "when", *FAST, "--trials", "8")
    for name in ("clean", "poisoned"):
        (tmp_path / name).mkdir()
        if name == "poisoned":
            late = frame.index[240:]
            frame.loc[late, "y"] = frame.loc[late, "y"].map({"class 0": "class 1", "class 1": "class 0"})
            for column in frame.columns.drop(["y", "when"]):  # each by itself: rows that never were
                frame.loc[late, column] = np.random.default_rng(len(column)).permutation(frame.loc[late, column])
        frame.to_csv(tmp_path / name / "rows.csv", index=False)
        assert main(words(tmp_path / name, *options)) == 0
    assert timeless(tmp_path / "clean") == timeless(tmp_path / "poisoned")
    assert model(tmp_path / "clean") == model(tmp_path / "poisoned")
    a, b = (json.loads((tmp_path / name / "run" / "metrics.json").read_text()) for name in ("clean", "poisoned"))
    assert a["metrics"]["auc"] != b["metrics"]["auc"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("number")
    made_frame(0, 200).to_csv(folder / "rows.csv", index=False)
    assert main(words(folder, "--learners", "linear,svm,naive_bayes", "--trials", "9", "--logger", "csv")) == 0
    return folder / "run"


def test_the_report_tells_of_the_search(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    told = json.loads((run / "metrics.json").read_text())["search"]
    assert "<h2>The search</h2>" in page
    assert "Each trial, and the lowest loss so far" in page
    assert re.search(r"9 trials in \d+ s on 160 training rows, held out in 5 folds", page)
    assert sum(told["ensemble"].values()) == pytest.approx(1)
    whole = {f"{one['learner']} {one['number']}": one for one in told["trials"] if one["state"] == "whole"}
    for name in told["ensemble"]:
        assert name in whole  # what was given up is never in the model
        assert f"<td>{name}</td>" in page
    best = min(one["loss"] for one in whole.values())
    leaderboard = json.loads((run / "metrics.json").read_text())["learners"]
    assert leaderboard[0]["loss"] == pytest.approx(best)


def test_the_bundle_answers_and_the_study_stays(run: Path) -> None:
    frame = pd.read_csv(run.parent / "rows.csv")
    found = Scorer.load(run / "bundle").predict(frame.drop(columns="y"))
    assert np.corrcoef(found.labels.astype(float), frame["y"])[0, 1] > 0.5
    assert [path.name for path in (run / SEARCH).iterdir()] == [STUDY_FILE]


def test_a_logger_is_told_of_the_trials(run: Path) -> None:
    rows = pd.read_csv(run / "logs" / "version_0" / "metrics.csv")
    told = json.loads((run / "metrics.json").read_text())["search"]["trials"]
    whole = {one["number"] for one in told if one["state"] == "whole"}
    logged = rows.dropna(subset=["search/lowest_loss"])
    assert set(logged["step"]) == whole
    assert (logged["search/lowest_loss"] == logged["search/loss"].cummin()).all()


def test_a_budget_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_frame(2, 150).to_csv(tmp_path / "rows.csv", index=False)
    assert main(words(tmp_path, "--learners", "naive_bayes,logistic", "--budget", "2s")) == 0
    trials = json.loads((tmp_path / "run" / "metrics.json").read_text())["search"]["trials"]
    longest = max(one["seconds"] for one in trials)
    assert trials[-1]["elapsed"] <= 2 + longest
    assert "s left" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--budget", "soon"], '--budget is a time such as 90s, 5m or 1h, got "soon"'),
        (["--budget", "0m"], '--budget is a time such as 90s, 5m or 1h, got "0m"'),
        (["--trials", "0"], "--trials is 1 or more, got 0"),
        (["--resume"], "--resume goes on with a search; give the --budget or --trials that it was begun with"),
        (["--budget", "5m", "--resume"], "run.partial to resume; leave --resume out"),
    ],
)
def test_what_is_no_search_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    made_frame(2, 60).to_csv(tmp_path / "rows.csv", index=False)
    assert main(words(tmp_path, *options)) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1


def test_a_budget_is_given_in_seconds_minutes_or_hours() -> None:
    for text, seconds in (("90s", 90), ("5m", 300), ("1.5h", 5_400), ("1d", 86_400)):
        budget = search_budget(text, None)
        assert budget is not None
        assert budget.seconds == seconds
    assert search_budget(None, None) is None
