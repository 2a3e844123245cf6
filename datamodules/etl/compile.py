"""The features' expressions as a program that needs no engine: written once, run in batch by one, online by NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from ludocast.datamodules.etl.features import Rows, all_features
from ludocast.datamodules.etl.rules import Contents, Rules, contents_of_document, rules_of
from ludocast.datamodules.feature_program import FeatureProgram, Output
from ludocast.datamodules.feature_state import WINDOW_COLUMNS, Definition, day_columns

OPERATORS: dict[type[ops.Node], str] = {
    ops.Add: "add", ops.Subtract: "subtract", ops.Multiply: "multiply", ops.Divide: "divide",
    ops.Greater: "greater", ops.GreaterEqual: "greater_equal", ops.Less: "less", ops.LessEqual: "less_equal",
    ops.Equals: "equal", ops.NotEquals: "not_equal", ops.And: "and", ops.Or: "or", ops.Not: "not",
    ops.IfElse: "if", ops.NullIf: "null_if", ops.Coalesce: "coalesce", ops.IsNull: "is_null",
    ops.NotNull: "not_null", ops.Greatest: "greatest", ops.Ln: "ln", ops.Sqrt: "sqrt",
    ops.Sum: "sum", ops.Max: "max", ops.Min: "min",
}  # fmt: skip


def compile_features(rules: Rules, contents: Contents) -> FeatureProgram:
    """The features of a log as a program.

    Args:
        rules: Lengths of the windows.
        contents: What the log holds.

    Raises:
        ValueError: If a feature uses what a program has no operator for.
    """
    columns = [*day_columns(contents), *WINDOW_COLUMNS]
    table = ibis.table(dict.fromkeys(columns, "int64"), name="days")
    features = all_features(Rows(table, rules, contents))
    return compile_values({feature.name: (feature.value, feature.whole) for feature in features}, columns)


def compile_values(values: Mapping[str, tuple[ir.Value, bool]], columns: Sequence[str]) -> FeatureProgram:
    """Reductions of a table's rows as a program.

    Args:
        values: Name to expression, and whether it is a whole number.
        columns: Of the table, int64.

    Raises:
        ValueError: As `compile_features`.
    """
    compiler = _Compiler()
    outputs = []
    for name, (value, whole) in values.items():
        node = value.cast("int64" if whole else "float64").op()
        outputs.append(Output(name, compiler.step(node, name), whole))
    return FeatureProgram(columns, compiler.steps, outputs)


def definition_of_document(document: Mapping[str, Any]) -> Definition:
    """What written snapshots say of their features, as it can be used online.

    Args:
        document: Their `_schema.json`.

    Raises:
        ValueError: As `compile_features`.
    """
    rules, contents = rules_of(document["rules"]), contents_of_document(document["contents"])
    return Definition(rules, contents, compile_features(rules, contents))


class _Compiler:
    """Steps so far; equal expressions are worked out once."""

    def __init__(self) -> None:
        self.steps: list[list[Any]] = []
        self._known: dict[str, int] = {}
        self._nodes: dict[ops.Node, int] = {}

    def step(self, node: Any, feature: str) -> int:
        """Number of the step that gives a node's value."""
        if node not in self._nodes:
            self._nodes[node] = self._added(node, feature)
        return self._nodes[node]

    def _added(self, node: Any, feature: str) -> int:
        if isinstance(node, ops.Field):
            return self._put(["column", node.name])
        if isinstance(node, ops.Literal):
            if not isinstance(node.value, (bool, int, float)):
                raise _refused(feature, f"the constant {node.value!r}")
            return self._put(["number", node.value])
        if isinstance(node, ops.Cast):
            inner = self.step(node.arg, feature)
            if node.to.is_integer() and (node.arg.dtype.is_integer() or node.arg.dtype.is_boolean()):
                return inner if node.arg.dtype.is_integer() else self._put(["to_int", inner])
            if node.to.is_floating():
                return inner if node.arg.dtype.is_floating() else self._put(["to_float", inner])
            raise _refused(feature, f"a cast from {node.arg.dtype} to {node.to}")
        name = OPERATORS.get(type(node))
        if name is None:
            raise _refused(feature, type(node).__name__)
        if isinstance(node, (ops.Sum, ops.Max, ops.Min)) and node.arg.dtype.is_floating():
            raise _refused(feature, f"{name} of fractions, which depends on the order of rows")
        arguments = []
        for argument in node.args:
            if isinstance(argument, tuple):
                arguments += [self.step(inner, feature) for inner in argument]
            elif argument is not None:
                arguments.append(self.step(argument, feature))
        return self._put([name, *arguments])

    def _put(self, step: list[Any]) -> int:
        key = repr(step)
        if key not in self._known:
            self._known[key] = len(self.steps)
            self.steps.append(step)
        return self._known[key]


def _refused(feature: str, what: str) -> ValueError:
    return ValueError(
        f'the feature "{feature}" uses {what}, which players cannot be described by online; write it with '
        f"{', '.join(sorted(OPERATORS.values()))}, or add the operator to datamodules/feature_program.py"
    )
