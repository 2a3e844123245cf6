"""Models of sessions beside a network: on the same steps, the best first, and said where one is ahead."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.datamodules.ragged import offsets_of
from ludocast.datamodules.sequence import SequenceParts
from ludocast.datamodules.sequences import Sequences, from_offsets
from ludocast.recipes.session_rivals import session_rivals


def sessions(count: int, seed: int) -> Sequences:
    """Items 2, 3, … 7 in a circle, from any of them on."""
    generator = np.random.default_rng(seed)
    lengths, starts = generator.integers(2, 7, count), generator.integers(0, 6, count)
    steps = [2 + (start + np.arange(length + 1)) % 6 for length, start in zip(lengths, starts, strict=True)]
    token, target = (np.concatenate([one[cut] for one in steps]) for cut in (slice(None, -1), slice(1, None)))
    return from_offsets({"token": token, "target": target}, offsets_of(lengths), {"time": np.arange(count) + 0.0})


@pytest.mark.parametrize("most", [20, 5_000])
def test_models_stand_beside_the_network_on_the_same_steps(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ludocast.recipes.session_rivals.MOST_ASKED", most)
    test = sessions(40, 2)
    rivals = session_rivals(SequenceParts(sessions(200, 0), sessions(20, 1), test, {"tokens": 8}))
    total = int(test.lengths.sum())
    assert len(rivals.steps) == min(most, total)
    assert (rivals.ranks["what came after the last one"] == 0).all()
    network = np.arange(total) % 2  # right at every other step
    table = rivals.table(network)
    assert table.rows[0][:3] == ["what came after the last one", "1.0000", "100.0%"]
    own = network[rivals.steps]
    row = next(row for row in table.rows if row[0] == "this network")
    assert row[1:3] == [f"{(1 / (1 + own)).mean():.4f}", f"{(own == 0).mean():.1%}"]
    assert table.note.startswith("On all steps" if most > total else f"On 20 of {total} steps")
    assert "what came after the last one has a mean reciprocal rank of 1.0000" in rivals.lead(network)[0]
    assert rivals.lead(np.zeros(total, np.int64)) == []
    assert rivals.measures()["popularity"]["steps"] == len(rivals.steps)
