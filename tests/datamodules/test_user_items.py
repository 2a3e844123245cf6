"""Pairs of users and items: ids kept, duplicates merged, k-core by hand, splits by a slow reading of their rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.user_item_splits import split_by_share, split_by_time, split_last
from ludocast.datamodules.user_items import (
    UserItems,
    k_core,
    read_user_items,
    user_items_of_frame,
    user_items_of_matrix,
)
from scipy import sparse


def frame(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "user": generator.integers(0, 30, rows),
            "item": [f"i{k}" for k in generator.integers(0, 20, rows)],
            "hours": generator.integers(0, 4, rows).astype(float),
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(generator.integers(0, 300, rows), unit="h"),
        }
    )


def test_equals_a_loop_over_the_rows() -> None:
    table = frame()
    found = user_items_of_frame(table, "user", "item", "hours", "at")
    hours: dict[tuple[int, str], float] = {}
    first: dict[tuple[int, str], float] = {}
    for user, item, value, at in table.itertuples(index=False):
        hours[user, item] = hours.get((user, item), 0.0) + value
        first[user, item] = min(first.get((user, item), np.inf), at.timestamp())
    wanted = {pair: value for pair, value in hours.items() if value > 0}
    assert found.time is not None
    user, item = found.pairs()
    names = list(zip(found.users[user].tolist(), found.items[item].tolist(), strict=True))
    assert names == sorted(wanted)
    assert found.matrix.data.tolist() == [wanted[pair] for pair in names]
    assert found.time.tolist() == [first[pair] for pair in names]
    assert found.history.data.tolist() == [1.0] * len(wanted)
    times = table.groupby(["user", "item"])["at"].nunique()
    assert found.rows is not None
    assert found.rows.tolist() == [times[pair] for pair in names]
    without_times = user_items_of_frame(table, "user", "item", "hours").rows
    assert without_times is not None
    assert without_times.tolist() == [table.groupby(["user", "item"]).size()[pair] for pair in names]
    assert [note.split(" ", 1)[1] for note in found.notes] == [
        "rows repeat a pair of user and item and were merged", "pairs of weight 0 were left out",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_stay_what_they_were(tmp_path: Path, suffix: str) -> None:
    odd = ["zwölf", "line\nbreak", "007", 'a"b', "한국"]
    table = pd.DataFrame({"u": [3, 3, 10, 10, 2], "i": odd})
    path = tmp_path / f"log.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    found = read_user_items(path, "u", "i")
    assert found.users.dtype == np.int64
    assert found.users.tolist() == [2, 3, 10]
    assert found.items.tolist() == sorted(odd)


def test_rows_without_an_id_are_told_of_and_left_out() -> None:
    table = pd.DataFrame({"u": ["a", None, "b", "", "a"], "i": ["x", "x", "x", "y", "y"]})
    found = user_items_of_frame(table, "u", "i")
    assert found.matrix.nnz == 3
    assert found.notes == ('2 rows have no "u" or no "i" and were left out',)


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ({"u": [1, 2], "i": [1, 2]}, ("u", "gone"), 'no column "gone" for --item; the table has u, i'),
        ({"u": [1, 1], "i": [1, 2]}, ("u", "i"), "there is 1 user in all"),
        ({"u": [1, 2], "i": [1, 1]}, ("u", "i"), "there is 1 item in all"),
        ({"u": [1, 1, 1], "i": [2, 2, 2]}, ("u", "i"), "there is 1 user in all"),
        ({"u": [1, 2, 3], "i": [1, 2, 1]}, ("u", "i"), "every user has one item"),
        ({"u": [1, 1, 2], "i": [1, 2, 1], "w": [1, -1, 1]}, ("u", "i", "w"), "row 2: a weight of -1"),
        ({"u": [1, 1, 2], "i": [1, 2, 1], "w": [1.0, 2.0, None]}, ("u", "i", "w"), 'row 3, column "w": no number'),
        ({"u": [1, 1, 2], "i": [1, 2, 1], "t": ["x", "2024-01-01", "2024-01-02"]}, ("u", "i", None, "t"), 'row 1, column "t"'),
        ({"u": [1.5, 1, 2], "i": [1, 2, 1]}, ("u", "i"), "fractions or infinities for ids"),
        ({"u": [None, None], "i": [1, 2]}, ("u", "i"), 'no row has both "u" and "i"'),
        ({"u": [1, 2], "i": [1, 2]}, ("u", "u"), "name two columns"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_by_a_sentence(columns: dict, options: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        user_items_of_frame(pd.DataFrame(columns), *options)


def test_a_matrix_adds_up_its_entries() -> None:
    matrix = sparse.coo_matrix(
        (np.array([1.0, 2, 3, 1]), (np.array([0, 0, 1, 1]), np.array([1, 1, 0, 1]))), shape=(3, 2)
    )
    found = user_items_of_matrix(matrix)
    assert found.matrix.toarray().tolist() == [[0, 3], [3, 1]]
    assert found.users.tolist() == [0, 1]  # the third user has nothing
    with pytest.raises(ValueError, match="distinct ids, in ascending order"):
        user_items_of_matrix(matrix, items=np.array(["b", "a"]))


def made() -> UserItems:
    """Items a..d of users 1..4; d has one user, user 4 has one item."""
    pairs = [(1, "a"), (1, "b"), (1, "d"), (2, "a"), (2, "b"), (3, "a"), (3, "b"), (3, "c"), (4, "c")]
    return user_items_of_frame(pd.DataFrame(pairs, columns=["u", "i"]), "u", "i")


def test_k_core_once_and_until_nothing_changes() -> None:
    once = k_core(made(), 2, 2, rounds=1)  # d goes, then user 4; c keeps one user
    assert (once.users.tolist(), once.items.tolist(), once.matrix.nnz) == ([1, 2, 3], ["a", "b", "c"], 7)
    full = k_core(made(), 2, 2)
    assert (full.users.tolist(), full.items.tolist(), full.matrix.nnz) == ([1, 2, 3], ["a", "b"], 6)
    assert full.notes[-1].endswith("3 of 4 users, 2 of 4 items, 6 of 9 pairs")
    with pytest.raises(ValueError, match="lower the limits"):
        k_core(made(), 4, 4)


def test_split_by_share_follows_its_protocol() -> None:
    data = user_items_of_frame(frame(), "user", "item")
    found = split_by_share(data, 0.2, seed=7)
    user, item = data.pairs()
    key = np.random.default_rng(7).random(len(user))
    for u in range(len(data.users)):
        own = [(key[n], item[n]) for n in range(len(user)) if user[n] == u]
        count = max(1, int(0.2 * len(own))) if len(own) > 1 else 0
        assert set(found.hidden[u].indices) == {i for _, i in sorted(own)[:count]}
    assert (abs(found.known.history + found.hidden - data.history)).nnz == 0
    assert found.rule == "20% of each user's items hidden, seed 7"


def test_a_user_with_one_item_keeps_it_and_is_listed() -> None:
    found = split_by_share(made())
    assert found.without.tolist() == [4]
    assert found.asked.tolist() == [0, 1, 2]


def test_split_last_hides_the_latest() -> None:
    data = user_items_of_frame(frame(), "user", "item", None, "at")
    found = split_last(data, 2)
    assert data.time is not None
    for u in range(len(data.users)):
        own = slice(*data.matrix.indptr[u : u + 2])
        latest = sorted(zip(data.time[own], data.matrix.indices[own], strict=True))[-2:]
        assert set(found.hidden[u].indices) == {int(i) for _, i in latest}


def test_split_by_time_has_no_future_in_it() -> None:
    data = user_items_of_frame(frame(), "user", "item", None, "at")
    found = split_by_time(data, 0.3)
    assert found.known.time is not None
    assert data.time is not None
    hidden = np.setdiff1d(data.time, found.known.time)
    assert found.known.time.max() < hidden.min()
    assert 0.25 < found.hidden.nnz / data.matrix.nnz < 0.35


@pytest.mark.parametrize("split", [split_last, split_by_time])
def test_splits_by_time_need_times(split: object) -> None:
    assert callable(split)
    with pytest.raises(ValueError, match="name the column of times"):
        split(made())
