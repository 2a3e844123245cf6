"""A model that computes for as long as its input says, as a bundle: for tests of what happens meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from ludocast.serve.bundle import write_bundle
from ludocast.serve.manifest import Input
from onnx import TensorProto, helper, numpy_helper

ENDLESS = 1e15  # turns


def write_spinning(folder: Path, version: str = "1") -> Path:
    """A bundle whose "Y" is as likely as 1 / (1 + exp(-column "x")), after `turns` turns of a loop."""
    loop = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["before", "one"], ["after"])],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, []),
        ],
    )
    constants = {
        "zero": np.float32(0),
        "one": np.float32(1),
        "yes": np.bool_(True),
        "half": np.array([0.5], np.float32),
        "last": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("IsNaN", ["turns"], ["no_turns"]),
        helper.make_node("Where", ["no_turns", "zero", "turns"], ["some"]),
        helper.make_node("ReduceMax", ["some"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["trips"], to=TensorProto.INT64),
        helper.make_node("Loop", ["trips", "yes", "zero"], ["turned"], body=loop),
        helper.make_node("Mul", ["turned", "zero"], ["nothing"]),
        helper.make_node("IsNaN", ["x"], ["no_x"]),
        helper.make_node("Where", ["no_x", "nothing", "x"], ["some_x"]),
        helper.make_node("Add", ["some_x", "nothing"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
        helper.make_node("Less", ["p", "half"], ["below"]),
        helper.make_node("Not", ["below"], ["above"]),
        helper.make_node("Squeeze", ["above", "last"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["number"], to=TensorProto.INT64),
        helper.make_node(
            "LabelEncoder",
            ["number"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1],
            values_strings=["N", "Y"],
            default_string="?",
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "spinning",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in ("x", "turns")],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    inputs = [Input("x", "x", "number", None, (-3, 3)), Input("turns", "turns", "number", None, (0, 10))]
    write_bundle(
        folder, model.SerializeToString(), name="spinning", inputs=inputs, classes=["N", "Y"],
        positive="Y", threshold=0.5, version=version,
    )  # fmt: skip
    return folder
