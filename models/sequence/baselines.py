"""What needs no network: counts of tokens, the usual tag of a word, classic learners on made features of sequences."""

# N sequences, T steps of all of them, V tokens, C classes, F features

from __future__ import annotations

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.vocabulary import FIRST, PADDING, UNKNOWN
from ludocast.models.baselines import baselines
from ludocast.models.sequence.metrics import Ranked

COUNTED_EVENTS = 10  # kinds of events, the most frequent ones, of which a player's numbers are features


def counted_tokens(train: Sequences, test: Sequences, tokens: int) -> dict[str, Ranked]:
    """The test part by how often each token came in training, and by how often it came after the one before.

    How often it came: P(w) ∝ count + 1. After h: P(w | h) = (c(h, w) + n(h) · P(w)) / (c(h) + n(h)), n(h) being the
    number of different tokens that came after h (Witten and Bell, IEEE Trans. Inf. Theory 1991, method C).

    Args:
        train: Steps "token" and "target".
        test: The same.
        tokens: V, padding among them, which never comes.
    """
    known, asked = train.compact().steps, test.compact().steps
    count = np.bincount(known["target"], minlength=tokens).astype(np.float64)
    alone = count + 1
    alone[PADDING] = 0
    alone /= alone.sum()
    return {
        "the most frequent ones, whatever came before": _ranked(alone, asked["target"]),
        "what followed the one before": _after_the_last(known, asked, alone),
    }


def _after_the_last(known: dict[str, np.ndarray], asked: dict[str, np.ndarray], alone: np.ndarray) -> Ranked:
    pairs, counts = np.unique(known["token"].astype(np.int64) * len(alone) + known["target"], return_counts=True)
    before, target = np.divmod(pairs, len(alone))
    order, ascending = np.argsort(asked["token"], kind="stable"), np.sort(alone)
    histories, starts = np.unique(asked["token"][order], return_index=True)
    loss, rank = np.empty(len(order)), np.empty(len(order), np.int64)
    for history, rows in zip(histories, np.split(order, starts[1:]), strict=True):
        own = slice(*np.searchsorted(before, [history, history + 1]))
        loss[rows], rank[rows] = _mixed(alone, ascending, target[own], counts[own], asked["target"][rows])
    return Ranked(loss, rank)


def _mixed(
    alone: np.ndarray, ascending: np.ndarray, followers: np.ndarray, counts: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and rank of what came after one token; what never followed it keeps the order it has alone."""
    kinds = max(len(followers), 1)
    with_count = counts + kinds * alone[followers]
    place = np.minimum(np.searchsorted(followers, target), kinds - 1)
    found = np.zeros(len(target)) if not len(followers) else np.where(followers[place] == target, counts[place], 0)
    weight = found + kinds * alone[target]
    limit = np.where(found > 0, weight / kinds, alone[target])  # of those that never followed
    rank = _at_least(ascending, limit) - _at_least(np.sort(alone[followers]), limit)
    rank += _at_least(np.sort(with_count), weight)
    total = counts.sum() + kinds if len(followers) else 1.0
    return -np.log(weight / total), rank - 1


def _at_least(ascending: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """How many values are the limit or more."""
    return np.asarray(len(ascending) - np.searchsorted(ascending, limit, side="left"))


def _ranked(p_V: np.ndarray, target_T: np.ndarray) -> Ranked:
    own = p_V[target_T]
    return Ranked(-np.log(own), _at_least(np.sort(p_V), own) - 1)


def usual_tags(train: Sequences, test: Sequences, tokens: int, classes: int) -> np.ndarray:
    """Of each word of the test part the tag it had most often in training, else the most frequent one; int64 [T]."""
    known = train.compact().steps
    cell = known["token"].astype(np.int64) * classes + known["target"]
    table = np.bincount(cell, minlength=tokens * classes).reshape(tokens, classes)
    usual = np.where(table.any(1), table.argmax(1), table.sum(0).argmax())
    return np.asarray(usual[test.compact().steps["token"]])


def classic_leaving(train: Sequences, test: Sequences, seed: int) -> dict[str, np.ndarray]:
    """Probabilities [N, 2] of the test snapshots by learners of scikit-learn on `made_features`.

    Args:
        train: Of a `ChurnSource`, with the static "label".
        test: The same.
        seed: Of the learners.
    """
    features = made_features(train), made_features(test)
    mean, deviation = features[0].mean(0), features[0].std(0)
    scale = np.where(deviation > 0, deviation, 1)
    encoded = [Encoded((x - mean) / scale, np.zeros((len(x), 0), np.int64), x) for x in features]
    return baselines(encoded[0], train.static["label"], encoded[1], 2, seed)


def made_features(part: Sequences) -> np.ndarray:
    """What one would think of first, float32 [N, F].

    Of days: active days of each step, all of them, days since the last one and since the first. Of events: their
    number, log age of the last and the first one, how often each of the most frequent kinds came. Then what is
    known of the players beside.
    """
    made = _of_events(part) if "token" in part.steps else _of_days(part)
    return np.hstack([made, part.static["columns"]]) if "columns" in part.static else made


def _of_days(part: Sequences) -> np.ndarray:
    bits = part.compact().steps["numbers"].reshape(len(part), -1, part.steps["numbers"].shape[1]).astype(np.float32)
    days = bits.reshape(len(part), -1)
    since_last, since_first = days[:, ::-1].argmax(1), days.shape[1] - days.argmax(1)
    return np.column_stack([bits.sum(2), days.sum(1), since_last, since_first]).astype(np.float32)


def _of_events(part: Sequences) -> np.ndarray:
    numbers, row = part.steps["numbers"], np.repeat(np.arange(len(part)), part.lengths)
    token = part.compact().steps["token"]
    frequent = np.flatnonzero((token >= FIRST) & (token < FIRST + COUNTED_EVENTS) | (token == UNKNOWN))
    cell = row[frequent] * (FIRST + COUNTED_EVENTS) + token[frequent]
    counts = np.bincount(cell, minlength=len(part) * (FIRST + COUNTED_EVENTS)).reshape(len(part), -1)[:, UNKNOWN:]
    if "ages" in part.static:  # of a stream, whose steps do not depend on the moment
        ages = part.static["ages"][:, 0], part.static["ages"][:, 1]
    else:
        ages = numbers[part.end - 1, 1], numbers[part.begin, 1]
    return np.column_stack([part.lengths, *ages, counts]).astype(np.float32)
