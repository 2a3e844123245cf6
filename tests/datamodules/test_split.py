from __future__ import annotations

import numpy as np
import pytest
from ludocast.datamodules.split import folds, group_split, stratified_split, time_split


def test_folds_keep_the_share_of_each_class() -> None:
    label = np.array([0] * 70 + [1] * 30)
    fold = folds(label, seed=3, count=5)
    for k in range(5):
        assert (fold == k).sum() == 20
        assert label[fold == k].sum() == 6


def test_parts_are_disjoint_and_whole() -> None:
    label = np.array([0, 1] * 500)
    split = stratified_split(label, 0.2, 0.1, seed=0, cross_rows=0)
    assert split.validation is not None
    joined = np.concatenate([split.train, split.validation, split.test])
    assert sorted(joined.tolist()) == list(range(1000))
    assert (len(split.test), len(split.validation)) == (200, 80)
    assert stratified_split(label, 0.2, 0.1, seed=0).validation is None


def test_time_split_never_parts_equal_times_and_has_no_future_in_training() -> None:
    time = np.array([5, 1, 1, 2, 2, 3, 3, 4, 4, 5], float)
    split = time_split(time, 0.2, 0.2)
    assert split.validation is not None
    assert set(time[split.test]) == {5.0}
    assert time[split.train].max() < time[split.validation].min() < time[split.test].min()


def test_one_time_is_refused() -> None:
    with pytest.raises(ValueError, match="--split-time"):
        time_split(np.ones(10), 0.2, 0.1)


def test_a_group_lies_in_one_part() -> None:
    group = np.array([f"p{i // 3}" for i in range(300)], dtype=object)
    split = group_split(group, 0.2, 0.1, seed=1)
    assert split.validation is not None
    sets = [set(group[rows]) for rows in (split.train, split.validation, split.test)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not sets[a] & sets[b]
    assert len(sets[2]) == 20
