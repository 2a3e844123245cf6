"""`ludocast train sequence` through the command line: what each task leaves, what is refused, what goes on."""

from __future__ import annotations

import json
import os
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
from sklearn.metrics import roc_auc_score

from ludocast.__main__ import main
from tests.recipes.made_events import make_files

ROOT = Path(__file__).parent.parent.parent
LOG = ["--data", "events.csv", "--player", "player_id", "--time", "time"]
SMALL = ["--hidden", "8", "--embedding", "6", "--batch", "16", "--accelerator", "cpu"]
WORDS = {
    "churn": ["--task", "churn", *LOG, "--days-per-step", "7"],
    "tag": ["--task", "tag", "--data", "train.ctf", "--test", "test.ctf"],
    "language": ["--task", "language", "--data", "train.txt", "--validation", "validation.txt", "--test", "test.txt"],
    "next": ["--task", "next", *LOG, "--event", "event", "--tbptt_steps", "9"],
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
    assert train("language", "--epochs", "15", "--batch", "8", "--layers", "1", "--learning_rate", "0.02") == 0
    found = measures()["metrics"]
    best, counted = 8 / 9 * np.log(6), 8 / 9 * np.log(54 / 8) + 1 / 9 * np.log(9)
    assert best * 0.98 < found["loss"] < counted + 0.02
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))


def test_the_next_event_is_found() -> None:
    assert train("next", "--epochs", "15") == 0
    answers = pd.read_csv("run/predictions.csv")
    assert (answers["came"] == answers["answer 1"]).mean() > 0.95
    assert measures()["metrics"]["mrr_10"] > 0.95


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


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("tag", ["--tbptt_steps", "5"], "whole sequences"),
        ("tag", ["--epochs", "0"], "--epochs is 1 or more"),
        ("churn", ["--observe", "50"], "whole steps"),
        ("churn", ["--inputs", "events"], "needs --event"),
        ("churn", ["--numbers", "gold"], "--inputs events or stream"),
        ("churn", ["--data", "nothere.csv"], "nothere.csv"),
        ("churn", ["--horizon", "900"], "a longer log"),
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


@pytest.mark.slow
def test_two_processes_with_one_bit_gradients_make_one_run(game: Path) -> None:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "ludocast",
    ]
    options = ["--epochs", "20", "--dropout", "0", "--hidden", "64", "--embedding", "32", "--batch", "8"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for kind, words in (("onebit", "as 1 bit a value"), ("none", "uncompressed")):
        command = [
            *launcher,
            "train",
            "sequence",
            *WORDS["tag"],
            *SMALL,
            *options,
            "--compression",
            kind,
            "--out",
            kind,
        ]
        done = subprocess.run(command, cwd=game, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"2 processes, gradients {words}") == 1
    assert measures("onebit")["metrics"]["f1"] == measures("none")["metrics"]["f1"] == 1.0
    assert json.loads(Path("onebit/compression.json").read_text())["compressed"] > 0
