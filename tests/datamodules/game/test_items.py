"""The best suggestions of the simulated shop, against a second computation by hand."""

import math

import numpy as np
import pytest
from ludocast.datamodules.game.items import ITEMS, open_shop
from ludocast.datamodules.game.players import TASTES


def test_the_best_scores_are_bayes_rule() -> None:
    shop = open_shop(3)
    lasting = np.flatnonzero(~shop.is_consumable)[:2].tolist()
    consumed = int(np.flatnonzero(shop.is_consumable)[0])
    history = [lasting[0], consumed, consumed, lasting[1]]
    weights = []
    for taste in range(TASTES):
        likelihood, owned = 1.0, set[int]()
        for item in history:
            likelihood *= shop.share[taste, item] / (1 - sum(shop.share[taste, own] for own in owned))
            owned |= {item} - {consumed}
        weights.append(likelihood)
    found = shop.best_scores(history)
    for item in (lasting[0], consumed, 17, 99):
        left = [1 - sum(shop.share[taste, own] for own in lasting) for taste in range(TASTES)]
        each = [w * shop.share[t, item] / left[t] for t, w in enumerate(weights)]
        assert found[item] == pytest.approx(0.0 if item in lasting else math.fsum(each) / math.fsum(weights))
    assert found.sum() == pytest.approx(1)


def test_without_a_history_the_mean_taste_decides() -> None:
    shop = open_shop(1)
    np.testing.assert_allclose(shop.best_scores([]), shop.share.mean(axis=0))
    assert len(shop.ids) == ITEMS == len(set(shop.ids))
