"""The loss and its gradient by hand, lanes, resumed trainings, what each task learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ludocast.datamodules.lanes import LaneChunks
from ludocast.datamodules.sequence import SequenceDataModule, SequenceParts, SequenceSource
from ludocast.datamodules.sequence_batches import SequenceBatch, SequenceTensors
from ludocast.datamodules.sequences import Sequences, from_offsets
from ludocast.models.sequence.module import LearningSettings, SequenceModule
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.tasks import LanguageModule, LeavingModule, NextModule, TagModule
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn import functional as F

from tests.models.sequence.made import SIZES, Made, data, language, trainer, weights, whole_batch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
RULE = LearningSettings(learning_rate=0.02, average=0.9)


def number_batches(steps: int) -> list[SequenceBatch]:
    """A sequence of 6 steps in chunks."""
    x = np.array([[0.3], [-1.0], [0.8], [0.5], [-0.2], [1.1]], np.float64)
    target = np.array([0, 1, 1, 0, 1, 0], np.int64)
    part = from_offsets({"numbers": x, "target": target}, np.array([0, 6]))
    tensors = SequenceTensors(part)
    found = [tensors.batch(pick, 2.0) for pick in LaneChunks(part.lengths, 1, steps, is_shuffled=False)]
    return [b._replace(steps={n: s.double() if n == "numbers" else s for n, s in b.steps.items()}) for b in found]


@pytest.mark.parametrize("steps", [2, 6])
def test_the_gradient_is_the_one_of_truncated_back_propagation(steps: int) -> None:
    """One tanh unit: s_t = ∂h_t/∂r = (1 − h_t²)(h_(t−1) + r · s_(t−1)), cut to 0 where a chunk begins."""
    module = LanguageModule(NetworkSettings("tanh", 1, 1, 1, dropout=0.0))
    module.build({"tokens": 0, "numbers": 1, "classes": 2})
    module.double()
    assert module.network is not None
    for batch in number_batches(steps):
        module.training_step(batch, 0).backward()  # type: ignore[no-untyped-call]

    named = dict(module.network.named_parameters())
    w, r = named["stack.weight_ih_l0"].item(), named["stack.weight_hh_l0"].item()
    b = named["stack.bias_ih_l0"].item() + named["stack.bias_hh_l0"].item()
    v, c = named["head.weight"].detach().flatten().tolist(), named["head.bias"].detach().tolist()
    h = sensitivity_r = sensitivity_w = gradient_r = gradient_w = 0.0
    exact = [float(np.float32(x)) for x in (0.3, -1.0, 0.8, 0.5, -0.2, 1.1)]  # batches hold float32
    for t, (x, target) in enumerate(zip(exact, [0, 1, 1, 0, 1, 0], strict=True)):
        if t % steps == 0:
            sensitivity_r = sensitivity_w = 0.0
        before, h = h, math.tanh(w * x + r * h + b)
        sensitivity_r = (1 - h * h) * (before + r * sensitivity_r)
        sensitivity_w = (1 - h * h) * (x + r * sensitivity_w)
        exponentials = [math.exp(v[k] * h + c[k]) for k in range(2)]
        slope = sum((exponentials[k] / sum(exponentials) - (k == target)) * v[k] for k in range(2))  # ∂loss/∂h
        gradient_r += slope * sensitivity_r / 2.0  # a batch holds 2 steps on average, as it was told
        gradient_w += slope * sensitivity_w / 2.0
    for name, expected in (("stack.weight_hh_l0", gradient_r), ("stack.weight_ih_l0", gradient_w)):
        grad = named[name].grad
        assert grad is not None
        assert grad.item() == pytest.approx(expected, rel=1e-12)


def corpus_gradient(module: SequenceModule, loader: Any) -> dict[str, torch.Tensor]:
    """The mean over the batches, as many of which make an epoch."""
    assert module.network is not None
    module.network.zero_grad()
    for batch in loader:
        (module.training_step(batch, 0) / len(loader)).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in module.network.named_parameters() if p.grad is not None}


def test_loss_and_gradient_do_not_depend_on_how_batches_are_split() -> None:
    module = language()
    module.build(SIZES)
    module.double()
    part = Made().read().train
    found = [
        corpus_gradient(module, SequenceDataModule(Made(), batch=size, seed=seed).train_dataloader())
        for size, seed in ((1, 0), (2, 1), (4, 2), (6, 3))
    ]
    assert module.network is not None
    batch = whole_batch(part)
    logits, _ = module.network(batch.steps["token"], None, batch.length)
    plain = F.cross_entropy(logits[batch.mask], batch.steps["target"][batch.mask])
    expected = torch.autograd.grad(plain, list(module.network.parameters()))
    for gradients in found:
        for mine, wanted in zip(gradients.values(), expected, strict=True):
            torch.testing.assert_close(mine, wanted, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 4, 64])
def test_lanes_evaluate_to_the_uncut_loss(steps: int) -> None:
    """Six sequences of different lengths on three lanes: one ends, another begins with a state of its own."""
    module = language()
    module.build(SIZES)
    runner = trainer()
    cut = runner.validate(module, datamodule=data(steps), verbose=False)[0]["validation_loss"]
    batch = whole_batch(Made().read().validation)
    logits, _ = module(batch)
    uncut = F.cross_entropy(logits[batch.mask], batch.steps["target"][batch.mask]).item()
    assert cut == pytest.approx(uncut, rel=1e-5)


def fitted(folder: Path, resume: Path | None = None, tbptt: int | None = 4, **network: Any) -> LanguageModule:
    settings = NetworkSettings("gru", hidden=6, layers=2, embedding=5, dropout=0.3)
    module = language(settings)
    every = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    trainer(3, every).fit(
        module, datamodule=data(tbptt), ckpt_path=None if resume is None else str(resume), weights_only=False
    )
    return module


@pytest.mark.parametrize("tbptt", [4, None])
def test_a_training_stopped_in_mid_epoch_goes_on_to_the_same_bits(tmp_path: Path, tbptt: int | None) -> None:
    whole = fitted(tmp_path / "whole", tbptt=tbptt)
    files = sorted((tmp_path / "whole").glob("*.ckpt"), key=lambda path: int(path.stem.partition("=")[2]))
    per_epoch = len(files) // 3
    assert per_epoch >= 3
    for stopped in (per_epoch - 1, per_epoch, per_epoch + 2):
        resumed = fitted(tmp_path / f"{stopped}", files[stopped - 1], tbptt)
        for name, tensor in weights(whole).items():
            assert torch.equal(weights(resumed)[name], tensor), (stopped, name)


def test_what_predicts_is_the_average_of_the_weights(tmp_path: Path) -> None:
    """Decay min(0.9, (1 + n) / (10 + n)) after step n, from the first weights on."""
    whole = fitted(tmp_path)
    fresh = language(NetworkSettings("gru", hidden=6, layers=2, embedding=5, dropout=0.3))
    fresh.build(SIZES)
    files = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.partition("=")[2]))
    expected = weights(fresh)["network.head.weight"]
    for n, path in enumerate(files, 1):
        decay = min(0.9, (1 + n) / (10 + n))
        now = torch.load(path, weights_only=False)["state_dict"]["network.head.weight"]
        expected = decay * expected + (1 - decay) * now
    torch.testing.assert_close(weights(whole)["averaged.head.weight"], expected)


class Forgetful(LanguageModule):
    """Begins each chunk from a state of zeros."""

    def on_train_batch_start(self, *_: object) -> None:
        if self._state is not None:
            self._state = torch.zeros_like(self._state)  # type: ignore[arg-type]


def test_a_text_that_needs_the_carried_state_is_learnt_across_chunks() -> None:
    """Each token follows from the last but one, so a chunk's first step alone tells nothing of it."""
    losses = []
    for kind in (LanguageModule, Forgetful):
        module = kind(NetworkSettings("gru", 16, 1, 8, dropout=0.0), LearningSettings(learning_rate=0.03, average=0.9))
        trainer(15).fit(module, datamodule=data(2))
        losses.append(float(trainer().validate(module, datamodule=data(2), verbose=False)[0]["validation_loss"]))
    assert losses[0] < losses[1] - 0.1, losses


def test_who_goes_on_without_a_state_is_refused() -> None:
    module = language()
    module.build(SIZES)
    batch = whole_batch(Made().read().train)
    with pytest.raises(ValueError, match="first steps were not seen"):
        module.training_step(batch._replace(reset=~batch.reset), 0)


class MadePlayers(SequenceSource):
    """Who leaves has a step above 0 among the last three of 4 to 9."""

    def read(self) -> SequenceParts:
        train, validation, test = (self._part(seed) for seed in (0, 1, 2))
        return SequenceParts(train, validation, test, {"tokens": 0, "numbers": 1, "classes": 2})

    @staticmethod
    def _part(seed: int) -> Sequences:
        generator = np.random.default_rng(seed)
        lengths = generator.integers(4, 10, 300)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        bits = (generator.random((offsets[-1], 1)) < 0.3).astype(np.uint8)
        label = np.array([bits[end - 3 : end].any() for end in offsets[1:]], np.int64)
        return from_offsets({"numbers": bits}, offsets, {"label": label})


@pytest.mark.parametrize("kind", ["sigmoid", "lstm"])
def test_who_leaves_is_learnt(kind: Any) -> None:
    module = LeavingModule(NetworkSettings(kind, 16, 1, 1, dropout=0.0), RULE)
    source = SequenceDataModule(MadePlayers(), batch=25)
    runner = trainer(12)
    runner.fit(module, datamodule=source)
    assert runner.test(module, datamodule=source, verbose=False)[0]["test_auc"] > 0.97
    module.temperature.fill_(2.0)
    answered = torch.cat(list(runner.predict(module, source.test_dataloader())))  # type: ignore[arg-type]
    batch = next(iter(source.test_dataloader()))
    torch.testing.assert_close(answered[: len(batch.row)], torch.sigmoid(module(batch)[0][:, 0] / 2))


def test_who_leaves_takes_whole_sequences() -> None:
    module = LeavingModule(NetworkSettings("gru", 4, 1, 1, dropout=0.0), RULE)
    with pytest.raises(ValueError, match="after whole sequences"):
        trainer(1).fit(module, datamodule=SequenceDataModule(MadePlayers(), batch=25, tbptt_steps=3))


class MadeTags(SequenceSource):
    """A word has the tag of the word that follows it: B-x of 3, I-x of 4, else O."""

    def read(self) -> SequenceParts:
        parts = []
        for seed in range(3):
            generator = np.random.default_rng(seed)
            offsets = np.arange(0, 801, 8)
            token = generator.integers(2, 6, 800).astype(np.int32)
            following = np.append(token[1:], 2)
            following[offsets[1:] - 1] = 2
            target = np.select([following == 3, following == 4], [1, 2], 0)
            parts.append(from_offsets({"token": token, "target": target}, offsets))
        sizes = {"tokens": 6, "numbers": 0, "classes": 3}
        return SequenceParts(parts[0], parts[1], parts[2], sizes, classes=("O", "B-x", "I-x"))


@pytest.mark.parametrize("window", [0, 1])
def test_tags_from_what_follows_are_learnt(window: int) -> None:
    module = TagModule(NetworkSettings("gru", 12, 1, 8, dropout=0.0), RULE, window)
    source = SequenceDataModule(MadeTags(), batch=10)
    runner = trainer(12)
    runner.fit(module, datamodule=source)
    found = runner.test(module, datamodule=source, verbose=False)[0]
    assert found["test_f1"] > 0.98
    assert found["test_accuracy"] > 0.98


def test_the_next_event_is_learnt_and_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ludocast.models.sequence.tasks.TOP", 1)
    module = NextModule(NetworkSettings("gru", 16, 1, 8, dropout=0.0), RULE)
    runner = trainer(40)
    source = data()
    runner.fit(module, datamodule=source)
    found = runner.test(module, datamodule=source, verbose=False)[0]
    # The first target of each of 6 sequences (98 steps) is drawn, and so at chance at best.
    assert found["test_hit_rate_1"] > 0.85
    assert found["test_perplexity"] == pytest.approx(math.exp(found["test_loss"]))
