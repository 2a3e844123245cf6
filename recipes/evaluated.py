"""A table answered by a bundle, some rows at a time: what was answered, what was true, and what the columns held."""

# N rows, C classes

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from ludocast.datamodules.infer import check_column, label_values
from ludocast.datamodules.number_label import label_numbers
from ludocast.datamodules.reference import REFERENCE_FILE, SEGMENT, ColumnReference, Reference, read_reference
from ludocast.models.drift import Drift, drifts
from ludocast.serve.bundle import Bundle, read_model
from ludocast.serve.feeds import Feeds
from ludocast.serve.manifest import Manifest
from ludocast.serve.notes import Note, sentences
from ludocast.serve.scorer import Predictions, Scorer
from ludocast.serve.tables.formats import format_of
from ludocast.serve.tables.read import open_table
from ludocast.serve.tables.source import Reading, Source

SHOWN = 8
EVALUATED = ("classification", "regression", "segments")


@dataclass(frozen=True)
class Answers:
    """Of the rows whose label is known.

    Attributes:
        rows: Their numbers, from 1, int64 [N].
        label: Class index, int64 [N]; or a number, float64 [N].
        predicted: Class index that was answered, int64 [N]; or the number, float64 [N].
        probabilities: float32 [N, C]; of numbers lower and upper bound, float64 [N, 2].
    """

    rows: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Evaluated:
    """What a table says of a bundle.

    Attributes:
        rows: All of the table.
        label: Column of the label; None where there is none.
        answers: None where no row has a label.
        drifts: The largest first; None of a bundle that keeps nothing of its training.
        shares: Segments by name, each with its share of the training's rows and of these; None of another task, and
            where the bundle keeps nothing.
        notes: Sentences on the table.
    """

    rows: int
    label: str | None
    answers: Answers | None
    drifts: Sequence[Drift] | None
    shares: Mapping[str, tuple[float, float]] | None
    notes: Sequence[str]


def evaluate_table(scorer: Scorer, data: Path, label: str | None, encoding: str, delimiter: str | None) -> Evaluated:
    """Answer a table.

    Args:
        scorer: Of a model of classes, of a number, or of segments.
        data: The table.
        label: Its column of labels; None for that of the training, if the table has it.
        encoding: Of CSV.
        delimiter: Of CSV; None is found.

    Raises:
        ValueError: If the bundle is of another task, or the table does not fit it; the sentence says why.
    """
    if scorer.manifest.task not in EVALUATED:
        raise ValueError(
            f"{scorer.bundle.folder} has the task {scorer.manifest.task}; this evaluates {', '.join(EVALUATED)}"
        )
    if label is not None and scorer.manifest.task == "segments":
        raise ValueError("segments have no labels to be measured by; leave --label out")
    reference = reference_of(scorer.bundle)
    reading = Reading(encoding, delimiter)
    with (
        tempfile.TemporaryDirectory() as unpacked,
        open_table(data, format_of(data), reading, Path(unpacked) / "plain") as source,
    ):
        table = _Table(scorer, reference, _label(source, label, reference))
        for _, chunk in source.chunks:
            table.add(chunk)
    if table.rows == 0:
        raise ValueError(f"{data} has no rows; an evaluation needs some")
    return table.evaluated()


def reference_of(bundle: Bundle) -> Reference | None:
    """What a bundle keeps of its training; None of one that was made without.

    Raises:
        ValueError: If it is damaged.
    """
    if REFERENCE_FILE not in bundle.manifest.files:
        return None
    try:
        return read_reference(read_model(bundle.folder, bundle.manifest, REFERENCE_FILE))
    except ValueError as error:
        raise ValueError(f"bundle {bundle.folder}: {error}") from error


def _label(source: Source, label: str | None, reference: Reference | None) -> str | None:
    if label is not None:
        check_column(pa.table({name: [] for name in source.names}), label)
        return label
    if reference is None or reference.label.kind == SEGMENT:
        return None
    return reference.label.name if reference.label.name in source.names else None


class _Table:
    """The sums over the chunks of a table."""

    def __init__(self, scorer: Scorer, reference: Reference | None, label: str | None) -> None:
        self.scorer, self.reference, self.label = scorer, reference, label
        self.rows = self.unlabelled = 0
        self._answers: list[Answers] = []
        self._counted: list[ColumnReference] = []
        self._notes: Counter[Note] = Counter()
        manifest = scorer.manifest
        self._tensors = {item.column: item.tensor for item in manifest.inputs}
        self._index = {name: position for position, name in enumerate(manifest.classes)}

    def add(self, chunk: pa.RecordBatch) -> None:
        """Answer some rows."""
        read = {name: chunk.column(name) for name in chunk.schema.names if name in self._tensors}
        found = self.scorer.predict_columns(read, self.rows)
        self._notes.update(found.notes)
        if self.reference is not None and isinstance(found.feeds, Feeds):
            self._count(self.reference, found, found.feeds)
        if self.label is not None:
            self._answers.append(self._labelled(chunk, found))
        self.rows += chunk.num_rows

    def _count(self, reference: Reference, found: Predictions, feeds: Feeds) -> None:
        counted = [column.count(feeds.tensors[self._tensors[column.name]][:, 0]) for column in self._columns(reference)]
        counted.append(reference.score.count(shown_score(found, self.scorer.manifest)))
        if reference.label.kind == SEGMENT:
            counted.append(reference.label.count(found.labels))
        before = self._counted
        self._counted = [a + b for a, b in zip(before, counted, strict=True)] if before else counted

    def _columns(self, reference: Reference) -> list[ColumnReference]:
        """Those that the model reads."""
        return [column for column in reference.columns if column.name in self._tensors]

    def _labelled(self, chunk: pa.RecordBatch, found: Predictions) -> Answers:
        manifest, name = self.scorer.manifest, self.label
        assert name is not None
        if manifest.task == "regression":
            return self._numbered(chunk, found, name)
        values = _texts(chunk, name, manifest)
        known = np.flatnonzero(values != "")
        self.unlabelled += len(values) - len(known)
        strange = sorted({str(value) for value in values[known]} - set(manifest.classes))
        if strange:
            raise ValueError(
                f'the label "{name}" holds {", ".join(map(repr, strange[:SHOWN]))}, and the bundle knows '
                f"{', '.join(map(repr, manifest.classes[:SHOWN]))}; is it another column?"
            )
        label, predicted = (
            np.array([self._index[str(value)] for value in texts[known]], np.int64) for texts in (values, found.labels)
        )
        return Answers(self.rows + 1 + known, label, predicted, found.probabilities[known])

    def _numbered(self, chunk: pa.RecordBatch, found: Predictions, name: str) -> Answers:
        table = pa.table({name: chunk.column(name)})
        missing = frozenset(self.scorer.manifest.missing_tokens)
        values = label_numbers(table, name, missing, "; the bundle predicts a number: is it another column?", self.rows)
        known = np.flatnonzero(~np.isnan(values))
        self.unlabelled += len(values) - len(known)
        predicted, bounds = (part[known].astype(np.float64) for part in (found.labels, found.probabilities))
        return Answers(self.rows + 1 + known, values[known], predicted, bounds)

    def evaluated(self) -> Evaluated:
        """All chunks together."""
        answers = None
        if self._answers:
            parts = ("rows", "label", "predicted", "probabilities")
            answers = Answers(*(np.concatenate([getattr(one, part) for one in self._answers]) for part in parts))
        notes = sentences(self._notes)
        if self.label is not None and self.unlabelled:
            notes.append(f"{self.unlabelled:,} of {self.rows:,} rows have no label; the measures are without them")
        if answers is not None and len(answers.label) == 0:
            answers = None
        return Evaluated(self.rows, self.label, answers, self._drifts(answers), self._shares(), notes)

    def _drifts(self, answers: Answers | None) -> list[Drift] | None:
        reference, now = self.reference, list(self._counted)
        if reference is None or not now:
            return None
        then = [*self._columns(reference), reference.score]
        if reference.label.kind == SEGMENT:
            then.append(reference.label)
        elif answers is not None:
            classes = np.array(self.scorer.manifest.classes)
            then.append(reference.label)
            now.append(reference.label.count(classes[answers.label] if len(classes) else answers.label))
        return drifts(then, now)

    def _shares(self) -> dict[str, tuple[float, float]] | None:
        reference = self.reference
        if reference is None or reference.label.kind != SEGMENT or not self._counted:
            return None
        now = self._counted[-1]
        each = zip(reference.label.counts, now.counts, strict=True)
        shares = [(a / reference.label.rows, b / now.rows) for a, b in each]
        return dict(zip(self.scorer.manifest.classes, shares, strict=True))


def shown_score(found: Predictions, manifest: Manifest) -> np.ndarray:
    """Of each row the probability of the positive class, else of the likeliest one; or the number; float32 [N].

    Of segments the distance to the row's own, or its probability.
    """
    if manifest.measures is not None:
        measured = found.probabilities[:, : len(manifest.classes)]
        own = measured.min(axis=1) if manifest.measures[0] == "distances" else measured.max(axis=1)
        return np.asarray(own)
    if manifest.task == "regression":
        return found.labels
    probabilities = found.probabilities
    positive = manifest.positive_index
    return probabilities.max(axis=1) if positive is None else probabilities[:, positive]


def _texts(chunk: pa.RecordBatch, name: str, manifest: Manifest) -> np.ndarray:
    """Labels as text, "" where missing; true and false are read in any case where these are the classes."""
    table = pa.table({name: chunk.column(name)})
    texts = label_values(table, name, frozenset(manifest.missing_tokens))
    if set(manifest.classes) == {"true", "false"}:
        return np.array([text.strip().lower() for text in texts.tolist()], object)
    return texts
