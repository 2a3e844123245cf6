"""The graph of a recommender behind its ids: numbers of items in, numbers of items and scores out."""

# N histories, T items of the longest, I items, K answers

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import onnx
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_stable_top import add_stable_top
from ludocast.serve.recommend_names import ALLOWED, CODES, EXCLUDE_OWNED, ITEMS, LENGTH, SCORES, K
from onnx import TensorProto, helper

# Values of the bundle's graph at which it is cut.
CORE_CODES, CORE_ITEMS, CORE_SCORES = "core_codes", "core_items", "core_scores"
NO_ITEM = -1  # stands where no item is left
LEAST = -1e30  # every real score is above


def recommend_document(answers: int) -> str:
    """What a bundle's graph says of itself; the catalogue is in the manifest."""
    return json.dumps({"format": 1, "task": ITEMS, "answers": answers})


def foreign_document(document: dict[str, Any], items: Sequence[str], longest: int) -> dict[str, Any]:
    """What a foreign runtime has to do before and after the core graph, as plain JSON.

    `codes` int64 [N, T]: the place of each item in `items`, that of unknown ones and of padding is the number of items.
    `length` int64 [N]: how many of a row are real, at most `longest`, of more the last ones. The options are inputs
    too, which have to be fed: `allowed` bool [1 or N, I], `exclude_owned` bool [1 or N, 1], `k` int64 [1].
    """
    return {
        **document, "items": list(items), "unknown": len(items), "longest": longest,
        "options": {
            ALLOWED: {"shape": ["1 or N", len(items)], "default": True},
            EXCLUDE_OWNED: {"shape": ["1 or N", 1], "default": True},
            K: {"shape": [1], "default": document["answers"], "largest": document["answers"]},
        },
        "outputs": {ITEMS: f"places in items, int64 [N, k]; {NO_ITEM} where no item is left", SCORES: "float [N, k]"},
    }  # fmt: skip


def cut_recommender(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """Cut the graph of a bundle at what `foreign_document` describes.

    Args:
        model: Of the bundle.
        count: I.
    """
    wanted, kept = {CORE_ITEMS, CORE_SCORES}, []
    for node in reversed(model.graph.node):
        if set(node.output) & wanted and node.output[0] != CORE_CODES:
            kept.append(node)
            wanted |= set(node.input)
    end = GraphBuilder("core_end_")
    is_item = end.op("Greater", CORE_SCORES, end.doubles(LEAST))
    shown = end.op("Where", is_item, CORE_ITEMS, end.ints(NO_ITEM))
    end.output(shown, ITEMS, TensorProto.INT64, ["N", "K"])
    end.output(end.op("Cast", CORE_SCORES, to=TensorProto.FLOAT), SCORES, TensorProto.FLOAT, ["N", "K"])
    inputs = {
        CODES: helper.make_tensor_value_info(CODES, TensorProto.INT64, ["N", "T"]),
        LENGTH: helper.make_tensor_value_info(LENGTH, TensorProto.INT64, ["N"]),
        ALLOWED: helper.make_tensor_value_info(ALLOWED, TensorProto.BOOL, ["allowed_rows", count]),
        EXCLUDE_OWNED: helper.make_tensor_value_info(EXCLUDE_OWNED, TensorProto.BOOL, ["exclude_owned_rows", 1]),
        K: helper.make_tensor_value_info(K, TensorProto.INT64, [1]),
    }
    # An input with a default is a constant to some runtimes, so here they have none.
    constants = [one for one in model.graph.initializer if one.name in wanted and one.name not in inputs]
    nodes = [helper.make_node("Identity", [CODES], [CORE_CODES])]
    for number, node in enumerate(kept[::-1]):
        # Along other axes it is values alone that are read.
        if node.op_type != "TopK" or _axis(node) != 1:
            nodes.append(node)
            continue
        top = GraphBuilder(f"top{number}_")
        add_stable_top(top, *node.input, *node.output)
        nodes += top.nodes
        constants += top.initializers
    nodes += end.nodes
    graph = helper.make_graph(
        nodes, "ludocast_core", list(inputs.values()), end.outputs, [*constants, *end.initializers]
    )
    opsets = [opset for opset in model.opset_import if opset.domain == ""]
    core = helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version, producer_name="ludocast")
    onnx.checker.check_model(core)
    return core


def _axis(node: onnx.NodeProto) -> int:
    return next((one.i for one in node.attribute if one.name == "axis"), -1)
