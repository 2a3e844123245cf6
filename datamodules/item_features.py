"""What a catalogue says of items as vectors: words of names and texts, values of categories and lists, numbers."""

# I items, F features, R rows of the table

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
from ludocast.datamodules.attributes import AttributeTable
from ludocast.datamodules.cells import python_values
from ludocast.datamodules.fit_preprocessing import fit_unlabelled
from ludocast.datamodules.infer import describe, infer_columns, raw_columns
from ludocast.datamodules.schema import MISSING_TOKENS, Schema
from scipy import sparse

WORD = re.compile(r"\w+")
MOST_WORDS = 3_000  # of a column, the most frequent ones
NUMBER_WEIGHT = 0.5  # of a scaled number beside a text of length 1


def item_features(attributes: AttributeTable, known: np.ndarray) -> tuple[sparse.csr_matrix, tuple[str, ...]]:
    """Vectors whose inner product is high where items are alike.

    Texts and lists are bags of words, each word weighted by log(I / items that have it) and each column's bag scaled to
    length 1; two words that stand side by side count as one more. Numbers and times are on their quantile-normal scale.
    Words that one item alone has tell nothing of another and are left out.

    Args:
        attributes: Of the catalogue.
        known: Rows to fit weights and scales on, int64.

    Returns:
        CSR float64 [R, F], and a sentence for each column that is left out.

    Raises:
        ValueError: If no column tells items apart.
    """
    lists = [field.name for field in attributes.table.schema if pa.types.is_nested(field.type)]
    found, told = infer_columns(attributes.table.drop_columns(lists), (), frozenset(MISSING_TOKENS))
    texts = [*lists, *(column.name for column in found if column.kind in ("category", "boolean", "id"))]
    # A column of whole numbers that count the rows names items as an id does, but has no words.
    texts = [name for name in texts if not _is_numeric(attributes.table[name].type)]
    scaled = tuple(column for column in found if column.kind in ("number", "timestamp"))
    parts = [_bags(_words(attributes.table[name]), known) for name in texts]
    if scaled:
        schema = Schema(scaled, "", (), None)
        columns, _ = raw_columns(attributes.table, schema)
        fitted = fit_unlabelled(describe(schema, columns, known), {name: x[known] for name, x in columns.items()})
        parts.append(sparse.csr_matrix(fitted.encode(columns).numbers.astype(np.float64) * NUMBER_WEIGHT))
    if not parts:
        raise ValueError(f"{attributes.where} has no column that tells one item from another")
    features = sparse.csr_matrix(sparse.hstack(parts))
    warnings = tuple(f"{attributes.where}: {one}" for one in told if not any(f'"{name}"' in one for name in texts))
    return features, warnings


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _words(column: pa.ChunkedArray) -> list[list[str]]:
    """The words of each cell and its pairs of neighbouring words, in lower case, each once."""
    found = []
    for cell in python_values(column):
        values = cell if isinstance(cell, list) else [cell]
        words: dict[str, None] = {}
        for value in values:
            text = "" if value is None else str(value).strip()
            if text in MISSING_TOKENS:
                continue
            own = WORD.findall(text.lower())
            words |= dict.fromkeys([*own, *map(" ".join, pairwise(own))])
        found.append(list(words))
    return found


def _bags(words: list[list[str]], known: np.ndarray) -> sparse.csr_matrix:
    """Bags of the words that two known rows have or more, weighted and of length 1."""
    count = Counter(word for row in known.tolist() for word in words[row])
    shared = sorted((word for word, rows in count.items() if rows >= 2), key=lambda word: (-count[word], word))
    kept = shared[:MOST_WORDS]
    column = {word: k for k, word in enumerate(kept)}
    weight = np.log((1 + len(known)) / np.array([count[word] for word in kept], np.float64))
    row = [k for k, own in enumerate(words) for word in own if word in column]
    place = np.array([column[word] for own in words for word in own if word in column], np.int64)
    bags = sparse.csr_matrix((weight[place], (row, place)), shape=(len(words), len(kept)))
    length = np.sqrt(np.asarray(bags.multiply(bags).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1 / np.where(length > 0, length, 1)) @ bags)
