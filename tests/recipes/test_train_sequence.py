"""`ludocast train sequence` through the command line: what each task leaves, what is refused, what goes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.datamodules.sequence_sources import TagSource
from ludocast.models.sequence.predict import evaluated
from ludocast.models.sequence.tasks import LeavingModule, NextModule, TagModule
from ludocast.recipes.predictions import Predictions, read_predictions
from sklearn.metrics import roc_auc_score

from ludocast.__main__ import main
from tests.recipes.made_events import make_files
from tests.warm.start import warm_python

ROOT = Path(__file__).parent.parent.parent
LOG = ["--data", "events.csv", "--player", "player_id", "--time", "time"]
SMALL = ["--hidden", "8", "--embedding", "6", "--batch", "16", "--accelerator", "cpu"]
WORDS = {
    "churn": ["--task", "churn", *LOG, "--days-per-step", "7"],
    "tag": ["--task", "tag", "--data", "train.ctf", "--test", "test.ctf"],
    "language": ["--task", "language", "--data", "train.txt", "--validation", "validation.txt", "--test", "test.txt"],
    "next": ["--task", "next", *LOG, "--event", "event", "--tbptt-steps", "9"],
}


@pytest.fixture(autouse=True)
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(task: str, *options: str, out: str = "run") -> int:
    return main(["train", "sequence", *WORDS[task], *SMALL, "--out", out, *options])


def measures(out: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(out, "metrics.json").read_text())
    return found


def test_churn_leaves_measures_and_answers_that_agree(game: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("churn", "--epochs", "8") == 0
    assert not (game / "run.partial").exists()
    document = measures()
    assert document["task"] == "churn"
    answers = pd.read_csv("run/predictions.csv")
    assert len(answers) == document["rows"]["test"]
    auc = roc_auc_score(answers["label"], answers["probability"])
    assert document["metrics"]["auc"]["value"] == pytest.approx(auc, abs=1e-6)
    events = pd.read_csv("events.csv", parse_dates=["time"])
    events["time"] = events["time"].dt.tz_localize("UTC")
    for row in answers.assign(time=pd.to_datetime(answers["time"]))[::7].itertuples():
        own = events[events["player_id"] == row.player]["time"]
        later = own[(own >= row.time) & (own < row.time + pd.Timedelta(days=28))]  # type: ignore[operator]
        assert row.label == int(len(later) == 0)
    loaded = LeavingModule.load_from_checkpoint("run/model.ckpt", weights_only=False)
    assert float(loaded.temperature) == pytest.approx(document["settings"]["temperature"])
    assert "on the test part" in capsys.readouterr().out
    kept = read_predictions(Path("run"))
    assert isinstance(kept, Predictions)
    assert len(np.unique(kept.rows)) == len(answers)
    assert roc_auc_score(kept.label, kept.probabilities[:, 1]) == pytest.approx(auc, abs=1e-6)
    assert train("churn", "--epochs", "1", "--kind", "gru", out="other") == 0
    assert main(["runs", "compare", "run", "other"]) == 0
    assert "other" in capsys.readouterr().out.splitlines()[-1]


def test_tags_are_learnt_and_told_by_kind() -> None:
    assert train("tag", "--epochs", "20", "--dropout", "0", "--batch", "4") == 0
    document = measures()
    assert document["metrics"]["accuracy"] == 1.0
    assert document["metrics"]["f1"] == document["chunks"]["x"]["f1"] == 1.0
    answers = pd.read_csv("run/predictions.csv")
    assert len(answers) == 300
    assert (answers["tag"] == answers["found"]).all()
    loaded = TagModule.load_from_checkpoint("run/model.ckpt", weights_only=False).eval()
    data = SequenceDataModule(TagSource(Path("train.ctf"), Path("test.ctf")))
    assert evaluated(loaded, data)["loss"] == pytest.approx(document["metrics"]["loss"], rel=1e-6)


def test_a_text_of_drawn_letters_has_their_entropy() -> None:
    """Six equal letters, after each eight of them an end: a count of tokens alone has 1.94 nats, the best is 1.59."""
    assert train("language", "--epochs", "15", "--batch", "8", "--layers", "1", "--learning-rate", "0.02") == 0
    found = measures()["metrics"]
    best, counted = 8 / 9 * np.log(6), 8 / 9 * np.log(54 / 8) + 1 / 9 * np.log(9)
    assert best * 0.98 < found["loss"] < counted + 0.02
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))


def test_the_next_event_is_found() -> None:
    assert train("next", "--epochs", "15") == 0
    answers = pd.read_csv("run/predictions.csv")
    assert (answers["came"] == answers["answer 1"]).mean() > 0.95
    document = measures()
    assert document["metrics"]["mrr_10"] > 0.95
    beside = document["baselines"]["what came after the last one"]  # the next event follows from the last one
    assert beside["hit_rate_1"] == 1.0
    assert "similar sessions (V-SKNN)" in Path("run/report.html").read_text(encoding="utf-8")


def test_equal_seeds_give_equal_networks_and_others_do_not() -> None:
    for out, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert train("tag", "--epochs", "1", "--seed", seed, out=out) == 0
    a, b, c = (torch.load(f"{out}/model.ckpt", weights_only=False)["state_dict"] for out in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["network.head.weight"], c["network.head.weight"])


def test_a_stopped_run_goes_on_to_the_same_network(game: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("next", "--epochs", "3", out="whole") == 0

    def stop(self: Any) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(NextModule, "on_train_epoch_start", stop)
        assert train("next", "--epochs", "3", out="cut") == 130
    assert (game / "cut.partial").exists()
    assert train("next", "--epochs", "3", "--resume", out="cut") == 0
    whole, cut = (torch.load(f"{out}/model.ckpt", weights_only=False)["state_dict"] for out in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_columns_of_players_that_tell_who_leaves_are_used(capsys: pytest.CaptureFixture[str]) -> None:
    """A player's last day, which nobody would know, tells all; excluded, it tells nothing."""
    events = pd.read_csv("events.csv", parse_dates=["time"])
    last = events.groupby("player_id")["time"].max().dt.strftime("%Y-%m-%d").reset_index(name="last_day")
    last.assign(level=np.arange(len(last)) % 7).to_csv("players.csv", index=False)
    options = ["--players", "players.csv", "--epochs", "15", "--learning-rate", "0.02"]
    assert train("churn", *options) == 0
    with_it = measures()["metrics"]["auc"]["value"]
    assert train("churn", *options, "--exclude", "last_day", out="without") == 0
    assert with_it > 0.9 > measures("without")["metrics"]["auc"]["value"]
    assert measures("without")["settings"]["exclude"] == ["last_day"]
    last[1:].to_csv("players.csv", index=False)
    assert train("churn", *options, out="less") == 2
    assert "add a row for each" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "options", "told"),
    [
        ("tag", ["--window", "0"], {"window": 0}),
        ("next", ["--softmax", "sampled", "--tie-weights"], {"softmax": "sampled", "is_tied": True}),
        ("language", ["--softmax", "adaptive", "--hidden", "16"], {"softmax": "adaptive"}),
    ],
)
def test_options_of_the_head_reach_the_network(task: str, options: list[str], told: dict[str, Any]) -> None:
    assert train(task, "--epochs", "1", *options) == 0
    settings = measures()["settings"]
    assert {name: settings[name] for name in told} == told
    names = torch.load("run/model.ckpt", weights_only=False)["state_dict"]
    assert ("averaged.head.groups.head.weight" in names) == (told.get("softmax") == "adaptive")
    assert ("averaged.between.weight" in names) == told.get("is_tied", False)
    if task == "tag":
        assert names["averaged.stack.weight_ih_l0"].shape[1] == 6  # the embedding alone
    probabilities = [
        float(p) for p in re.findall(r'<span class="guess">([\d.]+) %', Path("run/report.html").read_text())
    ]
    assert task == "tag" or 0 < max(probabilities) <= 100


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("churn", ["--players", "nothere.csv"], "nothere.csv"),
        ("churn", ["--exclude", "level"], "give that table too"),
        ("next", ["--players", "events.csv"], "goes with --task churn"),
        ("tag", ["--tbptt-steps", "5"], "reads them from both ends"),
        ("churn", ["--tbptt-steps", "5"], "no gradient would reach an earlier chunk"),
        ("next", ["--window", "2"], "goes with --task tag"),
        ("tag", ["--window", "-1"], "0 or more neighbouring words"),
        ("tag", ["--tie-weights"], "go with --task language and next"),
        ("churn", ["--softmax", "adaptive"], "go with --task language and next"),
        ("language", ["--softmax", "adaptive", "--tie-weights", "--embedding", "16"], "no single table"),
        ("language", ["--softmax", "adaptive"], "16 hidden units"),
        ("tag", ["--epochs", "0"], "--epochs is 1 or more"),
        ("churn", ["--observe", "50"], "whole steps"),
        ("churn", ["--inputs", "events"], "needs --event"),
        ("churn", ["--numbers", "gold"], "--inputs events or stream"),
        ("churn", ["--data", "nothere.csv"], "nothere.csv"),
        ("churn", ["--horizon", "900"], "a longer log"),
        ("churn", ["--horizon", "0.01"], "has nobody who stays"),
        ("next", ["--checkpoint-every", "0"], "--checkpoint-every is 1 step or more"),
        ("language", ["--dropout", "1"], "dropout"),
        ("next", ["--time", "nothere"], "nothere"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    game: Path, capsys: pytest.CaptureFixture[str], task: str, options: list[str], said: str
) -> None:
    assert train(task, *options) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert said in error
    assert not (game / "run").exists()
    assert not (game / "run.partial").exists()


def test_a_training_that_diverges_says_so(capsys: pytest.CaptureFixture[str], game: Path) -> None:
    assert train("next", "--epochs", "2", "--learning-rate", "1e30") == 2
    assert "the training has diverged" in capsys.readouterr().err
    assert not (game / "run").exists()


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]


def two_processes(game: Path, module: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHON_EXEC": warm_python(), **environment}
    command = [*TORCHRUN, "--", module, "train", "sequence", *words]
    return subprocess.run(command, cwd=game, env=known, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_two_processes_with_one_bit_gradients_make_one_run(game: Path) -> None:
    options = ["--epochs", "20", "--dropout", "0", "--hidden", "64", "--embedding", "32", "--batch", "8"]
    for kind, words in (("onebit", "as 1 bit a value"), ("none", "uncompressed")):
        done = two_processes(
            game, "ludocast", *WORDS["tag"], *SMALL, *options, "--compression", kind, "--out", kind
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"2 processes, gradients {words}") == 1
    assert measures("onebit")["metrics"]["f1"] == measures("none")["metrics"]["f1"] == 1.0
    assert json.loads(Path("onebit/compression.json").read_text())["compressed"] > 0


@pytest.mark.parametrize("compression", ["none", pytest.param("onebit", marks=pytest.mark.slow)])
def test_two_processes_killed_within_an_epoch_go_on_to_the_same_bits(game: Path, compression: str) -> None:
    """Chunks of 9 steps with the state carried over, a checkpoint every 5 steps, one process killed before step 13."""
    options = ["--epochs", "2", "--hidden", "64", "--layers", "2", "--compression", compression]
    words = [*WORDS["next"], *SMALL, *options, "--checkpoint-every", "5"]
    whole = two_processes(game, "ludocast", *words, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    cut = two_processes(game, "tests.recipes.killed_run", *words, "--out", "cut", KILLED_AT="13")
    assert cut.returncode != 0
    left = torch.load("cut.partial/checkpoints/last.ckpt", weights_only=False)
    assert left["global_step"] == 10
    assert [part is not None for part in left["states"]] == [True, True]
    resumed = two_processes(game, "ludocast", *words, "--out", "cut", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    one, other = (torch.load(f"{out}/checkpoints/last.ckpt", weights_only=False) for out in ("whole", "cut"))
    assert one["global_step"] == other["global_step"] > 2 * 13
    assert all(torch.equal(tensor, other["state_dict"][name]) for name, tensor in one["state_dict"].items())
    assert measures("whole")["epochs"] == measures("cut")["epochs"]


def test_the_report_of_who_leaves_agrees_with_the_answers() -> None:
    assert train("churn", "--epochs", "2") == 0
    document, page = measures(), Path("run/report.html").read_text()
    assert [entry["name"] for entry in document["leaderboard"]][1:] == [
        "logistic regression", "random forest", "gradient boosting",
    ]  # fmt: skip
    assert sum(sum(row.values()) for row in document["confusion"].values()) == document["rows"]["test"]
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1, 2]
    assert f"{document['metrics']['auc']['value']:.4f}" in page
    answers = pd.read_csv("run/predictions.csv")
    answers["time"] = pd.to_datetime(answers["time"])
    told = re.search(
        r"<h3>([^<]*): the lowest risk</h3>.*?At the snapshot of (\d+ \w+ \d+) the answer was ([\d.]+)%: the player "
        r"then (left|stayed)", page,
    )  # fmt: skip
    assert told is not None
    lowest = answers[answers["player"] == told[1]].sort_values("probability").iloc[0]
    assert lowest["probability"] == answers["probability"].min()
    assert told[2] == f"{lowest['time'].day} {lowest['time']:%B %Y}"
    assert float(told[3]) == pytest.approx(100 * lowest["probability"], abs=0.051)
    assert told[4] == ("left" if lowest["label"] else "stayed")


def test_the_reports_of_the_other_tasks_stand_beside_counts() -> None:
    for task in ("tag", "language", "next"):
        assert train(task, "--epochs", "1", "--overwrite") == 0
        document, page = measures(), Path("run/report.html").read_text()
        assert "<h3>Loss</h3>" in page
        assert ("<h3>Perplexity</h3>" in page) == (task != "tag")
        if task == "tag":
            assert document["baselines"]["the usual tag of each word"] == {"accuracy": 1.0, "f1": 1.0}
            support = {name: row["support"] for name, row in document["tags"].items()}
            counts = pd.read_csv("run/predictions.csv")["tag"].value_counts()
            assert support == counts.to_dict()
            continue
        assert len(document["baselines"]) == (7 if task == "next" else 2)
        assert document["metrics"]["loss"] == pytest.approx(np.log(document["metrics"]["perplexity"]))
        assert page.count("came: <b>") == 6
