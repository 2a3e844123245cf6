"""The bundle of `ludocast train sequence`: from the raw log it answers what training wrote of the test part."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ludocast.datamodules.event_sources import LogColumns, NextEventSource
from ludocast.datamodules.sequence import SequenceParts
from ludocast.datamodules.vocabulary import FIRST, vocabulary_from_dict
from ludocast.models.sequence.tasks import LanguageModule
from ludocast.recipes.sequence_bundle import write_sequence_bundle
from ludocast.serve.scorer import Scorer
from ludocast.serve.stepper import Stepper

from ludocast.__main__ import main
from tests.recipes.made_events import make_files
from tests.serve.made_sequences import made

LOG = ["--data", "events.csv", "--player", "player_id", "--time", "time"]
SMALL = ["--hidden", "8", "--embedding", "6", "--batch", "16", "--epochs", "2", "--accelerator", "cpu"]
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_files(tmp_path)
    log = pd.read_csv(tmp_path / "events.csv")
    gold = np.random.default_rng(0).exponential(30, len(log)).round(2)
    log.assign(gold=np.where(gold < 5, np.nan, gold)).to_csv(tmp_path / "events.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(task: str, *options: str) -> Scorer:
    assert main(["train", "sequence", "--task", task, *options, *SMALL]) == 0
    return Scorer.load("run/bundle")


@pytest.mark.parametrize("inputs", ["days", "events", "stream"])
def test_who_leaves(inputs: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--event", "event", "--numbers", "gold"] if inputs != "days" else []
    scorer = train("churn", *LOG, *names, "--inputs", inputs, "--horizon", "14", "--kind", "sigmoid")
    assert ("so there is no step graph" in capsys.readouterr().out) == (inputs != "stream")
    log = pd.read_csv("events.csv").groupby("player_id", sort=False).agg(list)
    told = pd.read_csv("run/predictions.csv")
    columns = ["time"] if inputs == "days" else ["event", "time", "gold"]
    rows = [
        {"now": now, **{column: log[column][player] for column in columns}}
        for player, now in zip(told["player"], told["time"], strict=True)
    ]
    found = scorer.predict_rows(rows)
    np.testing.assert_allclose(found.probabilities[:, 1], told["probability"], rtol=0, atol=TOLERANCE)
    assert (found.labels == np.where(told["probability"] >= 0.5, "leaves", "stays")).all()
    assert scorer.manifest.metrics["auc"] == json.loads(Path("run/metrics.json").read_text())["metrics"]["auc"]["value"]
    if inputs == "stream":
        stepper = Stepper.load("run/bundle")
        state = stepper.new_state()
        for values in zip(*(rows[0][column] for column in columns), strict=True):
            event = dict(zip(columns, values, strict=True))
            if event["time"] < told["time"][0][:10]:
                state, _ = stepper.update(state, event)
        np.testing.assert_allclose(
            stepper.ask([state], told["time"][0]).probabilities[0], found.probabilities[0], rtol=0, atol=TOLERANCE
        )


@pytest.mark.filterwarnings("ignore:.*is left out")
@pytest.mark.parametrize("inputs", ["days", "stream"])
def test_who_leaves_by_columns_of_players_too(inputs: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = pd.read_csv("events.csv").groupby("player_id", sort=False).agg(list)
    generator = np.random.default_rng(0)
    level = generator.integers(1, 60, len(log)).astype(float)
    players = pd.DataFrame(
        {
            "player_id": log.index,
            "country": generator.choice(np.array(["KR", "DE", "戦", None], object), len(log)),
            "level": np.where(level < 8, np.nan, level),
            "joined": pd.to_datetime("2023-01-01") + pd.to_timedelta(generator.integers(0, 300, len(log)), unit="D"),
        }
    )
    players.to_csv("players.csv", index=False)
    names = ["--event", "event"] if inputs == "stream" else []
    scorer = train("churn", *LOG, *names, "--inputs", inputs, "--players", "players.csv", "--kind", "sigmoid")
    assert "so there is no step graph" in capsys.readouterr().out
    told = pd.read_csv("run/predictions.csv")
    columns = ["time", "event"] if inputs == "stream" else ["time"]
    known = pd.read_csv("players.csv", dtype=str).set_index("player_id")
    rows = [
        {"now": now, **{column: log[column][player] for column in columns}, **known.loc[player].to_dict()}
        for player, now in zip(told["player"], told["time"], strict=True)
    ]
    found = scorer.predict_rows(rows)
    np.testing.assert_allclose(found.probabilities[:, 1], told["probability"], rtol=0, atol=TOLERANCE)
    other = scorer.predict_rows([{**row, "country": "never seen", "level": 99} for row in rows])
    assert np.abs(other.probabilities - found.probabilities).max() > 1e-4
    assert main(["export", "core", "--bundle", "run/bundle", "--out", "core"]) == 2
    assert "train sequence` without --players" in capsys.readouterr().err


@pytest.mark.parametrize("pause", [None, 30.0])
def test_the_next_event(pause: float | None) -> None:
    options = [] if pause is None else ["--pause", str(pause)]
    scorer = train("next", *LOG, "--event", "event", "--tbptt-steps", "9", *options)
    source = NextEventSource(LogColumns(Path("events.csv"), "player_id", "time", "event"), pause)
    test, log = source.read().test, source.log.read()
    names = np.array(log.tokens().to_pylist(), object)
    told = pd.read_csv("run/predictions.csv")
    assert len(told) == len(test)
    rows = []
    for begin, end in zip(test.begin, test.end, strict=True):
        # The whole history is given: the graph finds where the session began.
        first = log.offsets[np.searchsorted(log.offsets, begin, side="right") - 1]
        rows.append({"event": names[first:end].tolist(), "time": log.times[first:end].tolist()})
    found = scorer.predict_rows(rows)
    assert [list(labels[:3]) for labels in found.labels] == told[
        ["answer 1", "answer 2", "answer 3"]
    ].to_numpy().tolist()


def test_tags() -> None:
    scorer = train("tag", "--data", "train.ctf", "--test", "test.ctf")
    told = pd.read_csv("run/predictions.csv").groupby("sequence")[["word", "found"]].agg(list)
    found = scorer.predict_rows([{"words": words} for words in told["word"]])
    assert list(found.labels) == told["found"].tolist()
    as_text = scorer.predict_rows([{"words": " ".join(words)} for words in told["word"]])
    assert list(as_text.labels) == told["found"].tolist()


def test_the_next_word_of_a_text() -> None:
    scorer = train("language", "--data", "train.txt", "--validation", "validation.txt", "--test", "test.txt")
    module = LanguageModule.load_from_checkpoint("run/model.ckpt", weights_only=False).eval()
    vocabulary = vocabulary_from_dict(json.loads(Path("run/vocabulary.json").read_text()))
    assert module.averaged is not None
    ids = vocabulary.encode(["a", "b", "</s>", "c", "never"])
    with torch.no_grad():
        logits, _ = module.averaged(torch.from_numpy(ids.astype(np.int64))[None], None, torch.tensor([len(ids)]))
    p = logits[0, -1].softmax(-1).numpy()[FIRST:]
    found = scorer.predict({"text": "a b\nc never"})
    order = np.argsort(-p)
    np.testing.assert_allclose(found.probabilities[0], p[order], rtol=0, atol=TOLERANCE)
    assert list(found.labels[0]) == [vocabulary.tokens[i] for i in order]


def test_no_bundle_is_told_in_a_sentence(game: Path) -> None:
    one = made("next")
    none = one.parts.train
    parts = SequenceParts(none, none, none, {})
    (note,) = write_sequence_bundle(game / "bundle", "run", one.module, parts, {}, "0")
    assert note == "no bundle is written: this source of sequences does not tell how raw events become its steps"
    assert not (game / "bundle").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write_sequence_bundle(game / "bundle", "run", one.module, one.parts, {"loss": 1.0}, "0") == []
    assert Scorer.load(game / "bundle").manifest.metrics == {"loss": 1.0}
