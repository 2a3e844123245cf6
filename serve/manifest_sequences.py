"""The fields of `bundle.json` that bundles of sequences have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ludocast.serve.json_values import a_count, a_number, a_text, an_object, optional, shown
from ludocast.serve.taker import ManifestError, Taker
from ludocast.serve.tasks import OUTPUTS

if TYPE_CHECKING:
    from ludocast.serve.manifest import Input


@dataclass(frozen=True)
class SequenceInputs:
    """What the lists of a row are to each other.

    Attributes:
        length: Tensor of the number of steps of each row, int64 [N].
        longest: Most steps that are read. Of a longer row the last ones are, but for "tags", where it is refused.
        time: Column of the steps' times, by which they are sorted; None where their order is that of the list.
        now: Column of the moment of the question; only steps before it are known. None where there is none.
        observe: Days before that moment from which on steps are known; None for all.
        active_within: Days before that moment in which all who were asked about in training had a step.
        line_end: Word that stands for the end of a line of a text.
    """

    length: str
    longest: int
    time: str | None = None
    now: str | None = None
    observe: float | None = None
    active_within: float | None = None
    line_end: str | None = None


@dataclass(frozen=True)
class StepGraph:
    """A graph that takes one step of a sequence, from state to state.

    Its inputs are `state` float [N, state], `last_time` float64 [N, 1] where steps have times (NaN before the first
    one), and a column [N, 1] for each list of the bundle; where there is a moment of the question that too, and the
    length, 0 for an answer without a step. Its outputs are those of the bundle and `new_state`.

    Attributes:
        file: Its name in the bundle.
        state: Numbers of a state; zeros before the first step.
    """

    file: str
    state: int


@dataclass(frozen=True)
class PairColumns:
    """Columns of the table of pairs from which a recommender learnt: a history is what a user has in it.

    Attributes:
        user: Of users.
        item: Of items.
    """

    user: str
    item: str


def pairs_of(document: dict[str, Any]) -> PairColumns:
    """Columns of the table that a recommender learnt from.

    Raises:
        ManifestError: If they are missing.
    """
    take = Taker(Taker(document, "").get("pairs", an_object), "pairs.")
    return PairColumns(user=take.get("user", a_text), item=take.get("item", a_text))


def sequence_of(entry: dict[str, Any], inputs: tuple[Input, ...]) -> SequenceInputs:
    """What the lists of a row are to each other.

    Raises:
        ManifestError: If it does not fit the inputs.
    """
    take = Taker(entry, "sequence.")
    sequence = SequenceInputs(
        length=take.get("length", a_text),
        longest=take.get("longest", a_count),
        time=take.get("time", optional(a_text)),
        now=take.get("now", optional(a_text)),
        observe=take.get("observe", optional(a_number)),
        active_within=take.get("active_within", optional(a_number)),
        line_end=take.get("line_end", optional(a_text)),
    )
    if all(item.form == "cell" for item in inputs):
        raise ManifestError('bundle.json: a bundle of sequences has an input of "form" list or words')
    if sequence.length in {*OUTPUTS, *(item.tensor for item in inputs)}:
        raise ManifestError('bundle.json: "sequence.length" has the name of an input or output')
    for what, column, is_list in (("time", sequence.time, True), ("now", sequence.now, False)):
        item = next((item for item in inputs if item.column == column), None)
        fits = item is not None and item.kind == "timestamp" and (item.form != "cell") == is_list
        if column is not None and not fits:
            form = "list" if is_list else "cell"
            raise ManifestError(f'bundle.json: "sequence.{what}" has to name a timestamp of form {form}')
    if sequence.now is not None and sequence.time is None:
        raise ManifestError('bundle.json: "sequence.now" needs a "sequence.time"')
    return sequence


def step_of(entry: dict[str, Any] | None, files: Mapping[str, str]) -> StepGraph | None:
    """The graph of one step, where there is one.

    Raises:
        ManifestError: If its file is none of the bundle's.
    """
    if entry is None:
        return None
    take = Taker(entry, "step.")
    step = StepGraph(file=take.get("file", a_text), state=take.get("state", a_count))
    if step.file not in files:
        raise ManifestError(f'bundle.json: "files" does not name {shown(step.file)}, which "step.file" does')
    return step
