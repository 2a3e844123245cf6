"""A small recommender with a catalogue, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ludocast.models.recommend.item_item import EASE
from ludocast.models.recommend.item_vectors import item_vectors
from ludocast.recipes.recommend_bundle import write_recommend_bundle
from ludocast.serve.catalogue import Catalogue
from ludocast.serve.manifest_sequences import PairColumns

from tests.models.recommend.made import random_history

HISTORY = random_history(120, 40)
IDS = np.array([f"i{k:02d}" for k in range(40)], object)
CATEGORIES = np.array([("swords", "gems", None)[k % 3] for k in range(40)], object)
VECTORS = item_vectors(HISTORY)


def write_shop(folder: Path) -> Path:
    """A bundle named shop that suggests of 40 items."""
    write_recommend_bundle(
        folder, "shop", EASE(5.0).fit(HISTORY), IDS, HISTORY.toarray().sum(0), PairColumns("player", "thing"), {}, "",
        Catalogue(tuple(IDS), CATEGORIES, VECTORS),
    )  # fmt: skip
    return folder
