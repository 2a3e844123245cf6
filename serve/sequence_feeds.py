"""From rows or columns of lists to the model's padded tensors: sorted by time, cut to what is known, batched by length.

What a list holds is read as a column of tables is: `serve.feeds` has the meaning of a cell.
"""

# N rows, S steps of all of them, T steps of a batch's longest row

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ludocast.datamodules.cells import CellError
from ludocast.serve.feeds import RowError, check_columns, refused_cell, refused_rows, uneven_columns
from ludocast.serve.manifest import Input, Manifest
from ludocast.serve.manifest_sequences import SequenceInputs
from ludocast.serve.notes import Note, about_rows, about_steps
from ludocast.serve.ragged import RaggedValues, flat_values, ragged_values
from ludocast.serve.suggest_options import OPTIONS

DAY = 86_400.0  # seconds
BATCH_STEPS = 65_536  # steps of a batch, padding among them: its memory
BATCH_ROWS = 128  # with more, rows of one batch differ more in length; docs/figures.md
SHOWN_UNKNOWN = 5
NO_STEP = about_rows("no step to go by")
Tensors = dict[str, np.ndarray[Any, Any]]


@dataclass
class SequenceFeeds:
    """Sequences of N rows, end to end.

    Attributes:
        steps: Tensor name to [S + 1]: float32 and float64 (NaN is missing) or objects of str ("" is missing); the last
            one is what stands at padding.
        begin: First step of each row, int64 [N].
        lengths: Steps of each row, int64 [N].
        cells: Tensor name to [N, 1], what a row has once.
        length: Tensor name of the lengths.
        overflowed: Column to how many of its numbers were infinite or too large, and count as missing.
        unknown: Columns that the model does not read.
        notes: What was sorted or left out, and how often.
    """

    steps: Tensors
    begin: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]
    cells: Tensors
    length: str
    overflowed: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    notes: dict[Note, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """N."""
        return len(self.lengths)

    def batches(self) -> Iterator[tuple[np.ndarray[Any, Any], Tensors]]:
        """Row numbers and tensors of a batch, rows of about one length together, so that padding is little."""
        order = np.argsort(self.lengths, kind="stable")
        while len(order):
            rows = order[:BATCH_ROWS]
            size = np.arange(1, len(rows) + 1) * self.lengths[rows]
            count = max(1, int(np.searchsorted(size, BATCH_STEPS, side="right")))
            yield rows[:count], self._padded(rows[:count])
            order = order[count:]

    def _padded(self, rows: np.ndarray[Any, Any]) -> Tensors:
        lengths = self.lengths[rows]
        place = np.arange(max(1, int(lengths.max())))
        is_real = place < lengths[:, None]
        position = np.where(is_real, self.begin[rows][:, None] + place, -1)
        tensors: Tensors = {self.length: lengths}
        tensors |= {name: values[position] for name, values in self.steps.items()}
        return tensors | {name: values[rows] for name, values in self.cells.items()}


class SequenceReader:
    """Reads rows of lists for the inputs of one model.

    Args:
        manifest: Of a bundle of sequences.

    Raises:
        ValueError: If the bundle is none of sequences.
    """

    def __init__(self, manifest: Manifest) -> None:
        if manifest.sequence is None:
            raise ValueError("this bundle reads no sequences")
        self.inputs = manifest.inputs
        self.missing = frozenset(manifest.missing_tokens)
        self.sequence: SequenceInputs = manifest.sequence
        self.must_be_whole = manifest.task == "tags"
        self._catalogue = frozenset(manifest.classes) if manifest.task == "items" else None
        self._columns = frozenset(item.column for item in self.inputs)
        self._options = frozenset(OPTIONS if manifest.task == "items" else ())  # `serve.suggest` reads them
        self._lists = [item for item in self.inputs if item.form != "cell"]
        self._cells = [item for item in self.inputs if item.form == "cell"]
        self._optional = frozenset(item.column for item in manifest.attributes)
        self._required = [item for item in self.inputs if item.column not in self._optional]
        self._tensors = {item.column: item.tensor for item in self.inputs}

    def from_rows(self, rows: Sequence[Mapping[str, object]]) -> SequenceFeeds:
        """Sequences of records, each with a list for every list column (null where there is nothing).

        Raises:
            ValueError: With row and column, if a cell is absent or does not fit.
        """
        try:
            columns = {item.column: [row[item.column] for row in rows] for item in self._required}
        except (KeyError, TypeError, IndexError):
            raise refused_rows(self._required, rows) from None
        if not all(isinstance(row, Mapping) for row in rows):
            raise refused_rows(self._required, rows)
        for name in self._optional:
            columns[name] = [row.get(name) for row in rows]
        feeds = self._read(columns, 0, has_names=True)
        names = dict.fromkeys(name for row in rows for name in row)
        feeds.unknown = [name for name in names if name not in columns and name not in self._options]
        return feeds

    def from_columns(self, columns: Mapping[str, Any], first_row: int = 0) -> SequenceFeeds:
        """Sequences of columns: Arrow arrays of lists, or lists of lists, all of one length.

        Args:
            columns: Column name to its cells.
            first_row: Number of rows before these, for the row in an error.

        Raises:
            ValueError: If a column is absent, or with row and column if a cell does not fit.
        """
        return self._read(columns, first_row, has_names=False)

    def _read(self, columns: Mapping[str, Any], first_row: int, has_names: bool) -> SequenceFeeds:
        """The same; with names of unknown items in its notes, which then add up over no file."""
        self.check_columns(list(columns))
        absent = self._optional - set(columns)
        if absent:
            rows = len(columns[self._lists[0].column])
            columns = {**columns, **{name: [None] * rows for name in absent}}
        overflowed: dict[str, int] = {}
        cells = {
            item.column: self._cell_column(columns[item.column], item, first_row, overflowed) for item in self._cells
        }
        steps: Tensors = {}
        lengths: np.ndarray[Any, Any] | None = None
        for item in self._lists:
            found = self._list_column(columns[item.column], item, first_row)
            if lengths is None:
                lengths = found.lengths
            else:
                self._check_lengths(found.lengths, lengths, item, first_row)
            steps[item.column] = found.values
            if found.overflowed:
                overflowed[item.column] = found.overflowed
        assert lengths is not None  # a manifest has one list or more
        for name, values in cells.items():
            if len(values) != len(lengths):
                raise uneven_columns(name, len(values), self._lists[0].column, len(lengths))
        feeds = self._known(steps, lengths, cells, first_row)
        if self._catalogue is not None:
            names, known = steps[self._lists[0].column].tolist(), self._catalogue
            feeds.notes |= unknown_items([name for name in names if name and name not in known], has_names)
        feeds.overflowed, feeds.unknown = overflowed, [name for name in columns if name not in self._columns]
        return feeds

    def check_columns(self, names: Sequence[object]) -> None:
        """Refuse a table without one of the columns.

        Raises:
            ValueError: With the nearest name there is.
        """
        check_columns(self._required, names)

    def _cell_column(
        self, values: Any, item: Input, first_row: int, overflowed: dict[str, int]
    ) -> np.ndarray[Any, Any]:
        try:
            column = flat_values(values, item.kind, self.missing)
        except CellError as error:
            raise refused_cell(item, error, first_row) from None
        found: np.ndarray[Any, Any] = column.values
        if column.overflowed:
            overflowed[item.column] = column.overflowed
        if item.column == self.sequence.now and np.isnan(found).any():
            row = first_row + int(np.flatnonzero(np.isnan(found))[0]) + 1
            raise RowError(row, item.column, "no time; give the moment that is asked about")
        return found

    def _list_column(self, values: Any, item: Input, first_row: int) -> RaggedValues:
        try:
            return ragged_values(values, item, self.missing, self.sequence.line_end)
        except CellError as error:
            raise refused_cell(item, error, first_row) from None

    def _check_lengths(
        self, found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], item: Input, first_row: int
    ) -> None:
        first = self._lists[0].column
        if len(found) != len(wanted):
            raise uneven_columns(item.column, len(found), first, len(wanted))
        wrong = np.flatnonzero(found != wanted)
        if len(wrong):
            row = int(wrong[0])
            raise RowError(
                first_row + row + 1,
                "",
                f'column "{item.column}" has {found[row]} values and column "{first}" {wanted[row]}; give one of each '
                "a step, null where one is missing",
            )

    def _known(self, steps: Tensors, lengths: np.ndarray[Any, Any], cells: Tensors, first_row: int) -> SequenceFeeds:
        """The steps that belong to the sequences, in order."""
        notes: dict[Note, int] = {}
        sequence = self.sequence
        if sequence.time is not None:
            now = cells[sequence.now] if sequence.now is not None else None
            steps, lengths = _sorted(*_timely(steps, lengths, now, sequence, notes), sequence.time, notes)
            _tell_of_absent(steps, lengths, now, sequence, notes)
        elif not self.must_be_whole and self._catalogue is None and not lengths.all():
            notes[NO_STEP] = int((lengths == 0).sum())
        if self._catalogue is not None and (lengths > sequence.longest).any():
            steps, lengths = _distinct(steps, lengths, sequence.longest, self._catalogue)
        end = np.cumsum(lengths)
        longer = lengths > sequence.longest
        if longer.any() and self.must_be_whole:
            row = int(np.flatnonzero(longer)[0])
            raise RowError(
                first_row + row + 1,
                self._lists[0].column,
                f"{lengths[row]:,} steps; at most {sequence.longest:,} are read at once, so cut it",
            )
        if longer.any():
            which = f"more than {sequence.longest:,} steps, of which the last were read"
            notes[about_rows(which)] = int(longer.sum())
            lengths = np.minimum(lengths, sequence.longest)
        return SequenceFeeds(
            {self._tensors[column]: _with_padding(values) for column, values in steps.items()},
            end - lengths,
            lengths,
            {self._tensors[column]: values.reshape(-1, 1) for column, values in cells.items()},
            sequence.length,
            notes=notes,
        )


def unknown_items(names: Sequence[str], has_names: bool, where: str = "") -> dict[Note, int]:
    """A note of items that training has never seen; they count nothing.

    Args:
        names: As often as they were met.
        has_names: Whether the note names some; then it adds up over no file.
        where: What stands before.
    """
    some = list(dict.fromkeys(names))
    shown = ", ".join(f'"{name}"' for name in some[:SHOWN_UNKNOWN]) + (", …" if len(some) > SHOWN_UNKNOWN else "")
    which = f" ({shown})" if has_names else ""
    return {Note(f"{where}ignored what the catalogue has not{which}: ", "item", "items"): len(names)} if some else {}


def _distinct(
    steps: Tensors, lengths: np.ndarray[Any, Any], longest: int, catalogue: frozenset[str]
) -> tuple[Tensors, np.ndarray[Any, Any]]:
    """Of longer histories the known items once each, so that none of these is cut off as long as there is room."""
    (column, values), *_ = steps.items()
    found, sizes, end = [], lengths.copy(), np.cumsum(lengths)
    for row, length in enumerate(lengths.tolist()):
        own = values[end[row] - length : end[row]].tolist()
        if length > longest:
            own = [name for name in dict.fromkeys(own) if name in catalogue]
            sizes[row] = len(own)
        found += own
    return {column: np.array([*found, None], object)[:-1]}, sizes


def _with_padding(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.append(values, np.array([""], object) if values.dtype == object else np.zeros(1, values.dtype))


def _timely(
    steps: Tensors,
    lengths: np.ndarray[Any, Any],
    now: np.ndarray[Any, Any] | None,
    sequence: SequenceInputs,
    notes: dict[Note, int],
) -> tuple[Tensors, np.ndarray[Any, Any]]:
    """Without the steps that have no time, lie behind the moment of the question, or before what is observed."""
    assert sequence.time is not None
    time = steps[sequence.time]
    kept = ~np.isnan(time)
    if not kept.all():
        notes[about_steps(sequence.time, "without a time", "left out")] = int((~kept).sum())
    if now is not None:
        at = np.repeat(now, lengths)
        later = time >= at
        if later.any():
            notes[about_steps(sequence.time, f'not before "{sequence.now}"', "left out")] = int(later.sum())
        kept &= ~later
        if sequence.observe is not None:
            kept &= ~(time < at - sequence.observe * DAY)
    if kept.all():
        return steps, lengths
    before = np.concatenate([[0], np.cumsum(kept)])
    end = np.cumsum(lengths)
    return {name: values[kept] for name, values in steps.items()}, before[end] - before[end - lengths]


def _sorted(
    steps: Tensors, lengths: np.ndarray[Any, Any], time: str, notes: dict[Note, int]
) -> tuple[Tensors, np.ndarray[Any, Any]]:
    """Each row's steps by time; two at one time stay in the order of the list."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    backwards = int(((np.diff(steps[time]) < 0) & (np.diff(row) == 0)).sum())
    if not backwards:
        return steps, lengths
    where = f'column "{time}": time goes backwards at '
    notes[Note(where, "step; they were sorted by time", "steps; they were sorted by time")] = backwards
    order = np.lexsort((steps[time], row))
    return {name: values[order] for name, values in steps.items()}, lengths


def _tell_of_absent(
    steps: Tensors,
    lengths: np.ndarray[Any, Any],
    now: np.ndarray[Any, Any] | None,
    sequence: SequenceInputs,
    notes: dict[Note, int],
) -> None:
    """Rows such as training never asked about."""
    assert sequence.time is not None
    empty = int((lengths == 0).sum())
    if now is None or sequence.active_within is None:
        if empty:
            notes[NO_STEP] = empty
        return
    end = np.cumsum(lengths)
    last = np.full(len(lengths), -np.inf)
    last[lengths > 0] = steps[sequence.time][end[lengths > 0] - 1]
    absent = int((last < now - sequence.active_within * DAY).sum())
    if absent:
        which = (
            f'no step in the {sequence.active_within:g} days before "{sequence.now}"; training asked about none such'
        )
        notes[about_rows(f"{which}, so this is a guess", f"{which}, so these are guesses")] = absent
