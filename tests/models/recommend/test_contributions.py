"""What single items of a history say, by loops, of dense and of sparse weights."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.recommend.contributions import contribution_names, contributions
from ludocast.models.recommend.item_item import EASE, ConditionalNeighbours, ItemItem
from ludocast.models.recommend.sparse_weights import SparseWeights
from scipy import sparse

from tests.models.recommend.made import random_history

HISTORY = random_history(60, 30)


@pytest.mark.parametrize(
    "model",
    [EASE(5.0), ConditionalNeighbours(), EASE(5.0, neighbours=6), ConditionalNeighbours(6), ConditionalNeighbours(3)],
    ids=["ease", "conditional", "ease, 6 neighbours", "conditional, 6 neighbours", "conditional, 3 neighbours"],
)
def test_contributions_equal_loops(model: ItemItem) -> None:
    weights, _ = model.fit(HISTORY).fitted()
    every = weights.outgoing.toarray() if isinstance(weights, SparseWeights) else weights
    asked = sparse.vstack([HISTORY, sparse.csr_matrix((1, 30))], format="csr")
    items = np.random.default_rng(0).integers(0, 30, (asked.shape[0], 8))
    found = contributions(model, asked, items)
    assert found.shape == (61, 8, len(contribution_names("it")))
    for user in range(asked.shape[0]):
        for place, item in enumerate(items[user]):
            said = [float(every[own, item]) for own in asked[user].indices]
            positive = sorted((one for one in said if one > 0), reverse=True)
            wanted = [*(positive + 5 * [0.0])[:5], len(positive), sum(one for one in said if one < 0)]
            np.testing.assert_allclose(found[user, place], wanted, rtol=1e-6, atol=1e-12)
    assert (found[:-1, :, 0] > 0).any()
    assert not found[-1].any()
