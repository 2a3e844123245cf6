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
from ludocast.datamodules.reference import REFERENCE_FILE, ColumnReference, Reference, read_reference
from ludocast.models.drift import Drift, drifts
from ludocast.serve.bundle import Bundle, read_model
from ludocast.serve.feeds import Feeds
from ludocast.serve.manifest import Manifest
from ludocast.serve.manifest_labels import LabelValues
from ludocast.serve.notes import Note, sentences
from ludocast.serve.scorer import Predictions, Scorer
from ludocast.serve.tables.formats import format_of
from ludocast.serve.tables.read import open_table
from ludocast.serve.tables.source import Reading, Source

SHOWN = 8
EVALUATED = ("classification", "labels", "regression", "segments")


@dataclass(frozen=True)
class Answers:
    """Of the rows whose label is known.

    Attributes:
        rows: Their numbers, from 1, int64 [N].
        label: Class index, int64 [N]; of several labels 0 or 1, int64 [N, L]; or a number, float64 [N].
        predicted: Class index that was answered, int64 [N]; which labels were, bool [N, L]; or the number, float64 [N].
        probabilities: float32 [N, C] or [N, L]; of numbers lower and upper bound, float64 [N, 2].
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
        label: Column of the label, of several their names; None where there is none.
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
        scorer: Of a model of classes, of several labels, of a number, or of segments.
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
        table = _Table(scorer, reference, _label(source, label, reference, scorer.manifest))
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


def _label(source: Source, label: str | None, reference: Reference | None, manifest: Manifest) -> str | None:
    if manifest.labels is not None:
        return _labels(source, label, manifest.classes)
    if label is not None:
        check_column(pa.table({name: [] for name in source.names}), label)
        return label
    if reference is None or reference.finds_segments:
        return None
    name = reference.labels[0].name
    return name if name in source.names else None


def _labels(source: Source, label: str | None, names: Sequence[str]) -> str | None:
    """Of a model of several labels their names, where the table has them."""
    if label is not None:
        raise ValueError(f"the labels are found by their names ({', '.join(names)}); leave --label out")
    absent = [name for name in names if name not in source.names]
    if absent and len(absent) < len(names):
        raise ValueError(f'the table lacks the label "{absent[0]}"; it needs all of {", ".join(names)}, or none')
    return None if absent else ", ".join(names)


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
        scores = zip(reference.scores, shown_scores(found, self.scorer.manifest), strict=True)
        counted += [score.count(values) for score, values in scores]
        if reference.finds_segments:
            counted.append(reference.labels[0].count(found.labels))
        before = self._counted
        self._counted = [a + b for a, b in zip(before, counted, strict=True)] if before else counted

    def _columns(self, reference: Reference) -> list[ColumnReference]:
        """Those that the model reads."""
        return [column for column in reference.columns if column.name in self._tensors]

    def _labelled(self, chunk: pa.RecordBatch, found: Predictions) -> Answers:
        manifest, name = self.scorer.manifest, self.label
        assert name is not None
        if manifest.labels is not None:
            return self._with_labels(chunk, found, manifest, manifest.labels)
        if manifest.task == "regression":
            return self._numbered(chunk, found, name)
        values = _texts(chunk, name, manifest.classes, manifest)
        known = np.flatnonzero(values != "")
        self.unlabelled += len(values) - len(known)
        label, predicted = (
            np.array([self._index[str(value)] for value in texts[known]], np.int64) for texts in (values, found.labels)
        )
        return Answers(self.rows + 1 + known, label, predicted, found.probabilities[known])

    def _with_labels(
        self, chunk: pa.RecordBatch, found: Predictions, manifest: Manifest, labels: Sequence[LabelValues]
    ) -> Answers:
        """Of the rows all of whose labels are known."""
        both = zip(manifest.classes, labels, strict=True)
        values = np.stack([_texts(chunk, name, (one.no, one.yes), manifest) for name, one in both], axis=1)
        known = np.flatnonzero((values != "").all(axis=1))
        self.unlabelled += len(values) - len(known)
        label = (values[known] == np.array([one.yes for one in labels], object)).astype(np.int64)
        return Answers(self.rows + 1 + known, label, found.labels[known], found.probabilities[known])

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
            lack = "have no label" if self.scorer.manifest.labels is None else "lack a label"
            notes.append(f"{self.unlabelled:,} of {self.rows:,} rows {lack}; the measures are without them")
        if answers is not None and len(answers.label) == 0:
            answers = None
        return Evaluated(self.rows, self.label, answers, self._drifts(answers), self._shares(), notes)

    def _drifts(self, answers: Answers | None) -> list[Drift] | None:
        reference, now = self.reference, list(self._counted)
        if reference is None or not now:
            return None
        then = [*self._columns(reference), *reference.scores]
        if reference.finds_segments or answers is not None:
            then += reference.labels
        if answers is not None:
            now += self._counted_labels(reference, answers.label)
        return drifts(then, now)

    def _counted_labels(self, reference: Reference, label: np.ndarray) -> list[ColumnReference]:
        manifest = self.scorer.manifest
        if manifest.labels is None:
            classes = np.array(manifest.classes)
            return [reference.labels[0].count(classes[label] if len(classes) else label)]
        each = zip(reference.labels, manifest.labels, label.T, strict=True)
        return [known.count(np.array([one.no, one.yes])[has]) for known, one, has in each]

    def _shares(self) -> dict[str, tuple[float, float]] | None:
        reference = self.reference
        if reference is None or not reference.finds_segments or not self._counted:
            return None
        then, now = reference.labels[0], self._counted[-1]
        shares = [(a / then.rows, b / now.rows) for a, b in zip(then.counts, now.counts, strict=True)]
        return dict(zip(self.scorer.manifest.classes, shares, strict=True))


def shown_scores(found: Predictions, manifest: Manifest) -> list[np.ndarray]:
    """Of each row the probability of the positive class, else of the likeliest one; or the number; float32 [N].

    Of several labels that of each, of segments the distance to the row's own or its probability.
    """
    return list(found.probabilities.T) if manifest.labels is not None else [_shown_score(found, manifest)]


def _shown_score(found: Predictions, manifest: Manifest) -> np.ndarray:
    if manifest.measures is not None:
        measured = found.probabilities[:, : len(manifest.classes)]
        own = measured.min(axis=1) if manifest.measures[0] == "distances" else measured.max(axis=1)
        return np.asarray(own)
    if manifest.task == "regression":
        return found.labels
    probabilities = found.probabilities
    positive = manifest.positive_index
    return probabilities.max(axis=1) if positive is None else probabilities[:, positive]


def _texts(chunk: pa.RecordBatch, name: str, classes: Sequence[str], manifest: Manifest) -> np.ndarray:
    """Labels as text, "" where missing; true and false are read in any case where these are the classes.

    Raises:
        ValueError: If one is none of the classes.
    """
    table = pa.table({name: chunk.column(name)})
    texts = label_values(table, name, frozenset(manifest.missing_tokens))
    if set(classes) == {"true", "false"}:
        texts = np.array([text.strip().lower() for text in texts.tolist()], object)
    strange = sorted({str(text) for text in texts} - {"", *classes})
    if strange:
        raise ValueError(
            f'the label "{name}" holds {", ".join(map(repr, strange[:SHOWN]))}, and the bundle knows '
            f"{', '.join(map(repr, classes[:SHOWN]))}; is it another column?"
        )
    return texts
