"""What a recommender's bundle knows of its items beside the graph: their categories, and vectors that tell likeness."""

# I items, D numbers of a vector

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CATALOGUE_FILE = "catalogue.parquet"
ITEM, CATEGORY, VECTOR = "item", "category", "vector"
SHOWN = 10


@dataclass(frozen=True)
class Catalogue:
    """Items in the graph's order.

    Attributes:
        items: Texts of the ids, [I].
        categories: Of each item, None where there is none, objects [I]; None where training was given no column.
        vectors: float32 [I, D], each of length 1 or all 0; None where there are none.
    """

    items: Sequence[str]
    categories: np.ndarray[Any, Any] | None = None
    vectors: np.ndarray[Any, Any] | None = None

    @staticmethod
    def load(folder: Path, items: Sequence[str]) -> Catalogue:
        """Of a bundle whose hashes were found right; an older one has items alone.

        Raises:
            ValueError: If it lists other items.
        """
        path = folder / CATALOGUE_FILE
        if not path.is_file():
            return Catalogue(items)
        table = pq.read_table(path)
        if table[ITEM].to_pylist() != list(items):
            raise ValueError(f"bundle {folder}: {CATALOGUE_FILE} lists other items than bundle.json; train again")
        categories, vectors = None, None
        if CATEGORY in table.column_names:
            categories = np.array([*table[CATEGORY].to_pylist(), None], object)[:-1]
        if VECTOR in table.column_names:
            flat = table[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            vectors = flat.astype(np.float32).reshape(len(items), -1)
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
        return Catalogue(items, categories, vectors)

    def to_bytes(self) -> bytes:
        """The file's content; vectors at half precision."""
        columns: dict[str, Any] = {ITEM: pa.array(list(self.items), pa.string())}
        if self.categories is not None:
            columns[CATEGORY] = pa.array(self.categories.tolist(), pa.string())
        if self.vectors is not None:
            flat = pa.array(self.vectors.astype(np.float16).ravel())
            columns[VECTOR] = pa.FixedSizeListArray.from_arrays(flat, self.vectors.shape[1])
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        return sink.getvalue()

    def of_category(self, values: Sequence[str]) -> np.ndarray[Any, Any]:
        """Whether an item is of one of these categories, bool [I].

        Raises:
            ValueError: If there are no categories, or none of that name.
        """
        if self.categories is None:
            raise ValueError('"category": this model knows none; train with --items and --item-category')
        known, number = self._numbered
        for value in values:
            if value not in known:
                some = ", ".join(list(known)[:SHOWN]) + (", …" if len(known) > SHOWN else "")
                raise ValueError(f'"category": no item is of "{value}"; there are {some}')
        is_wanted = np.zeros(len(known) + 1, bool)  # the last one is that of no category
        is_wanted[[known[value] for value in values]] = True
        found: np.ndarray[Any, Any] = is_wanted[number]
        return found

    @cached_property
    def _numbered(self) -> tuple[dict[str, int], np.ndarray[Any, Any]]:
        """A number of each category, and that of each item's, int64 [I]."""
        categories = self.categories.tolist() if self.categories is not None else []
        known = {name: place for place, name in enumerate(sorted({one for one in categories if one is not None}))}
        return known, np.array([known.get(one, len(known)) for one in categories], np.int64)
