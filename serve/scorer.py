"""Scoring in the process: rows, columns, an Arrow table or a pandas frame in, labels and probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from ludocast.datamodules.feature_state import Definition
from ludocast.serve.bundle import Bundle
from ludocast.serve.feeds import BATCH_ROWS, Feeds
from ludocast.serve.manifest import Manifest
from ludocast.serve.notes import Note, overflow, sentences
from ludocast.serve.raw_events import EVENTS, EventReader, event_reader
from ludocast.serve.run import Run, run_feeds
from ludocast.serve.sequence_feeds import SequenceFeeds
from ludocast.serve.suggest import Suggester
from ludocast.serve.suggest_options import SuggestOptions, options_of_records

_SHOWN_COLUMNS = 5


@dataclass(frozen=True)
class Predictions:
    """Answers for N rows.

    Attributes:
        labels: Objects [N] of str, by the bundle's threshold. Of a task whose answers are lists, each a list of str;
            where they are numbers, these, float32 [N]; of several labels whether a row has each, bool [N, labels].
        probabilities: float32 [N, classes], in the order of the bundle's classes. Of lists objects [N], each float32
            with one a label; of numbers their lower and upper bounds, float32 [N, 2].
        ignored: Columns that the model does not read.
        notes: What was sorted, left out or taken as missing, and how often.
        because: Of records to a recommender the items of the history that speak most for each suggestion.
        feeds: What the model was given.
    """

    labels: np.ndarray[Any, Any]
    probabilities: np.ndarray[Any, Any]
    ignored: tuple[str, ...] = ()
    notes: Mapping[Note, int] = field(default_factory=dict)
    because: Sequence[Sequence[Sequence[str]]] | None = None
    feeds: Feeds | SequenceFeeds | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was ignored and all notes, a sentence each."""
        if not self.ignored:
            return tuple(sentences(self.notes))
        names = ", ".join(f'"{name}"' for name in self.ignored[:_SHOWN_COLUMNS])
        more = len(self.ignored) - _SHOWN_COLUMNS
        what = f"column {names}{f' and {more} more' if more > 0 else ''}"
        return (f"ignored what the model does not read: {what}", *sentences(self.notes))


class Scorer:
    """Scores by one bundle; may be used from several threads at once.

    Args:
        bundle: That was loaded.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        self._run: Run = bundle.session.run
        self._outputs = list(bundle.manifest.outputs)
        self._reader = bundle.reader
        self._events = event_reader(bundle)
        self._suggester = Suggester(bundle) if bundle.manifest.task == "items" else None

    @property
    def features(self) -> Definition | None:
        """What a `FeatureState` of a player is made by; None where the bundle was not trained on an event log."""
        return None if self._events is None else self._events.definition

    @staticmethod
    def load(bundle: str | Path, threads: int = 1, device: str = "cpu") -> Scorer:
        """Load a bundle's folder, with its checks.

        Args:
            bundle: The folder.
            threads: That one call of the model may use.
            device: "cpu", or "cuda" with onnxruntime-gpu.

        Raises:
            ValueError: If the bundle is damaged, too new, or does not reproduce its check rows.
        """
        return Scorer(Bundle.load(bundle, threads, device))

    def predict(self, data: Any) -> Predictions:
        """Score rows of any make.

        Every column that the model reads has to be there; None, NaN and the bundle's missing tokens are missing
        values. Infinite numbers and those too large for float32 count as missing, with a warning; columns that the
        model does not read are ignored, with a warning. Of a bundle of sequences a row holds lists, sorted by time
        where they have times. A bundle trained on an event log takes records of raw events too, as `EventReader` reads
        them.

        Args:
            data: A list of records, one record, a mapping of column name to list or array, an Arrow table (or
                anything that gives one, such as a polars frame), or a pandas frame. A mapping is one record to a
                bundle of sequences, for whose columns there is `predict_columns`.

        Raises:
            ValueError: With row (from 1) and column, if a cell does not fit; with the nearest name, if a column is
                absent.
        """
        if isinstance(data, (list, tuple)):
            return self.predict_rows(data)
        is_sequence = self.manifest.sequence is not None or (self._events is not None and EVENTS in data)
        if isinstance(data, Mapping) and data and (is_sequence or not any(map(_is_column, data.values()))):
            return self.predict_rows([data])
        return self.predict_columns(_columns(data))

    def predict_rows(self, rows: Sequence[Mapping[str, object]]) -> Predictions:
        """Score records; for a few rows the fastest way.

        Raises:
            ValueError: As `predict`.
        """
        if self._events is not None and rows and isinstance(rows[0], Mapping) and EVENTS in rows[0]:
            return self._predict_events(self._events, rows)
        feeds = self._reader.from_rows(rows)
        if self._suggester is None or not isinstance(feeds, SequenceFeeds):
            return self._predict(feeds)
        return self._suggest(self._suggester, feeds, options_of_records(rows), reasons=True)

    def predict_columns(
        self, columns: Mapping[str, Any], first_row: int = 0, options: SuggestOptions | None = None
    ) -> Predictions:
        """Score columns of one length.

        Args:
            columns: Column name to its cells.
            first_row: Number of rows before these, for the row in an error.
            options: Of a recommender, for all rows; a record of `predict_rows` has its own.

        Raises:
            ValueError: As `predict`.
        """
        feeds = self._reader.from_columns(columns, first_row)
        if self._suggester is None or not isinstance(feeds, SequenceFeeds):
            return self._predict(feeds)
        asked = SuggestOptions() if options is None else options
        return self._suggest(self._suggester, feeds, asked, reasons=False)

    def _predict_events(self, reader: EventReader, rows: Sequence[Any]) -> Predictions:
        told = reader.from_records(rows)
        names = [item.column for item in self.manifest.inputs]
        cells = zip(*(told.columns[name] for name in names), strict=True)
        found = self._predict(self._reader.from_rows([dict(zip(names, row, strict=True)) for row in cells]))
        return replace(found, ignored=told.ignored, notes={**told.notes, **found.notes})

    def known_options(self, options: SuggestOptions) -> tuple[SuggestOptions, Mapping[Note, int]]:
        """Options of a recommender without items that it does not know, and what is to be told of these.

        Raises:
            ValueError: If the bundle suggests nothing.
        """
        if self._suggester is None:
            raise ValueError("options of suggestions are for a recommender")
        return self._suggester.known(options)

    def _suggest(
        self,
        suggester: Suggester,
        feeds: SequenceFeeds,
        options: SuggestOptions | Sequence[SuggestOptions],
        reasons: bool,
    ) -> Predictions:
        if not feeds.rows:
            return self._predict(feeds)
        found = suggester.suggest(feeds, options, reasons)
        notes = {**feeds.notes, **found.notes}
        return Predictions(found.items, found.scores, tuple(feeds.unknown), notes, found.because, feeds)

    def _predict(self, feeds: Feeds | SequenceFeeds) -> Predictions:
        notes = {overflow(column): count for column, count in feeds.overflowed.items()}
        if isinstance(feeds, SequenceFeeds):
            notes |= feeds.notes
        elif 0 < feeds.rows <= BATCH_ROWS:
            labels, probabilities = self._run(self._outputs, feeds.tensors)
            return Predictions(labels, probabilities, tuple(feeds.unknown), notes, feeds=feeds)
        labels, probabilities = run_feeds(self._run, self.manifest, feeds)
        return Predictions(labels, probabilities, tuple(feeds.unknown), notes, feeds=feeds)


def _is_column(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (
        hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping, set, frozenset))
    )


def _columns(data: Any) -> Mapping[str, Any]:
    if isinstance(data, Mapping):
        return data
    # Named by its module: importing pandas would cost a serving process more than all the rest.
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "iloc") and data.ndim == 2:
        names, columns = [str(name) for name in data.columns], [data.iloc[:, i] for i in range(data.shape[1])]
    else:
        table = _arrow_table(data)
        names, columns = table.schema.names, table.columns
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'column "{twice}" is there twice; rename one of them')
    return dict(zip(names, columns, strict=True))


def _arrow_table(data: Any) -> pa.Table | pa.RecordBatch:
    if isinstance(data, (pa.Table, pa.RecordBatch)):
        return data
    if hasattr(data, "__arrow_c_stream__"):
        try:
            return pa.table(data)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError):  # one column, not a table
            pass
    raise ValueError(
        f"expected a list of records, columns by name, an Arrow table or a pandas frame, got {type(data).__name__}"
    )
