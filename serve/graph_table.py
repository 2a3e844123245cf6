"""The learners in the graph: from encoded inputs to scores, and from these to a bundle's outputs.

Distances and naive Bayes are worked out in float64, for they are differences of large numbers; all else in float32.
"""

# N rows, P columns of the design, M points, K neighbours, C outputs, V codes of all columns

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from ludocast.models.calibration import SURE
from ludocast.models.conformal import Ratios
from ludocast.models.fitted import Fitted, FittedClasses, FittedLabels, FittedNumbers
from ludocast.models.table.amounts import LEAST_AMOUNT, LEAST_LOG, Exponential, Floored
from ludocast.models.table.bayes import Bayes
from ludocast.models.table.deep import Network
from ludocast.models.table.design import Design
from ludocast.models.table.heads import LEAST_DEVIATION
from ludocast.models.table.kernel import Kernel
from ludocast.models.table.label_wise import LabelWise
from ludocast.models.table.layers import Layers
from ludocast.models.table.learners import Boosted
from ludocast.models.table.linear import Linear
from ludocast.models.table.model import Model
from ludocast.models.table.neighbours import GRID, Neighbours
from ludocast.models.table.prepared import Learned
from ludocast.models.table.trees import Trees
from ludocast.models.value.amounts import Hurdle, Line, LogNormal
from ludocast.serve.export import add_class_outputs, preprocessing_metadata
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import EncodedNames, add_inputs, add_preprocessing
from ludocast.serve.graph_learners import (
    add_boostings,
    add_linear,
    add_network,
    add_plain_values,
    add_tree_inputs,
    add_trees,
    add_up,
)
from onnx import TensorProto


def export_table(fitted: Fitted, description: str = "") -> onnx.ModelProto:
    """The graph of a bundle: a tensor [N, 1] a column in, and the outputs of its task out, see `serve.tasks`."""
    learned = fitted.candidates
    assert isinstance(learned, Learned)
    graph = GraphBuilder()
    names = add_preprocessing(graph, fitted.preprocessing, add_inputs(graph, fitted.schema))
    if isinstance(fitted, FittedLabels):
        _add_label_outputs(graph, fitted, _add_label_scores(graph, names, learned, fitted.scale))
    elif isinstance(fitted, FittedClasses):
        scale = {name: weight / fitted.temperature for name, weight in fitted.weights.items()}
        add_class_outputs(graph, fitted, _add_scores(graph, names, learned, scale))
    else:
        _add_number_outputs(graph, fitted, _add_scores(graph, names, learned, fitted.weights))
    return graph.model(description, preprocessing_metadata(fitted))


def _add_label_scores(
    graph: GraphBuilder, names: EncodedNames, learned: Learned, scale: Mapping[str, np.ndarray]
) -> str:
    """The sum [N, L] of the learners' logits, those of each label times its scale."""
    alone = {name: model for name, model in learned.models.items() if isinstance(model, LabelWise)}
    parts = [
        add_network(graph, names, model.module, scale[name])
        for name, model in learned.models.items()
        if isinstance(model, Network)
    ]
    if alone:
        labels = range(len(next(iter(scale.values()))))
        each = [
            _add_scores(
                graph,
                names,
                Learned({name: model.models[k] for name, model in alone.items()}),
                {name: float(scale[name][k]) for name in alone},
            )
            for k in labels
        ]
        parts.append(graph.op("Concat", *each, axis=1))
    return add_up(graph, parts)


def _add_label_outputs(graph: GraphBuilder, fitted: FittedLabels, logits: str) -> None:
    p = graph.op("Sigmoid", logits)
    count = len(fitted.classes)
    reached = graph.op("GreaterOrEqual", p, graph.floats(*fitted.thresholds.tolist()))
    graph.output(reached, "labels", TensorProto.BOOL, ["N", count])
    graph.output(p, "probabilities", TensorProto.FLOAT, ["N", count])


def _add_scores(graph: GraphBuilder, names: EncodedNames, learned: Learned, scale: Mapping[str, float]) -> str:
    """The sum [N, C] of the learners' scores, each times its scale; all boostings are one ensemble of trees."""
    parts = []
    boostings = [(model.boosting, scale[name]) for name, model in learned.models.items() if isinstance(model, Boosted)]
    for name, model in learned.models.items():
        if isinstance(model, Network):
            parts.append(add_network(graph, names, model.module, scale[name]))
        elif isinstance(model, Linear):
            parts.append(add_linear(graph, names, model, scale[name]))
        elif isinstance(model, Boosted):
            parts += [add_boostings(graph, names, boostings)] if boostings else []
            boostings = []
        else:
            parts.append(graph.op("Mul", _EMITTERS[type(model)](graph, names, model), graph.floats(scale[name])))
    return add_up(graph, parts)


def _add_number_outputs(graph: GraphBuilder, fitted: FittedNumbers, scores: str) -> None:
    score = graph.op("Cast", scores, to=TensorProto.DOUBLE)
    value = graph.op("Add", graph.op("Mul", score, graph.doubles(fitted.width)), graph.doubles(fitted.centre))
    if np.isfinite(fitted.lowest):
        value = graph.op("Max", value, graph.doubles(fitted.lowest))
    interval = fitted.interval
    if isinstance(interval, Ratios):
        ratio = _add_lines(graph, graph.op("Log", score), interval.knots, interval.ratio)
        bounds = graph.op("Mul", value, _around(graph, ratio, 1.0))
    else:
        offset = _add_lines(graph, score, interval.knots, interval.offset * fitted.width)
        bounds = graph.op("Add", value, _around(graph, offset, 0.0))
        if np.isfinite(fitted.lowest):
            bounds = graph.op("Max", bounds, graph.doubles(fitted.lowest, -np.inf))
    flat = graph.op("Squeeze", graph.op("Cast", value, to=TensorProto.FLOAT), graph.ints(1))
    graph.output(flat, "value", TensorProto.FLOAT, ["N"])
    graph.output(graph.op("Cast", bounds, to=TensorProto.FLOAT), "bounds", TensorProto.FLOAT, ["N", 2])


def _add_lines(graph: GraphBuilder, at: str, knots: np.ndarray, values: np.ndarray) -> str:
    """Values [K, 2] at knots, linear between them and constant outside: each piece adds its slope times its part."""
    steps = np.diff(knots)
    if not len(steps):
        return graph.constant(values)
    above = graph.op("Max", graph.op("Sub", at, graph.doubles(*knots[:-1])), graph.doubles(0.0))
    inside = graph.op("Min", above, graph.doubles(*steps))
    rise = graph.op("MatMul", inside, graph.constant(np.diff(values, axis=0) / steps[:, None]))
    return graph.op("Add", rise, graph.constant(values[0]))


def _around(graph: GraphBuilder, both: str, middle: float) -> str:
    """Both sides kept on their own side of the middle, from which rounding is not to take them."""
    lower = graph.op("Min", both, graph.doubles(middle, np.inf))
    return graph.op("Max", lower, graph.doubles(-np.inf, middle))


def _add_design(graph: GraphBuilder, names: EncodedNames, design: Design) -> str:
    """`Design.matrix`, float [N, P]."""
    parts = [] if names.numbers is None else [names.numbers]
    if len(design.centre) and names.raw is not None:
        parts.append(add_plain_values(graph, names.raw, design.centre, design.width))
    if names.codes is not None:
        sizes = design.code_sizes
        owner = np.repeat(np.arange(len(sizes)), sizes)
        code = np.concatenate([np.arange(size) for size in sizes])
        is_code = graph.op("Equal", graph.op("Gather", names.codes, graph.ints(*owner), axis=1), graph.ints(*code))
        parts.append(graph.op("Mul", graph.op("Cast", is_code, to=TensorProto.FLOAT), graph.floats(design.hot)))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)


def _of_shares(graph: GraphBuilder, shares: str, classes: int, least: str) -> str:
    """`models.calibration.logits_of`; `least` is SURE in the shares' own type."""
    logs = graph.op("Log", graph.op("Max", shares, least))
    return _second_less_first(graph, logs) if classes == 2 else logs


def _second_less_first(graph: GraphBuilder, logits: str) -> str:
    first, second = (graph.op("Gather", logits, graph.ints(k), axis=1) for k in (0, 1))
    return graph.op("Sub", second, first)


def _add_trees(graph: GraphBuilder, names: EncodedNames, model: Trees) -> str:
    total = add_trees(graph, add_tree_inputs(graph, names), model.trees(), max(model.classes, 1))
    return _of_shares(graph, total, model.classes, graph.floats(SURE)) if model.classes else total


def _add_layers(graph: GraphBuilder, names: EncodedNames, model: Layers) -> str:
    x = _add_design(graph, names, model.design)
    for layer, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        x = x if layer == 0 else graph.op("Relu", x)
        product = graph.op("MatMul", x, graph.constant(weight.astype(np.float32)))
        x = graph.op("Add", product, graph.constant(bias.astype(np.float32)))
    return x


def _add_distances(graph: GraphBuilder, names: EncodedNames, design: Design, points: np.ndarray) -> str:
    """Squared distances to points, double [N, M]."""
    x = graph.op("Cast", _add_design(graph, names, design), to=TensorProto.DOUBLE)
    own = graph.op("ReduceSum", graph.op("Mul", x, x), graph.ints(1), keepdims=1)
    # Kept as float32, which they are, and made wide when the graph is loaded.
    others = graph.op("Cast", graph.constant(points.T.astype(np.float32)), to=TensorProto.DOUBLE)
    both = graph.op("Mul", graph.op("MatMul", x, others), graph.doubles(2.0))
    distance = graph.op("Add", graph.op("Sub", own, both), graph.constant((points**2).sum(axis=1)))
    return graph.op("Max", distance, graph.doubles(0.0))


def _add_kernel(graph: GraphBuilder, names: EncodedNames, model: Kernel) -> str:
    distance = _add_distances(graph, names, model.design, model.landmarks)
    bells = graph.op("Exp", graph.op("Mul", distance, graph.doubles(-model.gamma)))
    total = graph.op("MatMul", bells, graph.constant(model.weight))
    return graph.op("Cast", graph.op("Add", total, graph.constant(model.bias)), to=TensorProto.FLOAT)


def _add_neighbours(graph: GraphBuilder, names: EncodedNames, model: Neighbours) -> str:
    distance = _add_distances(graph, names, model.design, model.points)
    rounded = graph.op("Round", graph.op("Div", distance, graph.doubles(GRID)))
    count = min(model.count, len(model.points))
    _, near = graph.several("TopK", 2, rounded, graph.ints(count), axis=1, largest=0)
    known = graph.op("Gather", graph.constant(model.targets), near, axis=0)
    total = graph.op("ReduceSum", known, graph.ints(1), keepdims=0)
    if model.classes:
        shares = graph.op("Div", graph.op("Add", total, graph.doubles(*model.prior)), graph.doubles(count + 1))
        return graph.op("Cast", _of_shares(graph, shares, model.classes, graph.doubles(SURE)), to=TensorProto.FLOAT)
    return graph.op("Cast", graph.op("Div", total, graph.doubles(count)), to=TensorProto.FLOAT)


def _add_bayes(graph: GraphBuilder, names: EncodedNames, model: Bayes) -> str:
    parts = []
    if names.numbers is not None:
        x = graph.op("Cast", names.numbers, to=TensorProto.DOUBLE)
        parts.append(graph.op("MatMul", graph.op("Mul", x, x), graph.constant(model.square)))
        parts.append(graph.op("MatMul", x, graph.constant(model.linear)))
    if names.codes is not None:
        rows = graph.op("Add", names.codes, graph.constant(model.offset))
        looked_up = graph.op("Gather", graph.constant(model.codes), rows, axis=0)
        parts.append(graph.op("ReduceSum", looked_up, graph.ints(1), keepdims=0))
    joint = graph.op("Add", add_up(graph, parts), graph.constant(model.constant))
    if model.means is not None:
        joint = graph.op("MatMul", graph.op("Softmax", joint, axis=1), graph.constant(model.means[:, None]))
    elif len(model.constant) == 2:
        joint = _second_less_first(graph, joint)
    return graph.op("Cast", joint, to=TensorProto.FLOAT)


def _add_hurdle(graph: GraphBuilder, names: EncodedNames, model: Hurdle) -> str:
    amount = _add_line(graph, graph.op("Cast", _emit(graph, names, model.amount), to=TensorProto.DOUBLE), model.line)
    if model.paying is not None:
        amount = graph.op("Mul", amount, _add_paying(graph, _emit(graph, names, model.paying), model.sharpness))
    return graph.op("Cast", amount, to=TensorProto.FLOAT)


def _add_log_normal(graph: GraphBuilder, names: EncodedNames, model: LogNormal) -> str:
    scores = _emit(graph, names, model.network)
    logit, centre, free = (graph.op("Gather", scores, graph.ints(k), axis=1) for k in range(3))
    free = graph.op("Softplus", free)  # runtimes have it for float alone
    width = graph.op("Max", graph.op("Cast", free, to=TensorProto.DOUBLE), graph.doubles(LEAST_DEVIATION))
    half = graph.op("Mul", graph.op("Mul", width, width), graph.doubles(0.5))
    log_mean = graph.op("Add", graph.op("Cast", centre, to=TensorProto.DOUBLE), half)
    paying = _add_paying(graph, logit, model.sharpness)
    return graph.op("Cast", graph.op("Mul", _add_line(graph, log_mean, model.line), paying), to=TensorProto.FLOAT)


def _add_line(graph: GraphBuilder, z: str, line: Line) -> str:
    """Means of payers, in double: an exponential makes a rounding error a share of the amount."""
    steep = graph.op("Mul", graph.op("Min", z, graph.doubles(line.most)), graph.doubles(line.slope))
    return graph.op("Exp", graph.op("Add", steep, graph.doubles(line.intercept)))


def _add_paying(graph: GraphBuilder, logit: str, sharpness: float) -> str:
    """The probability of an amount, double."""
    wide = graph.op("Cast", logit, to=TensorProto.DOUBLE)
    return graph.op("Sigmoid", graph.op("Mul", wide, graph.doubles(sharpness)))


def _add_exponential(graph: GraphBuilder, names: EncodedNames, model: Exponential) -> str:
    """In double, as `_add_line`."""
    log = graph.op("Cast", _emit(graph, names, model.model), to=TensorProto.DOUBLE)
    inside = graph.op("Min", graph.op("Max", log, graph.doubles(LEAST_LOG)), graph.doubles(model.most))
    return graph.op("Cast", graph.op("Exp", inside), to=TensorProto.FLOAT)


def _add_floored(graph: GraphBuilder, names: EncodedNames, model: Floored) -> str:
    return graph.op("Max", _emit(graph, names, model.model), graph.floats(LEAST_AMOUNT))


def _emit(graph: GraphBuilder, names: EncodedNames, model: Model) -> str:
    """The scores of a part of a learner, float [N, C]."""
    return _add_scores(graph, names, Learned({"part": model}), {"part": 1.0})


_EMITTERS: dict[type, Callable[[GraphBuilder, EncodedNames, Any], str]] = {
    Trees: _add_trees,
    Layers: _add_layers,
    Kernel: _add_kernel,
    Neighbours: _add_neighbours,
    Bayes: _add_bayes,
    Hurdle: _add_hurdle,
    LogNormal: _add_log_normal,
    Exponential: _add_exponential,
    Floored: _add_floored,
}
