"""`ludocast score` of a recommender on a table of pairs: every user's history gathered, then the best items for it.

A user's rows may be anywhere in the file: they are dealt into temporary files by a hash of the user, each small enough
to be gathered in memory.
"""

from __future__ import annotations

import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.serve.manifest import Manifest
from ludocast.serve.notes import Note
from ludocast.serve.recommend_names import HISTORY
from ludocast.serve.scorer import Scorer
from ludocast.serve.suggest_options import SuggestOptions

PART_BYTES = 64 << 20  # of the table in one temporary file
CHUNK_USERS = 4_096
RANK, SCORE = "rank", "score"


def reads_pairs(manifest: Manifest, names: list[str]) -> bool:
    """Whether a table of these columns is one of pairs to a bundle."""
    return manifest.pairs is not None and {manifest.pairs.user, manifest.pairs.item} <= set(names)


def score_pairs(
    scorer: Scorer,
    chunks: Iterator[Mapping[str, Any]],
    size: int,
    options: SuggestOptions,
    write: Callable[[pa.Table], None],
) -> tuple[int, Counter[Note]]:
    """Suggest items for every user of a table.

    Args:
        scorer: Of a recommender.
        chunks: Columns by name, some rows at a time.
        size: Bytes of the table, by which it is dealt.
        options: Of the suggestions of each user.
        write: Takes tables of the user, the item, `rank` from 1 and `score`.

    Returns:
        Number of users, and what was ignored, how often.

    """
    pairs = scorer.manifest.pairs
    assert pairs is not None
    users, notes = 0, Counter[Note]()
    with tempfile.TemporaryDirectory(prefix="ludocast") as folder:
        files = _deal(chunks, pairs.user, pairs.item, max(1, -(-size // PART_BYTES)), Path(folder))
        for file in files:
            with pa.memory_map(str(file)) as source:
                table = pa.ipc.open_file(source).read_all()
            for ids, histories in _gathered(table, pairs.user, pairs.item):
                found = scorer.predict_columns({HISTORY: histories}, options=options)
                write(_answers(ids, found.labels, found.probabilities, table.schema, pairs.item))
                users += len(ids)
                notes.update(found.notes)
    return users, notes


def _deal(chunks: Iterator[Mapping[str, Any]], user: str, item: str, parts: int, folder: Path) -> list[Path]:
    """The pairs in files, all of a user in one; rows without a user left out."""
    files = [folder / f"{part}.arrow" for part in range(parts)]
    with ExitStack() as stack:
        writers: dict[int, Any] = {}
        for columns in chunks:
            table = pa.table({user: columns[user], item: columns[item]})
            absent = pc.is_in(table[user].cast(pa.string()), pa.array(["", None], pa.string()))
            table = table.filter(pc.invert(absent))
            part = np.zeros(len(table), np.int64) if parts == 1 else _hash(table[user], parts)
            for number in np.unique(part).tolist():
                if number not in writers:
                    writers[number] = stack.enter_context(pa.ipc.new_file(str(files[number]), table.schema))
                writers[number].write_table(table.filter(pa.array(part == number)))
    return [file for file in files if file.exists()]


def _hash(column: pa.ChunkedArray, parts: int) -> np.ndarray[Any, Any]:
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    of_id = np.fromiter((zlib.crc32(text.encode()) % parts for text in encoded.dictionary.to_pylist()), np.int64)
    return np.asarray(of_id[encoded.indices.to_numpy()])


def _gathered(table: pa.Table, user: str, item: str) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Some users in the order of their first rows, and the history of each, a list of texts."""
    encoded = table[user].combine_chunks().dictionary_encode()
    code = encoded.indices.to_numpy()
    items = table[item].cast(pa.string()).combine_chunks().take(pa.array(np.argsort(code, kind="stable")))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(code, minlength=len(encoded.dictionary)))])
    for start in range(0, len(encoded.dictionary), CHUNK_USERS):
        own = offsets[start : start + CHUNK_USERS + 1]
        values = items.slice(own[0], own[-1] - own[0])
        lists = pa.ListArray.from_arrays(pa.array((own - own[0]).astype(np.int32)), values)
        yield encoded.dictionary.slice(start, len(own) - 1), lists


def _answers(ids: pa.Array, items: Any, scores: Any, schema: pa.Schema, item: str) -> pa.Table:
    """A row for each suggestion; items are of the type that the table has."""
    lists = items.tolist()
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    if not lengths.sum():
        flat, score = [], np.zeros(0, np.float32)
    else:
        flat = [one for row in lists for one in row]
        score = np.concatenate([np.asarray(row, np.float32) for row in scores])
    begin = np.cumsum(lengths) - lengths
    rank = np.arange(lengths.sum()) - np.repeat(begin, lengths) + 1
    names = [name for name in schema.names if name != item]
    kind = schema.field(item).type
    column = pa.array(flat, pa.string())
    return pa.table(
        {
            names[0]: ids.take(pa.array(np.repeat(np.arange(len(ids)), lengths))),
            item: pc.cast(column, kind) if not pa.types.is_dictionary(kind) else column,
            RANK: pa.array(rank, pa.int32()),
            SCORE: pa.array(score),
        }
    )
