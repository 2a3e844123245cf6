"""Training rows of amounts, and which of them answer for which when learners are tried."""

# N rows

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.learner import Learner, try_in_turn
from ludocast.models.table.model import Model


@dataclass(frozen=True)
class Rows:
    """Training rows, and which of them answer for which.

    Attributes:
        encoded: The training rows.
        amount: Of these, in units of their mean, float64 [N].
        fold: The fold that holds each out, int64 [N]; None where other rows are held out for good.
        held: Those, with their amounts.
    """

    encoded: Encoded
    amount: np.ndarray
    fold: np.ndarray | None
    held: tuple[Encoded, np.ndarray] | None

    @property
    def held_amount(self) -> np.ndarray:
        """Amounts of all rows that are held out once."""
        return self.amount if self.held is None else self.held[1]

    def payers(self) -> Rows:
        """The same of rows with an amount alone."""
        pays = np.flatnonzero(self.amount > 0)
        held = self.held
        if held is not None:
            of_held = np.flatnonzero(held[1] > 0)
            held = (held[0].rows(of_held), held[1][of_held])
        fold = None if self.fold is None else self.fold[pays]
        return Rows(self.encoded.rows(pays), self.amount[pays], fold, held)

    def try_out(
        self, learner: Learner[object], label_of: Callable[[np.ndarray], np.ndarray]
    ) -> Mapping[float, np.ndarray]:
        """Scores of held-out rows under each setting; `label_of` makes labels of amounts."""
        if self.held is None:
            assert self.fold is not None
            return try_in_turn(learner, self.encoded, label_of(self.amount), self.fold)
        return learner.try_out(self.encoded, label_of(self.amount), self.held[0], label_of(self.held[1]))

    def predict_held(self, fit: Callable[[Encoded, np.ndarray], Model]) -> np.ndarray:
        """Scores [N] of all held-out rows, by models that `fit` makes of payers alone."""
        pays = self.amount > 0
        if self.held is not None:
            return fit(self.encoded.rows(np.flatnonzero(pays)), self.amount[pays]).scores(self.held[0])[:, 0]
        assert self.fold is not None
        found = np.empty(len(self.amount))
        for k in range(int(self.fold.max()) + 1):
            inside, held = np.flatnonzero((self.fold != k) & pays), np.flatnonzero(self.fold == k)
            found[held] = fit(self.encoded.rows(inside), self.amount[inside]).scores(self.encoded.rows(held))[:, 0]
        return found
