"""`bundle.json`: what a bundle says of itself, read with every field checked, for the file may come from anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ludocast.datamodules.errors import first_line
from ludocast.serve.json_values import (
    a_number,
    a_share,
    a_text,
    an_object,
    list_of,
    optional,
    shown,
    texts_by_name,
)
from ludocast.serve.manifest_labels import LabelValues, some_label_values
from ludocast.serve.manifest_sequences import PairColumns, SequenceInputs, StepGraph, pairs_of, sequence_of, step_of
from ludocast.serve.taker import ManifestError, Taker
from ludocast.serve.tasks import OUTPUTS, TASKS, Loss, Task, a_loss, measured, some_measures

FORMAT = 4  # older formats load for ever; a newer one is refused
SEQUENCES = 2  # the first with sequences; what has none, and an older task, is written as 1, which older releases read
DTYPES = {"number": "float32", "timestamp": "float64", "category": "string", "boolean": "string"}
FORMS = ("cell", "list", "words")
MODEL_FILE = "model.onnx"


@dataclass(frozen=True)
class Input:
    """One column that the model reads.

    Attributes:
        column: Its name in the table.
        tensor: Its name in the graph.
        kind: "number", "category", "boolean" or "timestamp".
        categories: The most frequent values, at most 50; None for numbers and times.
        range: Smallest and largest training value (times: UTC seconds); None for categories.
        form: "cell", one value a row, or "list", one a step; "words" is a list that may also be a text of words.
    """

    column: str
    tensor: str
    kind: str
    categories: tuple[str, ...] | None = None
    range: tuple[float, float] | None = None
    form: str = "cell"

    @property
    def dtype(self) -> str:
        """Element type of the tensor: "float32", "float64" or "string"."""
        return DTYPES[self.kind]


@dataclass(frozen=True)
class CheckRows:
    """Rows made from the inputs, never from players, and what the model answered when the bundle was written.

    Attributes:
        rows: Column to value, one mapping a row.
        label: One a row; a tuple of them where the task's answers are lists, and of several labels those that the row
            gets; a number where they are numbers.
        probabilities: One a row and class, or one a label; of numbers the lower and the upper bound.
    """

    rows: tuple[Mapping[str, Any], ...]
    label: tuple[Any, ...]
    probabilities: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Manifest:
    """All that `bundle.json` holds.

    `positive` and `threshold` are None where there are not two classes, `coverage` where answers are no numbers: it is
    the share of true values that is to lie within the bounds; `loss` None stands for the squared one. Of "segments"
    alone `measures` tell what is told of each: "distances" or "probabilities", and "anomaly" behind it where there is a
    score of the row. Of "labels" alone `labels` tell the values of each, whose names are the classes.
    """

    name: str
    version: str
    inputs: tuple[Input, ...]
    missing_tokens: tuple[str, ...]
    classes: tuple[str, ...]
    positive: str | None
    threshold: float | None
    files: Mapping[str, str]
    check_rows: CheckRows
    created: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    data_sha256: str | None = None
    git_revision: str | None = None
    task: str = "classification"
    sequence: SequenceInputs | None = None
    step: StepGraph | None = None
    pairs: PairColumns | None = None
    coverage: float | None = None
    measures: tuple[str, ...] | None = None
    loss: Loss | None = None
    labels: tuple[LabelValues, ...] | None = None

    @property
    def kind(self) -> Task:
        """What the task gives."""
        return TASKS[self.task]

    @property
    def outputs(self) -> tuple[str, str]:
        """Names of the graph's outputs."""
        return self.kind.outputs

    @property
    def has_lists(self) -> bool:
        """Whether an answer is a list of labels."""
        return self.kind.answer == "lists"

    @property
    def has_numbers(self) -> bool:
        """Whether an answer is a number and its bounds."""
        return self.kind.answer == "number"

    @property
    def measure(self) -> str | None:
        """What is told of each segment; None of another task."""
        return None if self.measures is None else self.measures[0]

    @property
    def widths(self) -> int:
        """Numbers a row of the second output, where answers are no lists."""
        return 2 if self.has_numbers else measured(self.classes, self.measures)

    @property
    def positive_index(self) -> int | None:
        """Position of the positive class."""
        return None if self.positive is None else self.classes.index(self.positive)

    @property
    def attributes(self) -> tuple[Input, ...]:
        """What a recommender reads of a player beside the history: one that is absent counts as missing."""
        return tuple(item for item in self.inputs if item.form == "cell") if self.task == "items" else ()

    def to_json(self) -> str:
        """The text of `bundle.json`.

        Raises:
            ValueError: If a metric is not JSON, or NaN or infinite.
        """
        fields = asdict(self)
        fields["inputs"] = [{**asdict(item), "dtype": item.dtype} for item in self.inputs]
        if self.sequence is None:
            del fields["sequence"], fields["step"]
            for item in fields["inputs"]:
                del item["form"]
        for name in ("pairs", "coverage", "measures", "loss", "labels"):
            if fields[name] is None:
                del fields[name]
        number = max(self.kind.format, 1 if self.sequence is None else SEQUENCES)
        document = {"format": number, "outputs": list(self.outputs), **fields}
        try:
            return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise ValueError(f"bundle.json cannot hold this: {error}; give numbers, text and lists of them") from error


def parse_manifest(text: str | bytes) -> Manifest:
    """Read `bundle.json`.

    Raises:
        ManifestError: If anything in it is not as it has to be; the sentence names the field.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"bundle.json is not JSON ({first_line(error)})") from error
    if not isinstance(document, dict):
        raise ManifestError("bundle.json holds no object")
    version = document.get("format")
    if type(version) is not int or version < 1:
        raise ManifestError(f'bundle.json: "format" has to be a whole number from 1 on, got {shown(version)}')
    if version > FORMAT:
        raise ManifestError(
            f"it has bundle format {version}, and this ludocast reads formats up to {FORMAT}; "
            "install a newer ludocast (pip install --upgrade ludocast)"
        )
    # A newer task may be one of tables, whose bundle then says nothing of sequences.
    has_sequences = version == SEQUENCES or (version > SEQUENCES and document.get("sequence") is not None)
    return _manifest(document, version, has_sequences)


def _manifest(document: dict[str, Any], version: int, has_sequences: bool) -> Manifest:
    take = Taker(document, "")
    task = take.get("task", a_text)
    known = {name: one for name, one in TASKS.items() if one.format <= version}
    tasks = [name for name, one in known.items() if has_sequences or one.answer != "lists"]
    if task not in tasks:
        wanted = " or ".join(f'"{name}"' for name in tasks)
        raise ManifestError(f'bundle.json: "task" has to be {wanted}, got {shown(task)}')
    kind = TASKS[task]
    if take.get("outputs", list_of(a_text)) != kind.outputs:
        raise ManifestError(f'bundle.json: "outputs" has to be {list(kind.outputs)}')
    classes = _classes(take.get("classes", list_of(a_text)), kind)
    taken = set(OUTPUTS) if version == 1 else {name for one in TASKS.values() for name in one.outputs}
    inputs = _inputs(document, has_sequences, taken)
    files = _files(take.get("files", an_object))
    measures = take.get("measures", some_measures) if kind.answer == "segment" else None
    labels = take.get("labels", some_label_values) if kind.answer == "labels" else None
    if labels is not None and len(labels) != len(classes):
        raise ManifestError('bundle.json: "labels" has to hold one entry a class')
    positive = take.get("positive", optional(a_text))
    if positive is not None and (positive not in classes or len(classes) != 2):
        raise ManifestError('bundle.json: "positive" has to be one of two classes, or null')
    return Manifest(
        name=take.get("name", a_text),
        version=take.get("version", a_text),
        inputs=inputs,
        missing_tokens=take.get("missing_tokens", list_of(a_text)),
        classes=classes,
        positive=positive,
        threshold=take.get("threshold", optional(a_number)),
        files=files,
        check_rows=_check_rows(take.get("check_rows", an_object), kind, measured(classes, measures)),
        created=take.get("created", a_text),
        metrics=take.get("metrics", an_object),
        libraries=take.get("libraries", texts_by_name),
        data_sha256=take.get("data_sha256", optional(a_text)),
        git_revision=take.get("git_revision", optional(a_text)),
        task=task,
        sequence=sequence_of(take.get("sequence", an_object), inputs) if has_sequences else None,
        step=step_of(take.get("step", optional(an_object)), files) if has_sequences else None,
        pairs=pairs_of(document) if task == "items" else None,
        coverage=take.get("coverage", a_share) if kind.answer == "number" else None,
        measures=measures,
        loss=take.get("loss", a_loss) if kind.answer == "number" and "loss" in document else None,
        labels=labels,
    )


def _classes(classes: tuple[str, ...], kind: Task) -> tuple[str, ...]:
    if kind.answer == "number":
        if classes:
            raise ManifestError('bundle.json: "classes" has to be empty where answers are numbers')
    elif len(classes) < (2 if kind.answer in ("class", "labels") else 1) or len(set(classes)) != len(classes):
        raise ManifestError('bundle.json: "classes" has to hold two different labels or more')
    return classes


def _inputs(document: dict[str, Any], has_sequences: bool, taken: set[str]) -> tuple[Input, ...]:
    entries = Taker(document, "").get("inputs", list_of(an_object))
    inputs = tuple(_input(entry, f"inputs[{i}].", has_sequences) for i, entry in enumerate(entries))
    if not inputs:
        raise ManifestError('bundle.json: "inputs" is empty')
    for what in ("column", "tensor"):
        names = [getattr(item, what) for item in inputs]
        if len(set(names)) != len(names):
            raise ManifestError(f'bundle.json: two inputs have the same "{what}"')
    if {item.tensor for item in inputs} & taken:
        raise ManifestError("bundle.json: an input tensor has the name of an output")
    return inputs


def _input(entry: dict[str, Any], where: str, has_sequences: bool) -> Input:
    take = Taker(entry, where)
    kind = take.get("kind", a_text)
    if kind not in DTYPES:
        raise ManifestError(f'bundle.json: "{where}kind" has to be one of {", ".join(DTYPES)}, got {shown(kind)}')
    if take.get("dtype", a_text) != DTYPES[kind]:
        raise ManifestError(f'bundle.json: "{where}dtype" has to be "{DTYPES[kind]}" for a {kind}')
    limits = take.get("range", optional(list_of(a_number)))
    if limits is not None and (len(limits) != 2 or limits[0] > limits[1]):
        raise ManifestError(f'bundle.json: "{where}range" has to be [smallest, largest]')
    form = take.get("form", a_text) if has_sequences else "cell"
    if form not in FORMS:
        raise ManifestError(f'bundle.json: "{where}form" has to be one of {", ".join(FORMS)}, got {shown(form)}')
    return Input(
        column=take.get("column", a_text),
        tensor=take.get("tensor", a_text),
        kind=kind,
        categories=take.get("categories", optional(list_of(a_text))),
        range=None if limits is None else (limits[0], limits[1]),
        form=form,
    )


def _files(entries: dict[str, Any]) -> dict[str, str]:
    for name, digest in entries.items():
        if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", name) is None:
            raise ManifestError(f"bundle.json: the file name {shown(name)} does not stay inside the bundle's folder")
        if not isinstance(digest, str) or re.fullmatch(r"[0-9a-f]{64}", digest) is None:
            raise ManifestError(f"bundle.json: the SHA-256 of {name} has to be 64 hex digits, got {shown(digest)}")
    if MODEL_FILE not in entries:
        raise ManifestError(f'bundle.json: "files" does not name {MODEL_FILE}')
    return entries


def _check_rows(entry: dict[str, Any], kind: Task, classes: int) -> CheckRows:
    take = Taker(entry, "check_rows.")
    rows = take.get("rows", list_of(an_object))
    labels: dict[str, Callable[[Any], Any]] = {"lists": list_of(a_text), "labels": list_of(a_text), "number": a_number}
    label = take.get("label", list_of(labels.get(kind.answer, a_text)))
    probabilities = take.get("probabilities", list_of(list_of(a_number)))
    if not rows or not len(rows) == len(label) == len(probabilities):
        raise ManifestError('bundle.json: "check_rows" has to hold as many rows as labels and probabilities')
    width, of = {"lists": (None, "label"), "number": (2, "bound")}.get(kind.answer, (classes, "class"))
    sizes = [len(names) for names in label] if width is None else [width] * len(label)
    if [len(row) for row in probabilities] != sizes:
        raise ManifestError(f'bundle.json: "check_rows.probabilities" has to hold one number a {of}')
    return CheckRows(rows, label, probabilities)
