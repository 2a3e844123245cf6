"""Preprocessing in the graph: `Preprocessing.encode`, operation by operation in float32."""

# N rows, D numbers, K knots, S code columns, R raw inputs

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import FIRST, MISSING, UNKNOWN, CodeInput, MeanInput, Preprocessing, slopes
from ludocast.datamodules.schema import Schema
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.manifest import DTYPES, Input
from onnx import TensorProto

SHOWN_CATEGORIES = 50
ELEMENTS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "string": TensorProto.STRING}


@dataclass(frozen=True)
class EncodedNames:
    """The graph's counterpart of `Encoded`; None where there are none of a sort.

    The tensors called "numbers", "codes" and "raw" hold what comes of single columns: there the core graph begins.
    """

    numbers: str | None
    codes: str | None
    raw: str | None


def schema_inputs(schema: Schema, prefix: str = "x") -> list[Input]:
    """The columns that the model reads as a manifest has them; tensors are called by a prefix and a number."""
    return [
        Input(
            column.name,
            f"{prefix}{i}",
            column.kind,
            None if column.categories is None else tuple(list(column.categories)[:SHOWN_CATEGORIES]),
            None if column.quantiles is None else (column.quantiles[0], column.quantiles[-1]),
        )
        for i, column in enumerate(schema.inputs)
    ]


def add_inputs(graph: GraphBuilder, schema: Schema, prefix: str = "x") -> dict[str, str]:
    """An input tensor [N, 1] for each column that the model reads; column name to tensor name."""
    return {
        item.column: graph.input(item.tensor, ELEMENTS[DTYPES[item.kind]], 1) for item in schema_inputs(schema, prefix)
    }


def add_preprocessing(graph: GraphBuilder, preprocessing: Preprocessing, tensors: dict[str, str]) -> EncodedNames:
    """Append the preprocessing; the order of columns is that of `Preprocessing.encode`."""
    means = [
        _mean(graph, entry, tensors[entry.column], k)
        for entry in preprocessing.means
        for k in range(entry.means.shape[1])
    ]
    owner = [entry.column for entry in preprocessing.means for _ in range(entry.means.shape[1])]
    numbers, values = [], []
    if preprocessing.numbers:
        x_ND, gap_ND = _stack_numbers(graph, preprocessing, tensors)
        values.append(x_ND)
        numbers.append(_scale(graph, preprocessing, x_ND, gap_ND))
        flagged = [i for i, entry in enumerate(preprocessing.numbers) if entry.missing_flag]
        if flagged:
            chosen = graph.op("Gather", gap_ND, graph.ints(*flagged), axis=1)
            numbers.append(graph.op("Cast", chosen, to=TensorProto.FLOAT))
    centre, width = preprocessing.mean_scale
    for column, mean in zip(owner, means, strict=True):
        if column in preprocessing.network_means:
            shifted = graph.op("Sub", mean, graph.floats(centre))
            numbers.append(graph.op("Mul", shifted, graph.floats(1 / width)))
    alone = EncodedNames(
        _concat(graph, numbers, "numbers"), _codes(graph, preprocessing, tensors), _concat(graph, values + means, "raw")
    )
    return _with_pairs(graph, preprocessing, alone)


def _with_pairs(graph: GraphBuilder, preprocessing: Preprocessing, names: EncodedNames) -> EncodedNames:
    numbers, codes, means = [], [], []
    if preprocessing.products and names.numbers is not None:
        numbers.append(
            graph.op(
                "Mul", *(_columns(graph, names.numbers, side) for side in zip(*preprocessing.products, strict=True))
            )
        )
    if preprocessing.crosses and names.codes is not None:
        first = _columns(graph, names.codes, [cross.first for cross in preprocessing.crosses])
        second = _columns(graph, names.codes, [cross.second for cross in preprocessing.crosses])
        width = graph.ints(*(cross.table.shape[1] for cross in preprocessing.crosses))
        start = graph.ints(*np.cumsum([0, *(cross.table.size for cross in preprocessing.crosses[:-1])]).tolist())
        cell = graph.op("Add", graph.op("Add", graph.op("Mul", first, width), second), start)
        table = np.concatenate([cross.table.ravel() for cross in preprocessing.crosses])
        codes.append(graph.op("Gather", graph.constant(table), cell, axis=0))
        rates = np.concatenate([cross.means.reshape(cross.table.size, -1) for cross in preprocessing.crosses])
        looked_up = graph.op("Gather", graph.constant(rates), cell, axis=0)
        means.append(graph.op("Reshape", looked_up, graph.ints(0, len(preprocessing.crosses) * rates.shape[1])))
    return EncodedNames(
        _extended(graph, names.numbers, numbers),
        _extended(graph, names.codes, codes),
        _extended(graph, names.raw, means + numbers),
    )


def _columns(graph: GraphBuilder, x: str, columns: Sequence[int]) -> str:
    return graph.op("Gather", x, graph.ints(*columns), axis=1)


def _extended(graph: GraphBuilder, name: str | None, more: list[str]) -> str | None:
    parts = ([] if name is None else [name]) + more
    return graph.op("Concat", *parts, axis=1) if more else name


def _concat(graph: GraphBuilder, parts: list[str], name: str) -> str | None:
    return graph.op("Concat", *parts, axis=1, name=name) if parts else None


def _stack_numbers(graph: GraphBuilder, preprocessing: Preprocessing, tensors: dict[str, str]) -> tuple[str, str]:
    columns = []
    for entry in preprocessing.numbers:
        x = tensors[entry.column]
        if entry.unit != 1.0:
            since = graph.op("Sub", x, graph.constant(np.array([entry.origin])))
            x = graph.op("Div", since, graph.constant(np.array([entry.unit])))
            x = graph.op("Cast", x, to=TensorProto.FLOAT)
        columns.append(x)
    x_ND = graph.op("Concat", *columns, axis=1)
    return x_ND, graph.op("IsNaN", x_ND)


def _scale(graph: GraphBuilder, preprocessing: Preprocessing, x_ND: str, gap_ND: str) -> str:
    """Piecewise linear between knots: the piece is the number of inner knots that the value reaches."""
    entries = preprocessing.numbers
    pieces = max(len(entry.knots) for entry in entries) - 1
    first = np.array([entry.knots[0] for entry in entries], np.float32)
    last = np.array([entry.knots[-1] for entry in entries], np.float32)
    inner = np.full((len(entries), max(pieces - 1, 1)), np.inf, np.float32)
    tables = np.zeros((3, len(entries), pieces), np.float32)
    for i, entry in enumerate(entries):
        inner[i, : len(entry.knots) - 2] = entry.knots[1:-1]
        for table, row in zip(tables, (entry.knots[:-1], slopes(entry), entry.scores[:-1]), strict=True):
            table[i, : len(row)] = row
    inside = graph.op("Where", gap_ND, graph.constant(first), x_ND)
    inside = graph.op("Min", graph.op("Max", inside, graph.constant(first)), graph.constant(last))
    reached = graph.op("GreaterOrEqual", graph.op("Unsqueeze", inside, graph.ints(2)), graph.constant(inner))
    ones = graph.constant(np.ones((inner.shape[1], 1), np.uint8))
    count = graph.op(
        "Squeeze", graph.op("MatMulInteger", graph.op("Cast", reached, to=TensorProto.UINT8), ones), graph.ints(2)
    )
    start = np.arange(len(entries), dtype=np.int32) * pieces
    piece = graph.op("Add", count, graph.constant(start))
    knot, slope, score = (graph.op("Gather", graph.constant(table.ravel()), piece, axis=0) for table in tables)
    scaled = graph.op("Add", graph.op("Mul", graph.op("Sub", inside, knot), slope), score)
    return graph.op("Where", gap_ND, graph.floats(0.0), scaled)


def _codes(graph: GraphBuilder, preprocessing: Preprocessing, tensors: dict[str, str]) -> str | None:
    entries = preprocessing.codes
    texts = [i for i, entry in enumerate(entries) if entry.keys.dtype == object]
    numbers = [i for i, entry in enumerate(entries) if entry.keys.dtype != object]
    parts = [_code(graph, entries[i], tensors[entries[i].column]) for i in texts]
    if numbers:
        # A NaN key is found by one runtime and not by another; all columns at once are fewer operations.
        gap = graph.op("IsNaN", graph.op("Concat", *(tensors[entries[i].column] for i in numbers), axis=1))
        found = graph.op("Concat", *(_code(graph, entries[i], tensors[entries[i].column]) for i in numbers), axis=1)
        parts.append(graph.op("Where", gap, graph.ints(MISSING), found))
    if not parts:
        return None
    order = np.argsort(texts + numbers)
    return graph.op("Gather", graph.op("Concat", *parts, axis=1), graph.constant(order), axis=1, name="codes")


def _code(graph: GraphBuilder, entry: CodeInput, x: str) -> str:
    codes = list(range(FIRST, FIRST + len(entry.keys)))
    if entry.keys.dtype == object:
        keys = [""] + [str(key) for key in entry.keys]
        return graph.op("LabelEncoder", x, keys_strings=keys, values_int64s=[MISSING, *codes], default_int64=UNKNOWN)
    numbers = [float(key) for key in entry.keys]
    return graph.op("LabelEncoder", x, keys_floats=numbers, values_int64s=codes, default_int64=UNKNOWN)


def _mean(graph: GraphBuilder, entry: MeanInput, x: str, k: int) -> str:
    return graph.op(
        "LabelEncoder",
        x,
        keys_strings=[str(key) for key in entry.keys],
        values_floats=[float(value) for value in entry.means[:, k]],
        default_float=float(entry.default[k]),
    )
