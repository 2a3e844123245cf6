"""Measures of answers to sequences: chunks as conlleval counts them, perplexity, hits among the first few."""

# T steps, C classes

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OUTSIDE, BEGINS, INSIDE = 0, 1, 2


@dataclass(frozen=True)
class Tags:
    """What tags mean, by their ids.

    Attributes:
        prefix: int64 [C]: `OUTSIDE`, `BEGINS` or `INSIDE`.
        kind: Which of `kinds`, int64 [C]; −1 of the outside one.
        kinds: Names of chunks.
    """

    prefix: np.ndarray
    kind: np.ndarray
    kinds: tuple[str, ...]


def chunk_tags(classes: Sequence[str]) -> Tags | None:
    """Tags "O", "B-…" and "I-…"; None if a class is none of these, so that there are no chunks to count."""
    parts = [name.partition("-") for name in classes]
    if not all(name == "O" or (first in ("B", "I") and kind) for name, (first, _, kind) in zip(classes, parts)):  # noqa: B905
        return None
    kinds = tuple(dict.fromkeys(kind for _, _, kind in parts if kind))
    prefix = np.array([{"O": OUTSIDE, "B": BEGINS, "I": INSIDE}[first] for first, _, _ in parts])
    kind = np.array([kinds.index(kind) if kind else -1 for _, _, kind in parts])
    return Tags(prefix, kind, kinds)


class ChunkCounts:
    """Chunks of each kind: right ones, found ones, true ones, as `conlleval` of CoNLL-2000 counts them.

    A chunk begins at a B, and at an I after another kind or outside; it ends before the next chunk or outside. It is
    right if kind, first and last step are. Counts of any batches of whole sequences add up.

    Args:
        tags: What the ids mean.
    """

    def __init__(self, tags: Tags) -> None:
        self.tags = tags
        self.counts = np.zeros((len(tags.kinds), 3), np.int64)

    def update(self, found: np.ndarray, true: np.ndarray, offsets: np.ndarray) -> None:
        """Take sequences in.

        Args:
            found: Tag ids, int64 [T].
            true: The same.
            offsets: Where each sequence begins, and T.
        """
        found_begin, found_end, found_kind = self._chunks(found, offsets)
        true_begin, true_end, true_kind = self._chunks(true, offsets)
        length = len(found) + 1
        spans = found_begin * length + found_end, true_begin * length + true_end
        _, in_found, in_true = np.intersect1d(spans[0], spans[1], assume_unique=True, return_indices=True)
        agreed = found_kind[in_found][found_kind[in_found] == true_kind[in_true]]
        for column, counted in enumerate((agreed, found_kind, true_kind)):
            self.counts[:, column] += np.bincount(counted, minlength=len(self.counts))

    def _chunks(self, ids: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First step, the step after the last one, and kind of each chunk."""
        prefix, kind = self.tags.prefix[ids], self.tags.kind[ids]
        firsts = np.zeros(len(ids) + 1, bool)
        firsts[offsets] = True
        other = np.append(True, kind[1:] != kind[:-1]) | firsts[:-1]
        begins = (prefix == BEGINS) | ((prefix == INSIDE) & other)
        breaks = np.flatnonzero(np.append(begins | (prefix == OUTSIDE) | firsts[:-1], True))
        begin = np.flatnonzero(begins)
        return begin, breaks[np.searchsorted(breaks, begin, side="right")], kind[begin]

    def total(self) -> tuple[float, float, float]:
        """Precision, recall and F1 over all kinds; 0 where there is nothing to divide by."""
        return _precision_recall_f1(self.counts.sum(0))

    def table(self) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and the number of true chunks of each kind, the most frequent first."""
        rows = {}
        for k in np.argsort(-self.counts[:, 2], kind="stable"):
            precision, recall, f1 = _precision_recall_f1(self.counts[k])
            count = int(self.counts[k, 2])
            rows[self.tags.kinds[k]] = {"precision": precision, "recall": recall, "f1": f1, "chunks": count}
        return rows


def _precision_recall_f1(counts: np.ndarray) -> tuple[float, float, float]:
    right, found, true = (int(n) for n in counts)
    precision, recall = right / max(found, 1), right / max(true, 1)
    return precision, recall, 2 * right / max(found + true, 1)


@dataclass(frozen=True)
class Ranked:
    """What came at each step, as it was expected.

    Attributes:
        loss: −log of its probability, in nats, float64 [T].
        rank: Its place among all answers, from 0, as of `rank_of_target`; int64 [T].
    """

    loss: np.ndarray
    rank: np.ndarray

    def measures(self, tops: Sequence[int]) -> dict[str, float]:
        """Mean loss, perplexity, and `rank_measures`."""
        loss = float(self.loss.mean())
        return {"loss": loss, "perplexity": perplexity(loss), **rank_measures(self.rank, tops)}


def rank_measures(rank: np.ndarray, tops: Sequence[int]) -> dict[str, float]:
    """Share of what was among the first answers, which is recall where one answer is right; its reciprocal rank.

    Args:
        rank: Places of what came, from 0, [T].
        tops: How many answers count; "mrr_k" is 0 for a place beyond k.
    """
    hits = {f"hit_rate_{top}": float((rank < top).mean()) for top in tops}
    return hits | {f"mrr_{top}": float(((rank < top) / np.maximum(rank + 1.0, 1)).mean()) for top in tops if top > 1}


def perplexity(loss: float) -> float:
    """E to the mean cross-entropy of a corpus in nats; infinite where that is beyond all numbers."""
    return math.exp(loss) if loss < 700 else math.inf


def rank_of_target(logits_TC: np.ndarray, target_T: np.ndarray) -> np.ndarray:
    """Place of what came among all answers, from 0, int64 [T]; of equal logits the target counts as the last.

    A network that says the same of all has no hits then.
    """
    own = logits_TC[np.arange(len(target_T)), target_T]
    return np.asarray((logits_TC >= own[:, None]).sum(1) - 1)
