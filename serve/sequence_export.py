"""A trained network on sequences as ONNX graphs, of whole sequences and of one step: raw events in, answers out."""

# N sequences of a batch, T steps of the longest, K numbers of a state, W outputs of the stack, C classes

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from ludocast.datamodules.schema import MISSING_TOKENS
from ludocast.datamodules.sequence import SequenceParts
from ludocast.datamodules.step_inputs import StepInputs
from ludocast.datamodules.vocabulary import FIRST
from ludocast.models.sequence.module import SequenceModule
from ludocast.models.sequence.network import SequenceNetwork as TrainedNetwork
from ludocast.models.sequence.softmax import AdaptiveHead
from ludocast.models.sequence.tasks import LanguageModule, LeavingModule, TagModule
from ludocast.serve.core_sequence import ANSWER, CUT, LAST_AGE, NUMBERS, STEPS, TOKENS, sequence_document
from ludocast.serve.export import PREPROCESSING
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_events import add_ids
from ludocast.serve.graph_players import add_player_columns, player_inputs
from ludocast.serve.graph_recurrent import add_last, add_outputs, add_recurrent, add_step, state_size
from ludocast.serve.graph_sequence import AdaptiveLayers, SequenceNetwork, add_answer, add_read
from ludocast.serve.graph_steps import (
    LENGTH,
    NAMES,
    NOW,
    TIMES,
    Steps,
    add_is_real,
    add_last_age,
    add_numbers,
    add_raw_events,
    add_steps,
    number_tensors,
)
from ludocast.serve.manifest import Input
from ludocast.serve.manifest_sequences import SequenceInputs, StepGraph
from onnx import TensorProto
from torch import nn

NOW_COLUMN = "now"
STEP_FILE = "step.onnx"
LIKELIEST = 10  # answers of task "next"
LONGEST = 10_000  # steps that are read of a row
LONGEST_DAYS = 1_000_000  # events of which only the days count: they cost no step
SHOWN_NAMES = 50
THRESHOLD = 0.5


@dataclass(frozen=True)
class SequenceExport:
    """All that a bundle needs of a network on sequences.

    Attributes:
        model: Graph of whole sequences.
        step: Graph of one step, and its content; None where there is none.
        no_step: Why there is none, as a sentence.
        task: Of the manifest.
        inputs: Columns.
        sequence: What these are to each other.
        classes: Labels.
        missing_tokens: Texts that mean "missing".
    """

    model: bytes
    step: tuple[StepGraph, bytes] | None
    no_step: str | None
    task: str
    inputs: tuple[Input, ...]
    sequence: SequenceInputs
    classes: tuple[str, ...]
    missing_tokens: tuple[str, ...]

    @property
    def positive(self) -> str | None:
        """Who leaves."""
        return self.classes[1] if self.task == "classification" else None

    @property
    def threshold(self) -> float | None:
        """From which probability on the answer is `positive`."""
        return THRESHOLD if self.task == "classification" else None


def export_sequence(module: SequenceModule, parts: SequenceParts, description: str = "") -> SequenceExport:
    """Both graphs of a trained module.

    Args:
        module: Trained and calibrated; its averaged weights are exported.
        parts: Of the source it was trained on.
        description: Of the model.

    Raises:
        ValueError: If the source does not tell how events become steps, or the network has parts that no graph has.
    """
    inputs = parts.inputs
    if inputs is None or module.averaged is None:
        raise ValueError("this source of sequences does not tell how raw events become its steps")
    task = (
        "tags" if isinstance(module, TagModule) else "next" if isinstance(module, LanguageModule) else "classification"
    )
    classes = parts.classes if task != "next" else _names(inputs)
    network = _network(module, inputs)
    no_step = _why_no_step(network, inputs)
    return SequenceExport(
        model=_whole(network, inputs, task, classes, description).SerializeToString(),
        step=None if no_step else _step(network, inputs, task, classes, description),
        no_step=no_step,
        task=task,
        inputs=_manifest_inputs(inputs),
        sequence=_manifest_sequence(inputs),
        classes=tuple(classes),
        # A text's own "NA" or "?" is a word.
        missing_tokens=MISSING_TOKENS if inputs.time is not None else (),
    )


def _names(inputs: StepInputs) -> tuple[str, ...]:
    assert inputs.vocabulary is not None
    return inputs.vocabulary.tokens


def _network(module: SequenceModule, inputs: StepInputs) -> SequenceNetwork:
    trained = module.averaged
    assert trained is not None
    temperature = float(module.temperature) if isinstance(module, LeavingModule) else 1.0
    numbers = trained.stack.input_size
    if trained.embedding is not None:
        numbers -= trained.embedding.embedding_dim * (2 * trained.window + 1)
    head = _head(trained, temperature)
    outputs = trained.stack.hidden_size * (2 if trained.is_bidirectional else 1)
    static = int(inputs.has_last_age) + (0 if inputs.players is None else inputs.players.numbers.shape[1])
    if head.in_features != outputs + static:
        raise ValueError("its source does not tell what its head reads beside the sequences")
    is_tag = isinstance(module, TagModule)
    return SequenceNetwork(trained.stack, head, trained.embedding, numbers, static, is_tag, trained.window)


def _head(trained: TrainedNetwork, temperature: float) -> nn.Linear | AdaptiveLayers:
    """The head as one that reads h."""
    if isinstance(trained.head, AdaptiveHead):
        groups = trained.head.groups
        layers = [[layer for layer in tail.modules() if isinstance(layer, nn.Linear)] for tail in groups.tail]
        return AdaptiveLayers(
            _reads_h(groups.head, trained), tuple((_reads_h(narrow, trained), wide) for narrow, wide in layers)
        )
    if trained.between is None:
        return _reads_h(trained.head, trained, temperature)
    # Two layers with nothing between them are one.
    weight, bias = (value.detach().double() for value in (trained.head.weight, trained.head.bias))
    joined = _linear(
        weight @ trained.between.weight.detach().double(), bias + weight @ trained.between.bias.detach().double()
    )
    return _reads_h(joined, trained, temperature)


def _reads_h(layer: nn.Linear, trained: TrainedNetwork, temperature: float = 1.0) -> nn.Linear:
    """A layer of h for one of 2h − 1, as heads of sigmoid layers are, its outputs divided by the temperature."""
    weight = layer.weight.detach().double().clone()
    bias = torch.zeros(len(weight), dtype=torch.float64) if layer.bias is None else layer.bias.detach().double()
    if trained.is_sigmoid:
        outputs = trained.stack.hidden_size * (2 if trained.is_bidirectional else 1)
        bias = bias - weight[:, :outputs].sum(1)
        weight[:, :outputs] *= 2
    return _linear(weight / temperature, bias / temperature)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _why_no_step(network: SequenceNetwork, inputs: StepInputs) -> str | None:
    if network.rnn.bidirectional or network.window:
        return "the network reads the words to come too, so there is no step graph"
    if inputs.players is not None:
        return "the head reads columns of players beside their events, so there is no step graph"
    if inputs.days_per_step is not None:
        return "a step is some days back from the moment of the question, not an event, so there is no step graph"
    if inputs.has_ages or inputs.observe is not None:
        return "what a step reads changes with the moment of the question, so there is no step graph"
    return None


def _whole(
    network: SequenceNetwork, inputs: StepInputs, task: str, classes: tuple[str, ...], description: str
) -> onnx.ModelProto:
    graph = GraphBuilder()
    raw = add_raw_events(graph, inputs)
    steps = _named(graph, add_steps(graph, inputs, raw))
    x_NTD = add_read(graph, network, steps.tokens, steps.numbers, steps.length)
    stack = add_recurrent(graph, network.rnn, x_NTD, steps.length, as_scan=True)
    if task == "tags":
        p_NTC = graph.op("Identity", add_answer(graph, network, add_outputs(graph, stack)), name=CUT + ANSWER)
        _add_tags(graph, p_NTC, classes, add_is_real(graph, steps.tokens, steps.length))
    else:
        static = [steps.last_age] if steps.last_age else []
        static += [add_player_columns(graph, inputs.players)] if inputs.players is not None else []
        beside = graph.op("Concat", *static, axis=1) if len(static) > 1 else "".join(static)
        p_NC = add_answer(graph, network, add_last(graph, stack), beside)
        _add_answers(graph, graph.op("Identity", p_NC, name=CUT + ANSWER), task, classes)
    if inputs.players is not None:
        return graph.model(description, {})
    document = json.dumps(sequence_document(inputs, task, classes), ensure_ascii=False, separators=(",", ":"))
    return graph.model(description, {PREPROCESSING: document})


def _named(graph: GraphBuilder, steps: Steps) -> Steps:
    """The same, by the names at which `export core` cuts."""
    parts = {TOKENS: steps.tokens, NUMBERS: steps.numbers, STEPS: steps.length, LAST_AGE: steps.last_age}
    return Steps(*(graph.op("Identity", value, name=CUT + name) if value else "" for name, value in parts.items()))


def _step(
    network: SequenceNetwork, inputs: StepInputs, task: str, classes: tuple[str, ...], description: str
) -> tuple[StepGraph, bytes]:
    graph = GraphBuilder()
    size = state_size(network.rnn)
    state = graph.input("state", TensorProto.FLOAT, size)
    last = graph.input("last_time", TensorProto.DOUBLE, 1) if inputs.time is not None else ""
    raw = add_raw_events(graph, inputs, 1)
    before, age = state, ""
    if inputs.pause is not None:
        gap = graph.op("Sub", raw.times, last)  # NaN, which is no pause, before the first event
        is_new = graph.op("Greater", gap, graph.constant(np.array([inputs.pause * 3_600.0])))
        state = graph.op("Where", is_new, graph.floats(0.0), state)
        last = graph.op("Where", is_new, graph.constant(np.array([np.nan])), last)
    numbers = add_numbers(graph, inputs, raw, last)
    tokens = add_ids(graph, inputs.vocabulary, raw.names) if inputs.vocabulary is not None else ""
    read = [graph.op("Squeeze", part, graph.ints(1)) if part else "" for part in (tokens, numbers)]
    h_NW, new_state = add_step(graph, network.rnn, add_read(graph, network, *read), state)
    if inputs.has_now:
        # Where there is no event the state stays, and answers by itself: its first numbers of the top layer are h.
        is_event = graph.op("Greater", graph.op("Unsqueeze", raw.length, graph.ints(1)), graph.ints(0))
        new_state = graph.op("Where", is_event, new_state, before)
        top = (network.rnn.num_layers - 1) * network.rnn.hidden_size
        h_NW = graph.op("Slice", new_state, graph.ints(top), graph.ints(top + network.rnn.hidden_size), graph.ints(1))
        age = add_last_age(graph, graph.op("Where", is_event, raw.times, last), raw.now)
    _add_answers(graph, add_answer(graph, network, h_NW, age), task, classes)
    graph.output(new_state, "new_state", TensorProto.FLOAT, ["N", size])
    return StepGraph(STEP_FILE, size), graph.model(description, {}).SerializeToString()


def _add_answers(graph: GraphBuilder, p_NC: str, task: str, classes: tuple[str, ...]) -> None:
    """One answer a sequence: the decision and the probabilities, or the likeliest next names and theirs."""
    names = graph.constant(np.array(classes, dtype=object))
    if task == "classification":
        of_leaving = graph.op("Gather", p_NC, graph.constant(np.array(1)), axis=1)
        reached = graph.op("GreaterOrEqual", of_leaving, graph.constant(np.array(THRESHOLD, np.float32)))
        label = graph.op("Gather", names, graph.op("Cast", reached, to=TensorProto.INT64), axis=0)
        graph.output(label, "label", TensorProto.STRING, ["N"])
        graph.output(p_NC, "probabilities", TensorProto.FLOAT, ["N", 2])
        return
    # Padding and the unknown name are no answers; what probability they have is not given to others.
    known = graph.op("Slice", p_NC, graph.ints(FIRST), graph.ints(FIRST + len(classes)), graph.ints(1))
    count = min(LIKELIEST, len(classes))
    p_NK, place = graph.several("TopK", 2, known, graph.ints(count), axis=1)
    graph.output(graph.op("Gather", names, place, axis=0), "labels", TensorProto.STRING, ["N", count])
    graph.output(p_NK, "probabilities", TensorProto.FLOAT, ["N", count])


def _add_tags(graph: GraphBuilder, p_NTC: str, classes: tuple[str, ...], is_real: str) -> None:
    """The likeliest tag of each step and its probability, "" and 0 beyond the length."""
    tags = graph.op(
        "Gather", graph.constant(np.array(classes, dtype=object)), graph.op("ArgMax", p_NTC, axis=2, keepdims=0)
    )
    labels = graph.op("Where", is_real, tags, graph.constant(np.array([""], dtype=object)))
    best = graph.op("ReduceMax", p_NTC, graph.ints(2), keepdims=0)
    graph.output(labels, "labels", TensorProto.STRING, ["N", "T"])
    graph.output(graph.op("Where", is_real, best, graph.floats(0.0)), "probabilities", TensorProto.FLOAT, ["N", "T"])


def _manifest_inputs(inputs: StepInputs) -> tuple[Input, ...]:
    found = []
    if inputs.vocabulary is not None and inputs.name is not None:
        form = "list" if inputs.time is not None else "words"
        found.append(Input(inputs.name, NAMES, "category", inputs.vocabulary.tokens[:SHOWN_NAMES], form=form))
    if inputs.time is not None:
        found.append(Input(inputs.time, TIMES, "timestamp", None, inputs.times, "list"))
    for column, tensor, mean, deviation in zip(
        inputs.numbers, number_tensors(inputs), *(inputs.scale if inputs.numbers and inputs.scale else ((), ())),
        strict=True,
    ):  # fmt: skip
        limits = (float(mean - 3 * deviation), float(mean + 3 * deviation))
        found.append(Input(column, tensor, "number", None, limits, "list"))
    found += player_inputs(inputs.players) if inputs.players is not None else []
    doubled = {item.column for item in found if [one.column for one in found].count(item.column) > 1}
    if doubled:
        raise ValueError(f'the log and the players both have a column "{min(doubled)}"; rename one of them')
    if inputs.has_now:
        found.append(Input(_now_column(inputs), NOW, "timestamp", None, inputs.times))
    return tuple(found)


def _manifest_sequence(inputs: StepInputs) -> SequenceInputs:
    longest = LONGEST if inputs.days_per_step is None else LONGEST_DAYS
    return SequenceInputs(
        length=LENGTH,
        longest=longest if inputs.longest is None else min(longest, inputs.longest),
        time=inputs.time,
        now=_now_column(inputs) if inputs.has_now else None,
        observe=inputs.observe,
        active_within=inputs.active_within,
        line_end=inputs.line_end,
    )


def _now_column(inputs: StepInputs) -> str:
    """A name that no column of the log has."""
    name = NOW_COLUMN
    players = [item.column for item in player_inputs(inputs.players)] if inputs.players is not None else []
    while name in (inputs.name, inputs.time, *inputs.numbers, *players):
        name += "_"
    return name
