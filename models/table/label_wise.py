"""A learner of two classes for each of several labels by itself: binary relevance.

Tsoumakas and Katakis, Int. J. Data Warehousing and Mining 3(3), 2007, section 2.1 (PT4). What labels tell of each other
is left to the inputs that they share; the network alone learns all of them by one trunk.
"""

# N rows, L labels

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.learner import Learner, Setting
from ludocast.models.table.model import Model


@dataclass(frozen=True)
class LabelWise:
    """A fitted learner a label.

    Attributes:
        models: Of each label, with one logit a row.
    """

    models: tuple[Model, ...]

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, L]."""
        return np.hstack([model.scores(encoded) for model in self.models])


def label_wise(learner: Learner[Model]) -> Learner[LabelWise]:
    """The learner of two classes, tried and fitted on one label after the other.

    Args:
        learner: Which holds out no folds by itself.
    """
    assert learner.hold_out is None

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray
    ) -> Mapping[float, np.ndarray]:
        labels = zip(np.ascontiguousarray(label.T), np.ascontiguousarray(held_label.T), strict=True)
        each = [learner.try_out(encoded, own, held, of_held) for own, of_held in labels]
        return {setting: np.hstack([tried[setting] for tried in each]) for setting in each[0]}

    def fit(encoded: Encoded, label: np.ndarray, setting: Setting) -> LabelWise:
        settings = setting if isinstance(setting, tuple) else (setting,) * label.shape[1]
        own = zip(np.ascontiguousarray(label.T), settings, strict=True)
        return LabelWise(tuple(learner.fit(encoded, one, chosen) for one, chosen in own))

    return Learner(try_out, fit, only=learner.only, calibrated=learner.calibrated)
