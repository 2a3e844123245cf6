"""The shop of the simulated game: items, what each group of taste makes of them, and the best suggestions there are."""

# I items, T groups of taste

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.game.players import TASTES

ITEMS = 240
CATEGORIES = ("skin", "weapon", "pet", "emote", "booster", "chest")
CONSUMABLE = ("booster", "chest")  # may be bought again
PRICES = (0.99, 1.99, 2.99, 4.99, 9.99, 19.99)


@dataclass(frozen=True)
class Shop:
    """What is for sale.

    Attributes:
        ids: Texts [I].
        category: Of `CATEGORIES`, int64 [I].
        price: In US dollars, float64 [I].
        is_consumable: bool [I].
        share: Probability that a player of a taste who owns nothing takes an item, float64 [T, I].
    """

    ids: np.ndarray
    category: np.ndarray
    price: np.ndarray
    is_consumable: np.ndarray
    share: np.ndarray

    def best_scores(self, history: Sequence[int] | np.ndarray) -> np.ndarray:
        """Probability of each item to be bought next, given the purchases so far in their order; float64 [I].

        Nobody who sees the log alone can rank better: the posterior over tastes by Bayes' rule, each purchase one of
        what was not owned then, and the mean over it of what each taste takes next.

        Args:
            history: Numbers of items.
        """
        left = np.ones(len(self.ids), bool)
        log_taste = np.zeros(len(self.share))
        for item in history:
            log_taste += np.log(self.share[:, item] / (self.share * left).sum(axis=1))
            left[item] &= self.is_consumable[item]
        taste = np.exp(log_taste - log_taste.max())
        wanted = self.share * left
        return np.asarray((taste / taste.sum()) @ (wanted / wanted.sum(axis=1, keepdims=True)))


def open_shop(seed: int = 0) -> Shop:
    """Equal seeds give equal shops.

    Args:
        seed: Of everything random.
    """
    generator = np.random.default_rng([seed, ITEMS])
    category = generator.integers(0, len(CATEGORIES), ITEMS)
    names = np.array(CATEGORIES)[category]
    appeal = -0.7 * np.log(generator.permutation(ITEMS) + 3.0)
    liking = (
        generator.normal(0, 1.4, (TASTES, ITEMS)) + generator.normal(0, 0.8, (TASTES, len(CATEGORIES)))[:, category]
    )
    weight = np.exp(appeal + liking)
    return Shop(
        ids=np.array([f"{name}_{number}" for number, name in enumerate(names)], object),
        category=category,
        price=np.array(PRICES)[generator.choice(len(PRICES), ITEMS, p=[0.25, 0.25, 0.2, 0.15, 0.1, 0.05])],
        is_consumable=np.isin(names, CONSUMABLE),
        share=weight / weight.sum(axis=1, keepdims=True),
    )
