"""Who had what: a long table of pairs becomes a sparse matrix whose rows and columns keep their ids."""

# R rows of the table, U users, I items, P distinct pairs

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.cells import WHOLE, CellError, column_values
from ludocast.datamodules.read import from_frame, read_table
from ludocast.datamodules.schema import MISSING_TOKENS
from scipy import sparse

if TYPE_CHECKING:
    import pandas as pd

DENSE_IDS = 8  # ids of a range of so many times the rows are counted, others sorted


@dataclass(frozen=True)
class UserItems:
    """Distinct pairs of users and items.

    Attributes:
        matrix: Weight of each pair, above 0; CSR float64 [U, I], item numbers of a row ascending.
        users: Ids in ascending order, int64 or objects of str [U].
        items: The same of items, [I].
        time: Seconds since 1970 in UTC of each pair's first row, float64 [P] as `matrix.data`; None without times.
        rows: At how many distinct times each pair was met, or without times in how many rows, int32 [P]; None where
            that is not known.
        notes: What was merged or left out, a sentence each.
    """

    matrix: sparse.csr_matrix
    users: np.ndarray
    items: np.ndarray
    time: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    rows: np.ndarray | None = None

    @property
    def history(self) -> sparse.csr_matrix:
        """The pairs alone, 1 each, CSR float64 [U, I]; the matrix itself where all weights are 1."""
        return self.matrix if (self.matrix.data == 1).all() else _of_ones(self.matrix)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """User and item number of each pair, sorted by both, int64 [P] each."""
        lengths = np.diff(self.matrix.indptr)
        return np.repeat(np.arange(len(lengths)), lengths), self.matrix.indices.astype(np.int64)

    def kept(self, is_kept: np.ndarray) -> UserItems:
        """These pairs alone, all users and items still there.

        Args:
            is_kept: bool [P].
        """
        before = np.concatenate([np.zeros(1, np.int32), np.cumsum(is_kept, dtype=np.int32)])
        indptr = before[self.matrix.indptr]
        matrix = sparse.csr_matrix(
            (self.matrix.data[is_kept], self.matrix.indices[is_kept], indptr), shape=self.matrix.shape
        )
        time, rows = (None if one is None else one[is_kept] for one in (self.time, self.rows))
        return replace(self, matrix=matrix, time=time, rows=rows)


def read_user_items(
    path: str | Path,
    user: str,
    item: str,
    value: str | None = None,
    time: str | None = None,
    at_least: float | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> UserItems:
    """Read a CSV or Parquet file, one row an event such as a purchase.

    Args:
        path: Of the file.
        user: Column of users.
        item: Column of items.
        value: Column of weights such as hours, from 0 on, added up over a pair's rows; without it rows are counted.
        time: Column of times.
        at_least: Pairs whose weight is lower are left out; those of weight 0 always are.
        encoding: Of a CSV file.
        delimiter: Of a CSV file; found by itself when None.

    Raises:
        ValueError: If a column is absent, a cell does not fit, or nothing can be learnt from the pairs.
    """
    columns = list(dict.fromkeys(name for name in (user, item, value, time) if name is not None))
    return user_items_of_table(read_table(path, encoding, delimiter, columns), user, item, value, time, at_least)


def user_items_of_frame(
    frame: pd.DataFrame,
    user: str,
    item: str,
    value: str | None = None,
    time: str | None = None,
    at_least: float | None = None,
) -> UserItems:
    """The same of a pandas frame.

    Raises:
        ValueError: As `read_user_items`.
    """
    return user_items_of_table(from_frame(frame), user, item, value, time, at_least)


def user_items_of_matrix(
    matrix: sparse.sparray | sparse.spmatrix, users: np.ndarray | None = None, items: np.ndarray | None = None
) -> UserItems:
    """Of a scipy sparse matrix, entries of one place added up.

    Args:
        matrix: Weights from 0 on, [U, I].
        users: Distinct ids in ascending order [U]; by default row numbers.
        items: The same of items [I].

    Raises:
        ValueError: If a weight is negative or not finite, ids do not fit, or nothing can be learnt from the pairs.
    """
    coo = sparse.coo_matrix(matrix)  # type: ignore[call-overload]
    names = [
        np.arange(size) if ids is None else np.asarray(ids) for ids, size in zip((users, items), coo.shape, strict=True)
    ]
    for ids, size, what in zip(names, coo.shape, ("users", "items"), strict=True):
        if len(ids) != size or (ids[1:] <= ids[:-1]).any():
            raise ValueError(f"the matrix has {size} {what}, so give as many distinct ids, in ascending order")
    return _merged(coo.row, coo.col, coo.data.astype(np.float64), None, names[0], names[1], None, [])


def user_items_of_table(
    table: pa.Table,
    user: str,
    item: str,
    value: str | None = None,
    time: str | None = None,
    at_least: float | None = None,
) -> UserItems:
    """The same of an Arrow table.

    Raises:
        ValueError: As `read_user_items`.
    """
    for option, column in (("user", user), ("item", item), ("value", value), ("time", time)):
        if column is not None and column not in table.column_names:
            have = ", ".join(table.column_names[:10])
            raise ValueError(f'there is no column "{column}" for --{option}; the table has {have}')
    if user == item:
        raise ValueError(f'--user and --item are both "{user}"; name two columns')
    notes: list[str] = []
    absent = pc.or_(_is_missing(table[user]), _is_missing(table[item]))
    count = int(pc.sum(absent).as_py() or 0)
    if count:
        notes.append(f'{count:,} rows have no "{user}" or no "{item}" and were left out')
        table = table.filter(pc.invert(absent))
    if table.num_rows == 0:
        raise ValueError(f'no row has both "{user}" and "{item}"; are these the right columns?')
    users, user_code = _ids(table[user], user)
    items, item_code = _ids(table[item], item)
    weight = None if value is None else _numbers(table[value], value, "number")
    seconds = None if time is None else _numbers(table[time], time, "timestamp")
    del table  # of a billion cells it is as large as all that comes
    return _merged(user_code, item_code, weight, seconds, users, items, at_least, notes)


def _is_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    missing = column.is_null(nan_is_null=True)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        missing = pc.or_(missing, pc.is_in(column, pa.array(["", *MISSING_TOKENS], column.type)))
    return missing


def _ids(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Distinct ids in ascending order, and which of them each row has, int32; whole numbers stay such, texts too."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        values = column.to_numpy()
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        encoded = column.dictionary_encode().combine_chunks()
        texts = encoded.dictionary
        is_whole = pc.all(pc.match_substring_regex(texts, WHOLE)).as_py()
        ids, place = _distinct(texts.cast(pa.int64()).to_numpy() if is_whole else texts.to_numpy(zero_copy_only=False))
        return ids, place[encoded.indices.to_numpy()]
    elif pa.types.is_floating(column.type):
        values = column.to_numpy()
        if not (np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)).all():
            raise ValueError(f'column "{name}" has fractions or infinities for ids; give whole numbers or texts')
        values = values.astype(np.int64)
    else:
        raise ValueError(f'column "{name}" holds {column.type} for ids; give whole numbers or texts')
    return _distinct(values)


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in ascending order, and which of them each one is, int32."""
    if values.dtype.kind in "iu":
        lowest, highest = int(values.min()), int(values.max())
        if highest - lowest < DENSE_IDS * len(values):
            is_there = np.zeros(highest - lowest + 1, bool)
            is_there[values - lowest] = True
            place = np.cumsum(is_there, dtype=np.int32) - 1
            return (np.flatnonzero(is_there) + lowest).astype(values.dtype), place[values - lowest]
    ids, code = np.unique(values, return_inverse=True)
    return ids, code.astype(np.int32)


def _numbers(column: pa.ChunkedArray, name: str, kind: str) -> np.ndarray:
    try:
        found = column_values(column, kind, frozenset(MISSING_TOKENS)).values.astype(np.float64)
    except CellError as error:
        where = "" if error.row is None else f"row {error.row + 1}, "
        raise ValueError(f'{where}column "{name}": {error}') from None
    missing = np.flatnonzero(np.isnan(found))
    if len(missing):
        what = "time" if kind == "timestamp" else "number"
        raise ValueError(f'row {missing[0] + 1}, column "{name}": no {what}; leave such rows out, or the option')
    return found


def _merged(
    user: np.ndarray,
    item: np.ndarray,
    weight: np.ndarray | None,
    seconds: np.ndarray | None,
    users: np.ndarray,
    items: np.ndarray,
    at_least: float | None,
    notes: list[str],
) -> UserItems:
    """Rows of one pair as one: weights added up, 1 a row where there are none, the first time kept."""
    is_counted = weight is None
    if weight is None:
        weight = np.ones(len(user))
    wrong = np.flatnonzero(~((weight >= 0) & np.isfinite(weight)))
    if len(wrong):
        raise ValueError(f"row {wrong[0] + 1}: a weight of {weight[wrong[0]]:g}; weights are finite and 0 or more")
    shape = len(users), len(items)
    matrix = _added_up(weight, user, item, shape)
    if seconds is None:
        time, rows = None, matrix.data if is_counted else _added_up(np.ones(len(user)), user, item, shape).data
    else:
        time, rows = _times(user, item, seconds)
    if matrix.nnz < len(user):
        notes = [*notes, f"{len(user) - matrix.nnz:,} rows repeat a pair of user and item and were merged"]
    is_kept = matrix.data >= at_least if at_least is not None else matrix.data > 0
    is_kept &= matrix.data > 0
    found = UserItems(matrix, users, items, time, tuple(notes), rows.astype(np.int32))
    if not is_kept.all():
        which = "of weight 0" if at_least is None else f"of weight below {at_least:g}"
        note = f"{int((~is_kept).sum()):,} pairs {which} were left out"
        found = replace(found.kept(is_kept), notes=(*notes, note))
    return _checked(_without_empty(found))


def _added_up(weight: np.ndarray, user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Weights of one place as one, items of a row ascending; of weight 0 too."""
    matrix = sparse.csr_matrix(sparse.coo_matrix((weight, (user, item)), shape))
    matrix.sort_indices()
    return matrix


def _times(user: np.ndarray, item: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first time of each distinct pair, and the number of its distinct times; pairs sorted by user and item."""
    order = np.lexsort((seconds, item, user))
    user, item, seconds = user[order], item[order], seconds[order]
    is_first = np.diff(user, prepend=-1) != 0
    is_first |= np.diff(item, prepend=-1) != 0
    is_other = is_first | (np.diff(seconds, prepend=np.nan) != 0)  # than the row before: another pair, or another time
    begin = np.flatnonzero(is_first)
    return seconds[begin], np.add.reduceat(is_other, begin, dtype=np.int32)


def _checked(data: UserItems) -> UserItems:
    for ids, what in ((data.users, "user"), (data.items, "item")):
        if len(ids) < 2:
            raise ValueError(f"there is {len(ids)} {what} in all; a table of two {what}s or more is needed")
    if np.diff(data.matrix.indptr).max() < 2:
        raise ValueError("every user has one item, so nothing tells which items go together; take a longer period")
    return data


def _without_empty(data: UserItems) -> UserItems:
    """Without users and items that have no pair; the order of pairs stays."""
    of_user, of_item = np.diff(data.matrix.indptr) > 0, np.bincount(data.matrix.indices, minlength=len(data.items)) > 0
    if of_user.all() and of_item.all():
        return data
    matrix = sparse.csr_matrix(data.matrix[of_user][:, of_item])
    return replace(data, matrix=matrix, users=data.users[of_user], items=data.items[of_item])


def k_core(data: UserItems, users_of_item: int = 1, items_of_user: int = 1, rounds: int | None = None) -> UserItems:
    """Without items of few users and users of few items; `notes` tells the counts.

    Each round drops items first, then users. What one drop leaves may fall short of the other limit again, so by
    default rounds go on until nothing changes.

    Args:
        data: All pairs.
        users_of_item: Fewest users of an item.
        items_of_user: Fewest items of a user.
        rounds: Most rounds; 1 filters once each.

    Raises:
        ValueError: If too little is left.
    """
    found, done = data, 0
    if users_of_item <= 1 and items_of_user <= 1:  # as all data are
        return _checked(data)
    while rounds is None or done < rounds:
        before = len(found.users), len(found.items)
        _, item = found.pairs()
        found = _without_empty(found.kept((np.bincount(item, minlength=len(found.items)) >= users_of_item)[item]))
        user, _ = found.pairs()
        found = _without_empty(found.kept((np.bincount(user, minlength=len(found.users)) >= items_of_user)[user]))
        done += 1
        if before == (len(found.users), len(found.items)):
            break
    if not len(found.users):
        raise ValueError(f"no item has {users_of_item} users of {items_of_user} items; lower the limits")
    if found.matrix.nnz < data.matrix.nnz:
        note = (
            f"of items with {users_of_item} users or more and users with {items_of_user} items or more there are "
            f"{len(found.users):,} of {len(data.users):,} users, {len(found.items):,} of {len(data.items):,} items, "
            f"{found.matrix.nnz:,} of {data.matrix.nnz:,} pairs"
        )
        found = replace(found, notes=(*found.notes, note))
    return _checked(found)


def _of_ones(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
