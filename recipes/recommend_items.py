"""The table of items that `ludocast train recommend` may be given: their names, their categories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ludocast.datamodules.read import read_table
from ludocast.datamodules.user_items import UserItems


@dataclass(frozen=True)
class ItemTable:
    """What is known of the items, in the order of the data.

    Attributes:
        names: What a report calls them; their ids where there is no name.
        categories: Objects [I], None where an item has none; None where no column was named.
        notes: What to tell of it.
    """

    names: list[str]
    categories: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def read_items(
    data: UserItems,
    item: str,
    path: Path | None,
    name: str | None = None,
    category: str | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> ItemTable:
    """Read the table of items.

    Args:
        data: Whose items are asked about.
        item: Column of ids.
        path: CSV or Parquet file; None for none.
        name: Column of names.
        category: Column of categories.
        encoding: Of a CSV file.
        delimiter: Of a CSV file; found by itself when None.

    Raises:
        ValueError: If a column is absent, or there is no table for it.
    """
    ids = [str(one) for one in data.items.tolist()]
    if path is None:
        if name is not None or category is not None:
            raise ValueError("--item-name and --item-category are columns of a table of items; name it with --items")
        return ItemTable(ids)
    table = read_table(path, encoding, delimiter)
    named = {"--item-name": name, "--item-category": category}
    wanted = [item, *(column for column in named.values() if column is not None)]
    if set(wanted) - set(table.column_names):
        what = "".join(f" and {option}" for option, column in named.items() if column is not None)
        have = ", ".join(table.column_names[:10])
        raise ValueError(f'{path} needs the columns "{item}"{what}; it has {have}')
    keys = [str(one) for one in table[item].to_pylist()]

    def told(column: str) -> dict[str, str]:
        values = (None if one is None else str(one) for one in table[column].to_pylist())
        return {key: value for key, value in zip(keys, values, strict=True) if value}

    names = ids if name is None else [told(name).get(one, one) for one in ids]
    if category is None:
        return ItemTable(names)
    of = told(category)
    categories = np.array([*(of.get(one) for one in ids), None], object)[:-1]
    without = sum(one is None for one in categories.tolist())
    note = f"{without:,} of {len(ids):,} items have no category, so no category filter shows them"
    return ItemTable(names, categories, (note,) if without else ())
