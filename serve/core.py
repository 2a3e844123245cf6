"""`ludocast export core`: the graph after its preprocessing, in plain ONNX operators, for other runtimes."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ludocast.datamodules.whole_files import write_whole
from ludocast.models.table.tree import Tree
from ludocast.serve.bundle import Bundle
from ludocast.serve.core_recommend import cut_recommender, foreign_document
from ludocast.serve.core_sequence import cut_sequence_model
from ludocast.serve.export import PREPROCESSING
from ludocast.serve.graph import GraphBuilder
from onnx import TensorProto, helper

NAMED = ("label", "segment")  # answers as text, which follow from the numbers
INPUTS = {"numbers": TensorProto.FLOAT, "codes": TensorProto.INT64, "raw": TensorProto.FLOAT}


def export_core(bundle: Path, out: Path, overwrite: bool = False) -> None:
    """Write OUT/model_core.onnx and OUT/preprocessing.json of a bundle.

    The core graph takes `numbers` (float [N, D]), `codes` (int64 [N, S]) and `raw` (float [N, R]), as far as the model
    reads them, and gives `probabilities` (of several labels `labels` too), or `value` and `bounds`, or of segments
    `measures`, whose least distance or largest probability tells the segment. preprocessing.json tells how to make
    these of a row's columns: of `numbers` each, taken to within its knots, is (x - knot) * slope + score of the
    knot below, 0 where missing; then come the missing flags and the scaled mean labels; a code is the number of its
    value, or that of unknown or missing; `raw` are the plain numbers (NaN where missing; times in units since an
    origin) and the mean labels. A number as a key is the float32 in JSON's form, -0 as 0.0.
    Of sequences it takes `tokens` (int64 [N, T]), `numbers` (float [N, T, D]), `steps` (int64 [N], those that are real)
    and `last_age` (float [N, 1]), as far as the model reads them. Of a recommender it takes `codes` (int64 [N, T], the
    places of a history's items in the catalogue), `length` (int64 [N]) and the options `allowed`, `exclude_owned` and
    `k`, and gives `items`, places in the catalogue, and `scores`.

    Args:
        bundle: Folder of the bundle.
        out: Folder for the two files.
        overwrite: Replace them.
    """
    loaded = Bundle.load(bundle)
    model = onnx.load(bundle / "model.onnx")
    found = {entry.key: entry.value for entry in model.metadata_props}
    if PREPROCESSING not in found:
        raise ValueError(
            f"{bundle} tells no preprocessing: there is a core graph of what `ludocast train churn` makes, `train "
            "table`, `train value`, `train recommend`, `train sequence` without --players, and `segment`; none of a "
            "bundle made otherwise or by an older release"
        )
    document = json.loads(found[PREPROCESSING])
    manifest = loaded.manifest
    if manifest.task == "items" and manifest.sequence is not None:
        if len(manifest.inputs) > 1:
            raise ValueError(f"{bundle} reads attributes of players, of which there is no core graph; train without")
        core = cut_recommender(model, len(manifest.classes))
        document = foreign_document(document, manifest.classes, manifest.sequence.longest)
    else:
        core = cut_sequence_model(model, document) if manifest.sequence is not None else core_model(model, document)
    files = {
        "model_core.onnx": core.SerializeToString(),
        "preprocessing.json": (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode(),
    }
    for name in files:
        if (out / name).exists() and not overwrite:
            raise ValueError(f"{out / name} exists; choose another --out, or --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(out / name, content)
    print(f"{out / 'model_core.onnx'}\n{out / 'preprocessing.json'}")


def core_model(model: onnx.ModelProto, document: dict[str, Any]) -> onnx.ModelProto:
    """Cut the graph at `numbers`, `codes` and `raw`, and walk its trees in plain operators."""
    answers = [info for info in model.graph.output if info.name not in NAMED]
    nodes = []
    constants = list(model.graph.initializer)
    for position, node in enumerate(_needed(model.graph.node, {info.name for info in answers})):
        if node.op_type != "TreeEnsembleRegressor":
            nodes.append(node)
            continue
        builder = GraphBuilder(f"tree{position}_")
        add_tree_steps(builder, node.input[0], read_trees(node), node.output[0])
        nodes += builder.nodes
        constants += builder.initializers
    read = {name for node in nodes for name in node.input}
    sizes = document["sizes"]
    inputs = [
        helper.make_tensor_value_info(name, kind, ["N", sizes[name]]) for name, kind in INPUTS.items() if name in read
    ]
    graph = helper.make_graph(nodes, "ludocast_core", inputs, answers, [c for c in constants if c.name in read])
    opsets = [opset for opset in model.opset_import if opset.domain == ""]
    core = helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version, producer_name="ludocast")
    onnx.checker.check_model(core)
    return core


def _needed(nodes: Sequence[onnx.NodeProto], answers: Set[str]) -> list[onnx.NodeProto]:
    """The nodes between the core's inputs and its answers, in order."""
    wanted, kept = set(answers), []
    for node in reversed(nodes):
        if wanted & set(node.output) and node.output[0] not in INPUTS:
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def read_trees(node: onnx.NodeProto) -> list[Tree]:
    """The trees of a `TreeEnsembleRegressor` node; each leaf has a value for each of its outputs, [nodes, C]."""
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    owner = np.array(attributes["nodes_treeids"])
    leaf_owner, leaf_node = np.array(attributes["target_treeids"]), np.array(attributes["target_nodeids"])
    weights, targets = np.array(attributes["target_weights"]), np.array(attributes["target_ids"])
    leaf = np.array([mode == b"LEAF" for mode in attributes["nodes_modes"]])
    trees = []
    for tree in range(owner.max() + 1):
        here, leaves = owner == tree, leaf_owner == tree
        value = np.zeros((int(here.sum()), int(attributes["n_targets"])), np.float32)
        value[leaf_node[leaves], targets[leaves]] = weights[leaves]
        trees.append(
            Tree(
                np.where(leaf[here], -1, np.array(attributes["nodes_featureids"])[here]),
                np.array(attributes["nodes_values"], np.float32)[here],
                np.array(attributes["nodes_truenodeids"])[here],
                np.array(attributes["nodes_falsenodeids"])[here],
                np.array(attributes["nodes_missing_value_tracks_true"], bool)[here],
                value,
                0,
            )
        )
    return trees


def add_tree_steps(graph: GraphBuilder, raw: str, trees: Sequence[Tree], name: str) -> None:
    """The trees' sum [N, C] as a value `name`, all trees walked level by level; a leaf leads to itself."""
    starts = np.cumsum([0, *(len(tree.feature) for tree in trees[:-1])])
    own = [np.arange(len(tree.feature)) + start for tree, start in zip(trees, starts, strict=True)]
    left = [
        np.where(tree.feature < 0, at, tree.left + start) for tree, at, start in zip(trees, own, starts, strict=True)
    ]
    right = [
        np.where(tree.feature < 0, at, tree.right + start) for tree, at, start in zip(trees, own, starts, strict=True)
    ]
    feature, threshold, gap_left, lefts, rights = (
        graph.constant(np.concatenate(part))
        for part in (
            [np.maximum(tree.feature, 0).astype(np.int64) for tree in trees],
            [tree.threshold for tree in trees],
            [tree.missing_left for tree in trees],
            [part.astype(np.int64) for part in left],
            [part.astype(np.int64) for part in right],
        )
    )
    # Zeros [N, 1] of the inputs' own number of rows, whatever they hold, make the roots [N, T].
    rows = graph.op("Gather", graph.op("Shape", raw), graph.ints(0), axis=0)
    shape = graph.op("Concat", rows, graph.ints(len(trees)), axis=0)
    node = graph.op("Expand", graph.constant(starts[None].astype(np.int64)), shape)
    for _ in range(max(_depth(tree) for tree in trees)):
        x = graph.op("GatherElements", raw, graph.op("Gather", feature, node), axis=1)
        low = graph.op("LessOrEqual", x, graph.op("Gather", threshold, node))
        gap = graph.op("And", graph.op("IsNaN", x), graph.op("Gather", gap_left, node))
        go_left = graph.op("Or", low, gap)
        node = graph.op("Where", go_left, graph.op("Gather", lefts, node), graph.op("Gather", rights, node))
    reached = graph.op("Gather", graph.constant(np.concatenate([tree.value for tree in trees])), node, axis=0)
    graph.op("ReduceSum", reached, graph.ints(1), keepdims=0, name=name)


def _depth(tree: Tree) -> int:
    depth = np.zeros(len(tree.feature), int)
    for node in range(len(tree.feature)):  # children come after their parent
        if tree.feature[node] >= 0:
            depth[[tree.left[node], tree.right[node]]] = depth[node] + 1
    return int(depth.max())
