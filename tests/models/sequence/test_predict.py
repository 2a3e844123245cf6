"""Ranks of all steps stand in the part's own order, whatever the batches are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ludocast.datamodules.ragged import offsets_of
from ludocast.datamodules.sequence import SequenceDataModule, SequenceParts, SequenceSource
from ludocast.datamodules.sequences import from_offsets
from ludocast.models.sequence.metrics import rank_of_target
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.predict import ranked_steps
from ludocast.models.sequence.tasks import NextModule


class Drawn(SequenceSource):
    """Random sequences of different lengths, in an order of their own."""

    def read(self) -> SequenceParts:
        """Three equal parts."""
        generator = np.random.default_rng(0)
        lengths = generator.integers(1, 20, 30)
        token, target = generator.integers(2, 9, (2, lengths.sum()))
        part = from_offsets({"token": token, "target": target}, offsets_of(lengths)).rows(generator.permutation(30))
        return SequenceParts(part, part, part, {"tokens": 9, "numbers": 0, "classes": 9})


@pytest.mark.parametrize("tbptt_steps", [None, 6])
def test_steps_are_ranked_in_the_order_of_the_part(tbptt_steps: int | None) -> None:
    data = SequenceDataModule(Drawn(), evaluation_batch=7, tbptt_steps=tbptt_steps)
    module = NextModule(NetworkSettings("gru", 8, 1, 4, dropout=0.0))
    module.build(data.sizes)
    assert module.averaged is not None
    found, examples = ranked_steps(module, data, examples=4)
    wanted, part = [], data.parts.test
    for begin, end in zip(part.begin, part.end, strict=True):
        token = torch.from_numpy(part.steps["token"][begin:end])[None]
        with torch.inference_mode():
            logits, _ = module.averaged(token, None, torch.tensor([end - begin]))
        wanted.append(rank_of_target(logits[0].numpy(), part.steps["target"][begin:end]))
    assert found.rank.tolist() == np.concatenate(wanted).tolist()
    assert len(examples) == 4
