"""The data module with each of its sources: parts by hand, batches, and a Trainer that stops in mid-epoch."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from ludocast.datamodules.event_sources import ChurnSource, LogColumns, NextEventSource
from ludocast.datamodules.sequence import SequenceDataModule, SequenceParts, SequenceSource
from ludocast.datamodules.sequence_batches import SequenceBatch
from ludocast.datamodules.sequence_sources import TagSource, TextSource
from ludocast.datamodules.sequences import Sequences, from_offsets
from pytorch_lightning.callbacks import ModelCheckpoint

ATIS = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "atis"
TRAIN = "0 |S0 0:1 |# to |S2 0:1 |# O\n0 |S0 1:1 |# york |S2 1:1 |# B\n1 |S0 0:1 |# to |S2 0:1 |# O\n"
TEST = "0 |S0 2:1 |# rome |S2 1:1 |# B\n0 |S0 0:1 |# to |S2 2:1 |# I\n"


def values(sequences: Sequences, name: str) -> list[Any]:
    return [sequences.steps[name][b:e].tolist() for b, e in zip(sequences.begin, sequences.end, strict=True)]


def tag_files(folder: Path, train: str = TRAIN, test: str = TEST) -> tuple[Path, Path]:
    (folder / "train.ctf").write_text(train)
    (folder / "test.ctf").write_text(test)
    return folder / "train.ctf", folder / "test.ctf"


def test_tags_by_hand(tmp_path: Path) -> None:
    one = "".join(f"{k} |S0 0:1 |# to |S2 0:1 |# O\n{k} |S0 1:1 |# york |S2 1:1 |# B\n" for k in range(9))
    parts = TagSource(*tag_files(tmp_path, one), validation=0.2).read()
    assert parts.vocabulary is not None
    assert parts.vocabulary.tokens == ("to", "york")  # as often as each other
    assert (len(parts.train), len(parts.validation)) == (7, 2)
    assert values(parts.train, "token") == [[2, 3]] * 7
    assert values(parts.test, "token") == [[1, 2]]  # rome is unknown
    assert values(parts.test, "target") == [[1, 2]]
    assert parts.classes == ("O", "B", "I")
    assert parts.sizes == {"tokens": 4, "numbers": 0, "classes": 3}


def test_words_of_held_out_sequences_are_unknown(tmp_path: Path) -> None:
    lines = "".join(f"{k} |S0 {k}:1 |# w{k} |S2 0:1\n" for k in range(10))
    parts = TagSource(*tag_files(tmp_path, lines), validation=0.3).read()
    assert parts.vocabulary is not None
    assert len(parts.vocabulary.tokens) == 7
    assert values(parts.validation, "token") == [[1]] * 3


@pytest.mark.filterwarnings("ignore:the training data has one token")
def test_tags_bad_input(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("O\nB\n")
    with pytest.raises(ValueError, match="labels names 2 tags, the data has numbers up to 2"):
        TagSource(*tag_files(tmp_path), labels=tmp_path / "labels").read()
    with pytest.raises(ValueError, match='line 1: sequence 0 has 2 steps of "S0" and 1 of "S2"'):
        TagSource(*tag_files(tmp_path, TRAIN.replace("|S2 1:1 |# B", ""))).read()
    with pytest.raises(ValueError, match="has 1 sequences; two or more"):
        TagSource(*tag_files(tmp_path, TEST)).read()


@pytest.mark.skipif(not ATIS.is_dir(), reason=f"the ATIS files are not at {ATIS}")
def test_atis() -> None:
    parts = TagSource(ATIS / "atis.train.ctf.gz", ATIS / "atis.test.ctf.gz", labels=ATIS / "atis.label").read()
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (4_480, 498, 893)
    assert parts.sizes["classes"] == 127
    assert parts.classes[126] == "O"
    assert (parts.test.steps["target"] < 127).all()
    known = np.concatenate(values(parts.train, "token"))
    assert known.min() == 1
    assert known.max() == parts.sizes["tokens"] - 1
    # `zcat atis.test.ctf.gz | grep -c "|# <UNK>"` counts 76; the file has no word that the training file has not.
    assert int((parts.test.steps["token"] == 1).sum()) == 76


def text_files(folder: Path) -> tuple[Path, Path, Path]:
    paths = (folder / "train.txt", folder / "validation.txt", folder / "test.txt")
    for path, text in zip(paths, ("a b a\na c\n", "a z\n", "b\n"), strict=True):
        path.write_text(text)
    return paths


def test_text_by_hand(tmp_path: Path) -> None:
    parts = TextSource(*text_files(tmp_path)).read()
    assert parts.vocabulary is not None
    assert parts.vocabulary.tokens == ("a", "</s>", "b", "c")
    assert values(parts.train, "token") == [[2, 4, 2, 3, 2, 5]]
    assert values(parts.train, "target") == [[4, 2, 3, 2, 5, 3]]
    assert values(parts.validation, "target") == [[1, 3]]
    assert parts.sizes == {"tokens": 6, "numbers": 0, "classes": 6}
    sentences = TextSource(*text_files(tmp_path), is_one_text=False, end=None).read
    with pytest.raises(ValueError, match=r"test\.txt has no token that follows another"):
        sentences()


def test_one_text_is_cut_into_lanes(tmp_path: Path) -> None:
    data = SequenceDataModule(
        TextSource(*text_files(tmp_path)), batch=2, evaluation_batch=1, tbptt_steps=2, one_text=True
    )
    found = [(b.steps["token"].tolist(), b.steps["target"].tolist(), b.reset.tolist()) for b in data.train_dataloader()]
    # Six steps in two pieces of three; which lane has which is drawn.
    order = [0, 1] if found[0][0][0] == [2, 4] else [1, 0]
    assert [[[batch[k][lane] for lane in order] for k in range(3)] for batch in found] == [
        [[[2, 4], [3, 2]], [[4, 2], [2, 5]], [True, True]],
        [[[2], [5]], [[3], [3]], [False, False]],
    ]
    with pytest.raises(ValueError, match="one_text goes with tbptt_steps"):
        SequenceDataModule(TextSource(*text_files(tmp_path)), one_text=True)


def log_file(folder: Path, days: int = 60) -> LogColumns:
    """Player p has an event on each day that p + 1 divides; a new kind of event comes late."""
    rows = [
        f"p{p},{day * 86_400 + 3_600},{'late' if day > 50 else 'play'},{p + day}"
        for day in range(days)
        for p in range(6)
        if day % (p + 1) == 0
    ]
    (folder / "log.csv").write_text("\n".join(["player,time,event,gold", *rows]) + "\n")
    return LogColumns(folder / "log.csv", "player", "time", "event", ("gold",))


RULES: dict[str, Any] = {"observe": 6, "gap": 0, "horizon": 4, "active_within": 3, "step": 2}


def test_churn_by_days(tmp_path: Path) -> None:
    parts = ChurnSource(log_file(tmp_path), "days", **RULES).read()
    assert parts.sizes == {"tokens": 0, "numbers": 1, "classes": 2}
    first = parts.train.rows(np.array([0]))  # p0, who plays every day, at day 6
    assert values(first, "numbers") == [[[1]] * 6]
    # p4, who plays on days 0, 5, 10, …, is asked about at 6, 8, 12, …; at 6 nothing follows within [6, 10).
    p4 = values(parts.train, "numbers").index([[1], [0], [0], [0], [0], [1]])
    assert parts.train.static["label"][p4] == 1
    two = ChurnSource(log_file(tmp_path), "days", days_per_step=2, **RULES).read()
    assert two.sizes["numbers"] == 2
    assert values(two.train, "numbers")[p4] == [[1, 0], [0, 0], [0, 1]]
    with pytest.raises(ValueError, match="whole steps"):
        ChurnSource(log_file(tmp_path), "days", days_per_step=4, **RULES)
    assert parts.players is not None
    assert parts.players[parts.train.static["player"][p4]] == "p4"
    assert parts.train.static["time"][p4] == 6 * 86_400
    assert parts.train.lengths.tolist() == [6] * len(parts.train)
    assert parts.rule.startswith("by time: train 1970-01-07 to ")


@pytest.mark.filterwarnings("ignore:the training data has one token")
def test_churn_by_events(tmp_path: Path) -> None:
    days, events = (ChurnSource(log_file(tmp_path), kind, **RULES).read() for kind in ("days", "events"))
    for part in ("train", "validation", "test"):
        assert getattr(days, part).static["label"].tolist() == getattr(events, part).static["label"].tolist()
    assert events.vocabulary is not None
    assert events.vocabulary.tokens == ("play",)  # "late" is seen in the test part alone
    assert 1 in np.concatenate(values(events.test, "token"))
    assert events.sizes == {"tokens": 3, "numbers": 3, "classes": 2}
    first = np.array(values(events.train, "numbers")[0])
    np.testing.assert_allclose(first[:, 0], [0] + [math.log(25)] * 5, rtol=1e-6)
    np.testing.assert_allclose(first[:, 1], np.log1p(24 * np.arange(6, 0, -1) - 1), rtol=1e-6)
    calendar = ChurnSource(log_file(tmp_path), "events", calendar=True, **RULES).read()
    assert calendar.sizes["numbers"] == 7


@pytest.mark.filterwarnings("ignore:the training data has one token")
def test_churn_as_a_stream(tmp_path: Path) -> None:
    """All events so far, with the gaps between them; the age of the last one stands apart."""
    events, stream = (ChurnSource(log_file(tmp_path), kind, **RULES).read() for kind in ("events", "stream"))
    assert stream.sizes == {"tokens": 3, "numbers": 2, "classes": 2, "columns": 1}
    for part in ("train", "validation", "test"):
        one, other = getattr(stream, part), getattr(events, part)
        assert one.static["label"].tolist() == other.static["label"].tolist()
        # Of p0, who plays every day from day 0 on, all days before the snapshot are known; of p4 every fifth.
        day = one.static["time"] // 86_400
        every = one.static["player"] + 1
        assert one.lengths.tolist() == (-(-day // every)).tolist()
        last = (day - 1) // every * every
        wanted = np.log1p((day - last) * 24 - 1)
        np.testing.assert_allclose(one.static["columns"][:, 0], wanted, rtol=1e-6)
    row = int(np.flatnonzero(stream.train.static["player"] == 4)[1])
    found = np.array(values(stream.train, "numbers")[row])
    np.testing.assert_allclose(found[:, 0], [0] + [math.log(121)] * (len(found) - 1), rtol=1e-6)
    assert stream.inputs is not None
    assert (stream.inputs.observe, stream.inputs.has_last_age, stream.inputs.has_ages) == (None, True, False)


@pytest.mark.filterwarnings("ignore:the training data has one token")
def test_numbers_are_scaled_by_the_training_part(tmp_path: Path) -> None:
    parts = ChurnSource(log_file(tmp_path), "events", **RULES).read()
    # Snapshots at the days 6, 8, …, 56, 26 of them: 6 of test from 46 on, one of validation at 42, training up to 38.
    end = 38
    assert "train 1970-01-07 to 1970-02-08 (17 times)" in parts.rule
    gold = np.array([p + day for day in range(end) for p in range(6) if day % (p + 1) == 0])
    first = np.array(values(parts.train, "numbers")[0])[:, 2]
    np.testing.assert_allclose(first, (np.arange(6) - gold.mean()) / gold.std(), rtol=1e-5)


def test_next_events_by_hand(tmp_path: Path) -> None:
    rows = [f"p,{h * 3_600},{e}" for h, e in ((0, "a"), (1, "b"), (9, "a"), (20, "b"), (21, "a"), (22, "c"))]
    rows += [f"q,{h * 3_600},d" for h in (30, 31, 40, 41, 60, 61)]
    (tmp_path / "log.csv").write_text("\n".join(["p,t,e", *rows]))
    source = NextEventSource(LogColumns(tmp_path / "log.csv", "p", "t", "e"), pause=5, test=0.3, validation=0.3)
    parts = source.read()
    # Sessions of two events or more: (a b) by 1, (b a c) by 22, (d d) by 31, 41 and 61.
    assert parts.vocabulary is not None
    assert parts.vocabulary.tokens == ("a", "b", "c")
    assert values(parts.train, "token") == [[2], [3, 2]]
    assert values(parts.train, "target") == [[3], [2, 4]]
    np.testing.assert_allclose(np.concatenate(values(parts.train, "numbers"))[:, 0], [0, 0, math.log(2)], rtol=1e-6)
    assert [values(part, "target") for part in (parts.validation, parts.test)] == [[[1]], [[1], [1]]]
    with pytest.raises(ValueError, match="no session has two events"):
        NextEventSource(LogColumns(tmp_path / "log.csv", "p", "t", "e"), pause=0.5).read()


def test_unknown_events_are_left_out_of_all_parts_if_asked_to(tmp_path: Path) -> None:
    sessions = {"a": "xyx", "b": "xry", "c": "yxy", "d": "rx", "e": "xny", "f": "nxn", "g": "yyx"}
    rows = [
        f"{name},{100_000 * k + 60 * n},{e}" for k, (name, s) in enumerate(sessions.items()) for n, e in enumerate(s)
    ]
    (tmp_path / "log.csv").write_text("\n".join(["p,t,e", *rows]))
    log = LogColumns(tmp_path / "log.csv", "p", "t", "e")
    parts = NextEventSource(log, None, validation=0.3, test=0.4, min_count=2, is_known_only=True).read()
    # Training is a, b and c, whose r comes once; of d and f one item is left, so neither is asked about.
    assert parts.vocabulary is not None
    assert set(parts.vocabulary.tokens) == {"x", "y"}
    said = [[parts.vocabulary.decode(row) for row in values(part, "target")] for part in (parts.train, parts.test)]
    assert said == [[["y", "x"], ["y"], ["x", "y"]], [["y"], ["y", "x"]]]
    assert len(parts.validation) == 0
    np.testing.assert_allclose(parts.test.steps["numbers"][parts.test.end[0], 0], np.log1p(120 / 3_600), rtol=1e-6)
    assert parts.test.static["time"].tolist() == [400_120, 600_120]


class Drawn(SequenceSource):
    """Random sequences, one of them empty."""

    def read(self) -> SequenceParts:
        rng = np.random.default_rng(0)
        lengths = rng.integers(1, 20, 30)
        lengths[4] = 0
        steps = {"token": rng.integers(2, 9, lengths.sum()), "target": rng.integers(0, 3, lengths.sum())}
        own = from_offsets(steps, np.concatenate([[0], np.cumsum(lengths)]))
        return SequenceParts(own, own, own, {"tokens": 9, "numbers": 0, "classes": 3})


@pytest.mark.filterwarnings("ignore:1 of 30 (validation|test) sequences")
def test_empty_sequences_are_left_out_and_told() -> None:
    data = SequenceDataModule(Drawn(), batch=7)
    with pytest.warns(UserWarning, match="1 of 30 training sequences have no step"):
        data.setup()
    assert sorted(int(row) for batch in data.val_dataloader() for row in batch.row) == list(range(29))
    assert data.sizes == {"tokens": 9, "numbers": 0, "classes": 3}


@pytest.mark.filterwarnings("ignore:1 of 30")
def test_tokens_are_dropped_in_training_alone() -> None:
    data = SequenceDataModule(Drawn(), unknown_share=0.5)
    counts = [
        [int((batch.steps["token"] == 1).sum()) for batch in loader]
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    ]
    assert counts[0][0] > 50  # of 280 tokens
    assert counts[1:] == [[0], [0]]


class Recorder(pl.LightningModule):
    """Keeps what each training step was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, list[int], list[list[int]], list[bool]]] = []

    def training_step(self, batch: SequenceBatch) -> torch.Tensor:
        entry = (self.current_epoch, batch.row.tolist(), batch.steps["token"].tolist(), batch.reset.tolist())
        self.seen.append(entry)
        loss: torch.Tensor = self.layer(batch.mask.float().sum()[None])[0]
        return loss

    def validation_step(self, batch: SequenceBatch) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-9)


def trained(folder: Path, tbptt_steps: int | None, resume: Path | None = None, **limits: Any) -> Recorder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = Recorder()
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            callbacks=[ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=1)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            **limits,
        )
        data = SequenceDataModule(Drawn(), batch=5, tbptt_steps=tbptt_steps, unknown_share=0.2)
        trainer.fit(module, data, ckpt_path=None if resume is None else str(resume), weights_only=False)
    return module


@pytest.mark.parametrize("tbptt_steps", [None, 6])
def test_a_trainer_goes_on_in_mid_epoch(tmp_path: Path, tbptt_steps: int | None) -> None:
    whole = trained(tmp_path / "whole", tbptt_steps, max_epochs=3).seen
    epochs = [[entry[1:] for entry in whole if entry[0] == k] for k in range(3)]
    assert len(epochs[0]) == len(epochs[1]) == len(epochs[2])
    assert epochs[0] != epochs[1]
    lengths = np.random.default_rng(0).integers(1, 20, 30)
    tokens = [sum(sum(token > 0 for token in row) for _, steps, _ in epoch for row in steps) for epoch in epochs]
    assert tokens == [lengths.sum() - lengths[4]] * 3  # the empty one was drawn too
    for stopped in (len(epochs[0]) - 2, len(epochs[0]), len(epochs[0]) + 2):
        found = trained(tmp_path / f"{stopped}", tbptt_steps, tmp_path / "whole" / f"step={stopped}.ckpt", max_epochs=3)
        assert found.seen == whole[stopped:]


@pytest.mark.filterwarnings("ignore:(?s).*JsonargparseDeprecationWarning")
def test_a_configuration_file_makes_it(tmp_path: Path) -> None:
    log = log_file(tmp_path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SequenceDataModule, "data")
    columns = {"path": str(log.path), "player": "player", "time": "time", "event": "event", "numbers": ["gold"]}
    source = {"class_path": "ludocast.datamodules.event_sources.ChurnSource", "init_args": {"log": columns, **RULES}}
    data = parser.instantiate_classes(parser.parse_object({"data": {"source": source, "batch": 8}})).data
    assert data.sizes == {"tokens": 0, "numbers": 1, "classes": 2}
    batch = next(iter(data.train_dataloader()))
    assert batch.steps["numbers"].shape == (8, 6, 1)
