"""`ludocast score` of a recommender on a table of pairs: every user's history gathered, then the best items for it.

A user's rows may be anywhere in the file: they are dealt into temporary files by a hash of the user, each small enough
to be gathered in memory.
"""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.cells import WHOLE
from ludocast.serve.batch.answered import Answered
from ludocast.serve.manifest import Manifest
from ludocast.serve.manifest_sequences import PairColumns
from ludocast.serve.recommend_names import HISTORY
from ludocast.serve.scorer import Scorer
from ludocast.serve.suggest_options import SuggestOptions

PART_BYTES = 64 << 20  # of the table in one temporary file
CHUNK_USERS = 4_096
RANK, SCORE = "rank", "score"
Chunks = Iterable[Mapping[str, Any]]


def reads_pairs(manifest: Manifest, names: list[str]) -> bool:
    """Whether a table of these columns is one of pairs to a bundle."""
    return manifest.pairs is not None and {manifest.pairs.user, manifest.pairs.item} <= set(names)


def reads_players(manifest: Manifest, names: list[str]) -> bool:
    """Whether a table of these columns is one of players without history, by attributes that the bundle knows."""
    pairs = manifest.pairs
    if pairs is None or pairs.user not in names or {pairs.item, HISTORY} & set(names):
        return False
    return any(item.column in names for item in manifest.attributes)


def score_pairs(
    scorer: Scorer,
    chunks: Chunks,
    size: int,
    options: SuggestOptions,
    players: Chunks,
    folder: Path,
    known: Callable[[int], Answered | None] | None,
) -> Iterator[tuple[int, bool, Answered]]:
    """Suggest items for every user of a table of pairs, and for every player of one of attributes.

    Args:
        scorer: Of a recommender.
        chunks: Of the pairs: columns by name, some rows at a time.
        size: Bytes of both tables, by which they are dealt.
        options: Of the suggestions of each user.
        players: Of the attributes, one row a player; those without pairs are answered too.
        folder: Of the temporary files; it is made and removed.
        known: Answers of an earlier run, by number.

    Yields:
        Number of some users, whether they were answered just now, and a table of the user, the item, `rank` from 1 and
        `score`.

    Raises:
        ValueError: If a player stands twice in the table of attributes.
    """
    pairs = scorer.manifest.pairs
    assert pairs is not None
    attributes = [item.column for item in scorer.manifest.attributes]
    parts = max(1, -(-size // PART_BYTES))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    number = count()
    try:
        dealt = _deal(chunks, pairs.user, [pairs.item], parts, folder, "pairs")
        told = _deal(players, pairs.user, attributes, parts, folder, "players")
        kinds = _kinds(dealt, told, pairs, scorer.manifest)
        for part in sorted({*dealt.files, *told.files}):
            asked = _asked(_table(dealt.files.get(part)), _Told.of(_table(told.files.get(part)), pairs.user), pairs)
            for (ids, columns), place in zip(asked, number, strict=False):
                earlier = None if known is None else known(place)
                if earlier is not None:
                    yield place, False, earlier
                    continue
                found = scorer.predict_columns(columns, options=options)
                own = _as_type(ids, kinds[0], pairs.user)
                table = _answers(own, found.labels, found.probabilities, (pairs.user, pairs.item), kinds)
                yield place, True, Answered(table, len(ids), found.notes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Dealt:
    """A table in files: part to file, the types of its columns, and whether ids that are texts are whole numbers."""

    files: Mapping[int, Path]
    types: Mapping[str, pa.DataType]
    is_whole: bool


def _kinds(known: _Dealt, told: _Dealt, pairs: PairColumns, manifest: Manifest) -> tuple[pa.DataType, pa.DataType]:
    """Types of users and items in the answer, those of the pairs where there are any."""
    types = {pairs.item: pa.string(), **told.types, **known.types}
    is_whole = all(re.match(WHOLE, item) for item in manifest.classes)
    return _kind(types[pairs.user], known.is_whole and told.is_whole), _kind(types[pairs.item], is_whole)


def _as_type(ids: pa.Array, kind: pa.DataType, user: str) -> pa.Array:
    try:
        return ids if ids.type == kind else ids.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f'column "{user}" is {kind} in the table of pairs, not in that of players: {error}') from error


def _table(file: Path | None) -> pa.Table | None:
    if file is None:
        return None
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).read_all()


@dataclass(frozen=True)
class _Told:
    """What is told of some players: their ids, as texts too, and their attributes."""

    ids: pa.Array
    texts: pa.Array
    attributes: pa.Table

    @staticmethod
    def of(table: pa.Table | None, user: str) -> _Told | None:
        if table is None:
            return None
        ids = table[user].combine_chunks()
        ids = ids if isinstance(ids, pa.Array) else pa.concat_arrays(ids.chunks)
        texts = ids.cast(pa.string())
        if len(pc.unique(texts)) < len(texts):
            counts = pc.value_counts(texts)
            twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py()
            raise ValueError(f'the table of players has "{user}" = "{twice}" twice; give one row each')
        return _Told(ids, texts, table.drop_columns([user]))

    def columns(self, rows: pa.Array) -> dict[str, pa.ChunkedArray]:
        """The attributes of these rows, nothing where a row is null."""
        return {name: self.attributes[name].take(rows) for name in self.attributes.column_names}


def _asked(pairs: pa.Table | None, told: _Told | None, names: PairColumns) -> Iterator[tuple[pa.Array, dict[str, Any]]]:
    """Ids of some users, and columns to be answered: first of users with pairs, then of the rest."""
    known = pa.array([], pa.string())
    if pairs is not None:
        known = pc.unique(pairs[names.user].cast(pa.string()))
        for ids, histories in _gathered(pairs, names.user, names.item):
            own = {} if told is None else told.columns(pc.index_in(ids.cast(pa.string()), told.texts))
            yield ids, {HISTORY: histories, **own}
    if told is None:
        return
    rest = pc.indices_nonzero(pc.invert(pc.is_in(told.texts, known)))
    for start in range(0, len(rest), CHUNK_USERS):
        rows = rest.slice(start, CHUNK_USERS)
        empty = pa.ListArray.from_arrays(pa.array(np.zeros(len(rows) + 1, np.int32)), pa.array([], pa.string()))
        yield told.ids.take(rows), {HISTORY: empty, **told.columns(rows)}


def _deal(chunks: Chunks, user: str, others: Sequence[str], parts: int, folder: Path, name: str) -> _Dealt:
    """Some columns in files by part, all rows of a user in one; rows without a user left out."""
    files: dict[int, Path] = {}
    types: dict[str, pa.DataType] = {user: pa.string()}
    is_whole = True
    with ExitStack() as stack:
        writers: dict[int, Any] = {}
        for columns in chunks:
            table = pa.table({user: columns[user], **{one: columns[one] for one in others if one in columns}})
            absent = pc.is_in(table[user].cast(pa.string()), pa.array(["", None], pa.string()))
            table = table.filter(pc.invert(absent))
            types = {one.name: one.type for one in table.schema}
            if is_whole and _is_text(table[user].type):
                is_whole = pc.all(pc.match_substring_regex(table[user], WHOLE)).as_py() is not False
            part = np.zeros(len(table), np.int64) if parts == 1 else _hash(table[user], parts)
            for number in np.unique(part).tolist():
                if number not in writers:
                    files[number] = folder / f"{name}{number}.arrow"
                    writers[number] = stack.enter_context(pa.ipc.new_file(str(files[number]), table.schema))
                writers[number].write_table(table.filter(pa.array(part == number)))
    return _Dealt(files, types if files else {}, is_whole)


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


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _kind(kind: pa.DataType, is_whole: bool) -> pa.DataType:
    """The type of ids in the answer: as training reads them, texts that are all whole numbers are numbers."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.int64() if is_whole and _is_text(kind) else kind


def _answers(
    ids: pa.Array, items: Any, scores: Any, names: tuple[str, str], kinds: tuple[pa.DataType, pa.DataType]
) -> pa.Table:
    """A row for each suggestion."""
    lists = items.tolist()
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    score = np.concatenate([np.zeros(0, np.float32), *(np.asarray(row, np.float32) for row in scores)])
    begin = np.cumsum(lengths) - lengths
    rank = np.arange(lengths.sum()) - np.repeat(begin, lengths) + 1
    user = ids.take(pa.array(np.repeat(np.arange(len(ids)), lengths)))
    item = pa.array([one for row in lists for one in row], pa.string())
    return pa.table(
        {
            names[0]: pc.cast(user, kinds[0]),
            names[1]: pc.cast(item, kinds[1]),
            RANK: pa.array(rank, pa.int32()),
            SCORE: pa.array(score),
        }
    )
