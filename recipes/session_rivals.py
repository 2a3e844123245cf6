"""What stands beside a network of the next event in its report: models of sessions that need no network."""

# T steps of the test part, Q of them that are asked about

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.sequence import SequenceParts
from ludocast.datamodules.sequences import Sequences
from ludocast.models.recommend.sessions import (
    CoOccurrence,
    SessionModel,
    SessionNeighbours,
    SessionPopularity,
    Transitions,
    session_ranks,
    whole_sessions,
)
from ludocast.models.sequence.metrics import rank_measures
from ludocast.serve.sequence_report import Table

MOST_ASKED, MOST_VALIDATED = 5_000, 1_000  # steps, spread evenly: similar sessions are searched for at each of them
TOP = 20
HEADS = ("", "mean reciprocal rank, first 20", "first", "among the first 5", "among the first 10", "among the first 20")


@dataclass(frozen=True)
class Rivals:
    """Ranks of what came.

    Attributes:
        steps: Which steps of the test part, in its order, int64 [Q].
        ranks: Of each model, int64 [Q].
        total: T.
    """

    steps: np.ndarray
    ranks: dict[str, np.ndarray]
    total: int

    def table(self, network: np.ndarray) -> Table:
        """The models beside the network, whose ranks at all steps are given, the best first."""
        every = {"this network": network[self.steps], **self.ranks}
        found = {name: rank_measures(rank, (1, 5, 10, TOP)) for name, rank in every.items()}
        rows = [
            [name, f"{one[f'mrr_{TOP}']:.4f}", *(f"{one[f'hit_rate_{top}']:.1%}" for top in (1, 5, 10, TOP))]
            for name, one in sorted(found.items(), key=lambda pair: -pair[1][f"mrr_{TOP}"])
        ]
        which = "all steps" if len(self.steps) == self.total else f"{len(self.steps):,} of {self.total:,} steps"
        note = f"On {which} of the test part. All learnt from the training part; settings by the validation part."
        return Table("Beside models of sessions", note, HEADS, rows)

    def lead(self, network: np.ndarray) -> list[str]:
        """A sentence where one of them is ahead of the network, whose ranks at all steps are given; else none."""
        own = rank_measures(network[self.steps], (TOP,))[f"mrr_{TOP}"]
        value, name = max((one[f"mrr_{TOP}"], name) for name, one in self.measures().items())
        if value <= own:
            return []
        return [
            f"A model without a network is ahead of this one: {name} has a mean reciprocal rank of {value:.4f} among "
            f"the first {TOP} answers, the network {own:.4f}."
        ]

    def measures(self) -> dict[str, dict[str, float]]:
        """For metrics.json."""
        return {
            name: {"steps": len(self.steps), **rank_measures(rank, (1, 5, 10, TOP))}
            for name, rank in self.ranks.items()
        }


def session_rivals(parts: SequenceParts) -> Rivals:
    """Fit them on the training part, choose their settings by MRR@20 on validation, and ask them about the test part.

    Args:
        parts: Of the task "next".
    """
    items, sessions = int(parts.sizes["tokens"]), whole_sessions(parts.train)
    steps, ranks = _spread(parts.test, MOST_ASKED), {}
    validated = _spread(parts.validation, MOST_VALIDATED)
    for name, tried in _candidates().items():
        values = []
        for model in tried:
            model.fit(sessions, items)
            if len(tried) > 1:
                rank = session_ranks(model, parts.validation, items, validated)
                values.append(rank_measures(rank, (TOP,))[f"mrr_{TOP}"])
        best = tried[int(np.argmax(values))] if values else tried[0]
        ranks[name] = session_ranks(best, parts.test, items, steps)
    return Rivals(steps, ranks, int(parts.test.lengths.sum()))


def _candidates() -> dict[str, list[SessionModel]]:
    return {
        "popularity": [SessionPopularity()],
        "popularity in the session": [SessionPopularity(is_own_first=True)],
        "what came with the last one": [CoOccurrence(damping) for damping in (0.0, 0.5)],
        "what came after the last one": [Transitions(reach) for reach in (1, 3, 10)],
        "similar sessions (V-SKNN)": [
            SessionNeighbours(100), SessionNeighbours(500), SessionNeighbours(500, fading="reciprocal"),
            SessionNeighbours(500, repeats=False),
        ],
    }  # fmt: skip


def _spread(part: Sequences, most: int) -> np.ndarray:
    steps = int(part.lengths.sum())
    return np.unique(np.linspace(0, steps - 1, min(steps, most)).astype(np.int64))
