"""What comes next in a session, without a network: popularity, what came after or together, similar sessions.

The usual rivals of networks (Ludewig and Jannach, UMUAI 2018, section 3). All of them score every item after every
step of a session, from what the session has up to that step.
"""

# N sessions, T steps of all of them, Q questions (a session up to a step), I items, P pairs of question and session

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol, Self

import numpy as np
from ludocast.datamodules.ragged import flat_positions, offsets_of
from ludocast.datamodules.sequences import Sequences, from_offsets
from ludocast.models.recommend.item_item import NotFittedError
from ludocast.models.sequence.metrics import rank_of_target
from scipy import sparse

BATCH_SCORES, LEAST_ITEMS = 1 << 21, 1 << 11  # scores at once: 16 MB; of few items no more than 1,024 questions
Fading = Literal["none", "linear", "reciprocal"]


class SessionModel(Protocol):
    """What every model here is."""

    def fit(self, sessions: Sequences, items: int) -> Self:
        """Learn.

        Args:
            sessions: Whole ones, as of `whole_sessions`: the step "token", the static "time".
            items: I; ids are below it.
        """
        ...

    def scores(self, asked: Sequences) -> np.ndarray:
        """How likely each item is next; 0 says nothing for it.

        Args:
            asked: Sessions as far as they are known, one item or more each: the step "token".

        Returns:
            float64 [Q, I].
        """
        ...


def whole_sessions(part: Sequences) -> Sequences:
    """Sessions with the last item, which steps "token" and "target" tell apart, as a step "token" of its own."""
    given = part.compact()
    offsets = offsets_of(given.lengths + 1)
    token = np.empty(offsets[-1], given.steps["token"].dtype)
    is_last = np.zeros(len(token), bool)
    is_last[offsets[1:] - 1] = True
    token[~is_last], token[is_last] = given.steps["token"], given.steps["target"][given.end - 1]
    return from_offsets({"token": token}, offsets, part.static)


def questions(part: Sequences) -> Sequences:
    """For each step of a part, in its order, the session up to that step; steps are shared."""
    end = flat_positions(part.begin, part.end) + 1
    return replace(part, begin=np.repeat(part.begin, part.lengths), end=end, static={})


def session_ranks(model: SessionModel, part: Sequences, items: int, asked: np.ndarray | None = None) -> np.ndarray:
    """Place of what came at each step among all items, from 0; of equal scores the target counts as the last.

    Args:
        model: Fitted.
        part: Steps "token" and "target".
        items: I.
        asked: Which steps, counted in the part's order; all when None.

    Returns:
        int64 [Q].
    """
    each = questions(part)
    target = part.steps["target"][each.end - 1].astype(np.int64)
    which = np.arange(len(each)) if asked is None else asked
    size = max(1, BATCH_SCORES // max(items, LEAST_ITEMS))
    parts = [which[start : start + size] for start in range(0, len(which), size)]
    found = [rank_of_target(model.scores(each.rows(rows)), target[rows]) for rows in parts]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


class SessionPopularity:
    """How often each item came; if asked to, first the items that this session has had, the most frequent first.

    Args:
        is_own_first: Whether a session's own items come first ("S-POP" of Hidasi et al., ICLR 2016).
    """

    def __init__(self, is_own_first: bool = False) -> None:
        self.is_own_first = is_own_first
        self.share: np.ndarray | None = None

    def fit(self, sessions: Sequences, items: int) -> Self:
        """Count."""
        count = np.bincount(sessions.compact().steps["token"], minlength=items).astype(np.float64)
        self.share = count / max(count.sum(), 1)
        return self

    def scores(self, asked: Sequences) -> np.ndarray:
        """Shares of all steps, and with `is_own_first` the number of times in the session."""
        if self.share is None:
            raise NotFittedError("SessionPopularity has learnt nothing yet; call fit")
        found = np.tile(self.share, (len(asked), 1))
        if self.is_own_first:
            np.add.at(found, (np.repeat(np.arange(len(asked)), asked.lengths), asked.compact().steps["token"]), 1.0)
        return found


class CoOccurrence:
    """Sessions that have an item beside the last one, over (the number that have it)^damping.

    Damping 0 are the association rules of Ludewig and Jannach, 0.5 the cosine but for a factor of the last item.

    Args:
        damping: From 0 on.
    """

    def __init__(self, damping: float = 0.5) -> None:
        self.damping = damping
        self.weights: sparse.csr_matrix | None = None

    def fit(self, sessions: Sequences, items: int) -> Self:
        """Count."""
        has = _has(sessions, items)
        common = (has.T @ has).tocsr()
        common.setdiag(0)
        count = np.bincount(has.indices, minlength=items)
        self.weights = sparse.csr_matrix(common @ sparse.diags(np.maximum(count, 1.0) ** -self.damping))
        return self

    def scores(self, asked: Sequences) -> np.ndarray:
        """The row of the last item."""
        if self.weights is None:
            raise NotFittedError("CoOccurrence has learnt nothing yet; call fit")
        return np.asarray(self.weights[asked.steps["token"][asked.end - 1]].toarray())


class Transitions:
    """How often an item came so many steps after the last one, a pair d steps apart counting 1 / d.

    A reach of 1 is a first-order Markov chain; a longer one the sequential rules of Ludewig and Jannach.

    Args:
        reach: Most steps from one item to the other, 1 or more.
    """

    def __init__(self, reach: int = 1) -> None:
        if reach < 1:
            raise ValueError(f"a transition takes one step or more, got a reach of {reach}")
        self.reach = reach
        self.weights: sparse.csr_matrix | None = None

    def fit(self, sessions: Sequences, items: int) -> Self:
        """Count."""
        given = sessions.compact()
        token, row = given.steps["token"], np.repeat(np.arange(len(given)), given.lengths)
        total = sparse.csr_matrix((items, items))
        for distance in range(1, min(self.reach, int(given.lengths.max(initial=1)) - 1) + 1):
            is_one = row[distance:] == row[:-distance]
            pair = token[:-distance][is_one], token[distance:][is_one]
            total = total + sparse.csr_matrix((np.full(len(pair[0]), 1 / distance), pair), shape=(items, items))
        self.weights = total
        return self

    def scores(self, asked: Sequences) -> np.ndarray:
        """The row of the last item."""
        if self.weights is None:
            raise NotFittedError("Transitions has learnt nothing yet; call fit")
        return np.asarray(self.weights[asked.steps["token"][asked.end - 1]].toarray())


def _has(sessions: Sequences, items: int) -> sparse.csr_matrix:
    """1 where a session has an item, CSR [N, I]."""
    given = sessions.compact()
    row = np.repeat(np.arange(len(given)), given.lengths)
    found = sparse.csr_matrix((np.ones(len(row)), (row, given.steps["token"])), shape=(len(given), items))
    found.sum_duplicates()
    found.data[:] = 1
    return found


class SessionNeighbours:
    """Items of similar sessions, those that share recent items first: V-SKNN (Ludewig and Jannach, section 3.2.2).

    Of the training sessions that have an item of the asked one, the `recent` last ones are looked at. How similar one
    is: the sum of the weights of the items that both have, an item weighing more the later it came. The `neighbours`
    most similar ones (of equal ones the later) give their similarity to each of their items, times a weight that fades
    with how far back the latest common item lies.

    With the item d steps from the end of n (d = 0 of the last one): "linear" is max(0, 1 − d / 10), "reciprocal" is
    (n − d) / n for the similarity and 1 / (d + 1) for the items, "none" is 1. Of an item that came several times the
    last time counts.

    Args:
        neighbours: k, most sessions that count.
        recent: m, most sessions that are looked at.
        similarity: Fading of the similarity.
        fading: Of what a neighbour gives to its items.
        rarity: λ: scores are multiplied by 1 + λ log(N / sessions that have the item).
        repeats: Whether items that the session has had are scored.
        longest: So many last items of a session are looked at.
    """

    def __init__(
        self,
        neighbours: int = 100,
        recent: int = 1_000,
        similarity: Fading = "reciprocal",
        fading: Fading = "linear",
        rarity: float = 0.0,
        repeats: bool = True,
        longest: int = 100,
    ) -> None:
        if min(neighbours, recent, longest) < 1:
            raise ValueError(
                f"neighbours, recent and longest are 1 or more, however: {neighbours}, {recent} and {longest}"
            )
        self.neighbours, self.recent, self.longest = neighbours, recent, longest
        self.similarity: Fading = similarity
        self.fading: Fading = fading
        self.rarity, self.repeats = rarity, repeats
        self.has: sparse.csr_matrix | None = None
        self._sessions_of: sparse.csr_matrix | None = None
        self._boost, self._keys = np.ones(0), np.zeros(0, np.int64)

    def fit(self, sessions: Sequences, items: int) -> Self:
        """Keep the sessions in the order of their times, and of each item the last `recent` ones that have it."""
        has = _has(sessions.rows(np.argsort(sessions.static["time"], kind="stable")), items)
        self.has, count = has, np.bincount(has.indices, minlength=items)
        self._keys = np.repeat(np.arange(has.shape[0]), np.diff(has.indptr)) * items + has.indices  # ascending
        self._boost = 1 + self.rarity * np.log(has.shape[0] / np.maximum(count, 1))
        # A session among the `recent` last ones that have any item of a question is among those of each of its items.
        by_item = has.T.tocsr()
        by_item.sort_indices()
        kept = flat_positions(np.maximum(by_item.indptr[:-1], by_item.indptr[1:] - self.recent), by_item.indptr[1:])
        pointers = offsets_of(np.minimum(np.diff(by_item.indptr), self.recent))
        self._sessions_of = sparse.csr_matrix(
            (by_item.data[kept], by_item.indices[kept], pointers), shape=by_item.shape
        )
        return self

    def scores(self, asked: Sequences) -> np.ndarray:
        """What the neighbours say."""
        if self.has is None or self._sessions_of is None:
            raise NotFittedError("SessionNeighbours has learnt nothing yet; call fit")
        last = replace(asked, begin=np.maximum(asked.begin, asked.end - self.longest), static={}).compact()
        back = np.repeat(last.end, last.lengths) - 1 - np.arange(len(last.steps["token"]))
        back_QI = self._latest(last, back)
        question = np.repeat(np.arange(len(last)), np.diff(back_QI.indptr))
        weight = _faded(back_QI.data, last.lengths[question], self.similarity)
        weights_QI = sparse.csr_matrix((weight, back_QI.indices, back_QI.indptr), shape=back_QI.shape)
        similar = weights_QI @ self._sessions_of
        question, session, value = self._nearest(similar)
        value = value * self._fading_of(back_QI, question, session)
        given = sparse.csr_matrix((value, (question, session)), shape=(len(last), self.has.shape[0]))
        found: np.ndarray = (given @ self.has).toarray() * self._boost
        if not self.repeats:
            found[np.repeat(np.arange(len(asked)), asked.lengths), asked.compact().steps["token"]] = 0
        return found

    def _latest(self, last: Sequences, back: np.ndarray) -> sparse.csr_matrix:
        """Steps from each item's latest place to the end, CSR [Q, I], items ascending."""
        assert self.has is not None
        key = np.repeat(np.arange(len(last)), last.lengths) * self.has.shape[1] + last.steps["token"]
        order = np.lexsort((back, key))
        is_first = np.diff(key[order], prepend=-1) != 0
        question, item = np.divmod(key[order][is_first], self.has.shape[1])
        pointers = offsets_of(np.bincount(question, minlength=len(last)))
        data = back[order][is_first].astype(np.float64)
        return sparse.csr_matrix((data, item, pointers), shape=(len(last), self.has.shape[1]))

    def _nearest(self, similar: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Question, session and similarity of the neighbours, [P] each."""
        similar.sort_indices()
        size = np.diff(similar.indptr)
        kept = flat_positions(np.maximum(similar.indptr[:-1], similar.indptr[1:] - self.recent), similar.indptr[1:])
        question = np.repeat(np.arange(len(size)), np.minimum(size, self.recent))
        session, value = similar.indices[kept].astype(np.int64), similar.data[kept]
        order = np.lexsort((-session, -value, question))
        begin = offsets_of(np.bincount(question, minlength=len(size)))
        place = np.arange(len(question)) - begin[question]  # the questions stay in order
        best = order[place < self.neighbours]
        return question[best], session[best], value[best]

    def _fading_of(self, back_QI: sparse.csr_matrix, question: np.ndarray, session: np.ndarray) -> np.ndarray:
        """By how far back the latest item lies that both have, [P]."""
        assert self.has is not None
        if self.fading == "none":
            return np.ones(len(question))
        items, keys = self.has.shape[1], self._keys
        order = np.lexsort((back_QI.data, np.repeat(np.arange(back_QI.shape[0]), np.diff(back_QI.indptr))))
        item, back = back_QI.indices[order].astype(np.int64), back_QI.data[order]  # of each question the latest first
        nearest = np.full(len(question), np.inf)
        open_ = np.arange(len(question))
        place = back_QI.indptr[question].astype(np.int64)
        while len(open_):
            wanted = session[open_] * items + item[place[open_]]
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            is_found = keys[at] == wanted
            nearest[open_[is_found]] = back[place[open_[is_found]]]
            open_ = open_[~is_found]
            place[open_] += 1
        if self.fading == "linear":
            return _faded(nearest, np.ones(1), "linear")
        return 1 / (nearest + 1)


def _faded(back: np.ndarray, length: np.ndarray, kind: Fading) -> np.ndarray:
    if kind == "none":
        return np.ones(len(back))
    if kind == "linear":
        return np.maximum(0.0, 1 - back / 10)
    return np.asarray((length - back) / length)
