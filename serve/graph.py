"""A small builder of ONNX graphs: values are names; equal constants are kept, and equal nodes computed, once."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20  # the first with Gelu
ML_OPSET = 3
IR_VERSION = 10  # as onnxruntime 1.20 reads it


class GraphBuilder:
    """Collects nodes and constants; `op` returns the name of a node's output.

    Args:
        prefix: Of the names it makes.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._known: dict[tuple[object, ...], list[str]] = {}
        self.initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: int, *widths: int | str) -> str:
        """A graph input [N, *widths] of an ONNX element type."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, ["N", *widths]))
        return name

    def optional_input(self, name: str, default: np.ndarray, shape: list[int | str]) -> str:
        """A graph input that is `default` where it is not fed: an initializer of the same name."""
        kind = helper.np_dtype_to_tensor_dtype(default.dtype)
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        self.initializers.append(numpy_helper.from_array(default, name))
        return name

    def output(self, value: str, name: str, dtype: int, shape: list[int | str]) -> None:
        """Name a value as a graph output."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def constant(self, array: np.ndarray) -> str:
        """The name of a constant; equal ones share it. Objects are strings."""
        if array.dtype == object:
            content = "\0".join(array.ravel().tolist()).encode()
        else:
            content = array.tobytes()
        # Of the content a digest is kept, or each matrix would be held twice.
        key = (str(array.dtype), array.shape, hashlib.sha256(content).digest())
        if key not in self._constants:
            name = f"{self._prefix}c{len(self._constants)}"
            self._constants[key] = name
            self.initializers.append(_tensor(array, name))
        return self._constants[key]

    def floats(self, *values: float) -> str:
        """A float32 constant [len(values)]."""
        return self.constant(np.array(values, np.float32))

    def doubles(self, *values: float) -> str:
        """A float64 constant [len(values)]."""
        return self.constant(np.array(values, np.float64))

    def ints(self, *values: int) -> str:
        """An int64 constant [len(values)]."""
        return self.constant(np.array(values, np.int64))

    def several(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Append a node, unless an equal one is there, and return the names of its outputs.

        An input that is not given is "".
        """
        return self._node(kind, [f"{self._prefix}v{len(self.nodes)}_{i}" for i in range(count)], inputs, attributes)

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Append a node of one output, unless an equal one is there, and return that output's name."""
        output = f"{self._prefix}v{len(self.nodes)}" if name is None else name
        return self._node(kind, [output], inputs, attributes, is_named=name is not None)[0]

    def _node(
        self, kind: str, outputs: list[str], inputs: tuple[str, ...], attributes: dict[str, Any], is_named: bool = False
    ) -> list[str]:
        # Trees and bodies of loops are never looked for: to tell whether they are equal takes longer than it saves.
        is_sought = not is_named and all(isinstance(value, int | float | str) for value in attributes.values())
        key = (kind, len(outputs), inputs, *sorted(attributes.items())) if is_sought else ()
        if key in self._known:
            return self._known[key]
        domain = "ai.onnx.ml" if kind in ("LabelEncoder", "TreeEnsembleRegressor") else ""
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, domain=domain, **attributes))
        if is_sought:
            self._known[key] = outputs
        return outputs

    def model(self, description: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished model, checked; the builder is empty then."""
        graph = helper.make_graph(self.nodes, "ludocast", self._inputs, self.outputs)
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain for node in self.nodes):
            opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ludocast", doc_string=description
        )
        helper.set_model_props(model, metadata)
        # One by one, and here at the end: make_graph and make_model would each copy all of them.
        while self.initializers:
            model.graph.initializer.append(self.initializers.pop(0))
        onnx.checker.check_model(model)
        return model


def _tensor(array: np.ndarray, name: str) -> onnx.TensorProto:
    if array.dtype == object:
        return helper.make_tensor(name, TensorProto.STRING, array.shape, [text.encode() for text in array.ravel()])
    return numpy_helper.from_array(np.array(array, order="C"), name)  # ascontiguousarray would make 0-d 1-d
