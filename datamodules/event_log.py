"""A log of events (player, time, event, numbers) as one sequence a player, in the order of time."""

# R rows of the log, T events kept, P players, D numbers

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from ludocast.datamodules.cells import CellError, column_values
from ludocast.datamodules.ragged import flat_positions, offsets_of
from ludocast.datamodules.read import from_frame, read_table
from ludocast.datamodules.schema import MISSING_TOKENS

NO_EVENT = "event"  # the one name in a log without a column of names


@dataclass(frozen=True)
class EventLog:
    """Events of each player in the order of time; two at one time in the order of the file.

    Attributes:
        players: Names, objects [P], in the order in which the file first has them.
        offsets: Where the events of each player begin, int64 [P + 1].
        times: Seconds since 1970 in UTC, float64 [T].
        codes: Which of `events` each one is, int32 [T].
        events: Distinct names, objects; "" stands where the file names none.
        numbers: float32 [T, D], NaN where missing.
    """

    players: np.ndarray
    offsets: np.ndarray
    times: np.ndarray
    codes: np.ndarray
    events: np.ndarray
    numbers: np.ndarray

    def __len__(self) -> int:
        """Number of players."""
        return len(self.players)

    def tokens(self) -> pa.DictionaryArray:
        """The events' names, null where there is none; Arrow texts [T], dictionary-encoded."""
        names = pa.array([name if name else None for name in self.events], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(self.codes), names)

    def of_players(self, players: Sequence[str] | np.ndarray) -> EventLog:
        """The log of these players, in this order; one without events has an empty sequence."""
        place = pd.Index(self.players).get_indexer(pd.Index(np.asarray(players, object)))
        begin = np.where(place < 0, 0, self.offsets[place])
        end = np.where(place < 0, 0, self.offsets[place + 1])
        kept = flat_positions(begin, end)
        return EventLog(
            np.asarray(players, object),
            offsets_of(end - begin),
            self.times[kept],
            self.codes[kept],
            self.events,
            self.numbers[kept],
        )


def read_event_log(
    source: str | Path | pd.DataFrame | pa.Table,
    player: str,
    time: str,
    event: str | None = None,
    numbers: Sequence[str] = (),
    encoding: str = "utf-8",
    missing: Sequence[str] = MISSING_TOKENS,
) -> EventLog:
    """Read a log.

    A row whose player or time is missing has no place in any sequence: it is left out, and a warning tells how many.
    A time that cannot be read at all is refused, as a wrong column or format would otherwise empty the log unseen.
    Rows in another order than that of time are sorted, and a warning tells how often time went backwards.

    Args:
        source: CSV or Parquet file, or a table in memory.
        player: Column of the player's name.
        time: Column of the time: ISO 8601 (UTC where it names no zone), date, or seconds since 1970.
        event: Column of the event's name; None for a log of one kind of event.
        numbers: Columns of numbers.
        encoding: Of a CSV file.
        missing: Texts that mean "missing".

    Raises:
        ValueError: If a column is not there, a cell cannot be read, or no row is left.
    """
    table = _table(source, encoding)
    tokens = frozenset(missing)
    for name in (player, time, *([event] if event is not None else []), *numbers):
        if name not in table.column_names:
            raise ValueError(f'the log has no column "{name}"; it has {", ".join(table.column_names)}')
    owner, players = text_codes(table, player, tokens)
    seconds, codes, events, matrix = event_values(table, time, event, numbers, tokens)
    kept = _complete(players[owner] == "", np.isnan(seconds), player, time)
    owner, players = _present(owner[kept], players)
    order = _order(owner, seconds[kept])
    rows = kept[order]
    counts = np.bincount(owner, minlength=len(players))
    return EventLog(players, offsets_of(counts), seconds[rows], codes[rows], events, matrix[rows])


def event_values(
    table: pa.Table, time: str, event: str | None, numbers: Sequence[str], missing: frozenset[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times, codes, names and numbers of events, as an `EventLog` has them, in the order of the table.

    Raises:
        ValueError: If a cell cannot be read.
    """
    seconds = _column(table, time, "timestamp", missing)
    if event is None:
        codes, events = np.zeros(table.num_rows, np.int64), np.array([NO_EVENT], object)
    else:
        codes, events = text_codes(table, event, missing)
    values = [_column(table, name, "number", missing) for name in numbers]
    matrix = np.stack(values, axis=1) if values else np.zeros((table.num_rows, 0), np.float32)
    return seconds, codes.astype(np.int32), events, matrix


def _table(source: str | Path | pd.DataFrame | pa.Table, encoding: str) -> pa.Table:
    if isinstance(source, pd.DataFrame):
        return from_frame(source)
    return source if isinstance(source, pa.Table) else read_table(source, encoding)


def _column(table: pa.Table, name: str, kind: str, missing: frozenset[str]) -> np.ndarray:
    try:
        return column_values(table[name], kind, missing).values
    except CellError as error:
        raise _at_row(name, error, error.row) from None


def _at_row(name: str, error: CellError, row: int | None) -> ValueError:
    where = "" if row is None else f"row {row + 1}, "
    return ValueError(f'{where}column "{name}": {error}; mend it, name the right column, or leave the cell empty')


def text_codes(table: pa.Table, name: str, missing: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which distinct text each row has, int64 [R], and the texts, objects; "" is missing, and always one of them."""
    try:
        chunks = table[name].dictionary_encode().unify_dictionaries().chunks
    except pa.ArrowNotImplementedError as error:
        raise ValueError(f'column "{name}" holds {table[name].type}, a name is text or a number') from error
    indices = np.concatenate(
        [chunk.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
        or [np.zeros(0, np.int64)]
    )
    try:
        texts = column_values(chunks[0].dictionary, "category", missing).values if chunks else np.zeros(0, object)
    except CellError as error:
        raise _at_row(name, error, int(np.flatnonzero(indices == error.row)[0])) from None
    # 1 and 1.0 are two values of Arrow and one text; the "" at the end is where −1, a null, points to.
    code_of_value, names = pd.factorize(np.append(texts, "").astype(object))
    return code_of_value[indices].astype(np.int64), np.asarray(names, object)


def _complete(without_player: np.ndarray, without_time: np.ndarray, player: str, time: str) -> np.ndarray:
    """The rows that have both, int64 [R]."""
    kept = np.flatnonzero(~(without_player | without_time))
    dropped = len(without_time) - len(kept)
    if not len(kept):
        raise ValueError(f'no row of the log has both a "{player}" and a "{time}"; are these the right columns?')
    if dropped:
        warnings.warn(
            f"{dropped:,} of {len(without_time):,} rows of the log are left out: {int(without_time.sum()):,} have no "
            f'"{time}", {int(without_player.sum()):,} no "{player}"',
            stacklevel=3,
        )
    return kept


def _present(owner: np.ndarray, players: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The players that have a row, in the order of their first one, and each row's owner among them."""
    code, index = pd.factorize(owner)
    return code.astype(np.int64), players[np.asarray(index)]


def _order(owner: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Rows by player, then time, then place in the file."""
    order = np.argsort(owner, kind="stable")
    backwards = int(((np.diff(times[order]) < 0) & (np.diff(owner[order]) == 0)).sum())
    if not backwards:
        return order
    warnings.warn(
        f"time goes backwards at {backwards:,} rows of a player; the events were sorted by time", stacklevel=3
    )
    return np.lexsort((times, owner))
