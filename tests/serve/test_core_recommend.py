"""The core graph of a recommender: numbers of items in, the ranking of the bundle out, in two runtimes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from ludocast.models.recommend.item_item import EASE, CosineNeighbours, Popularity, RP3Beta
from ludocast.models.recommend.ranking import Recommender
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.recommend.signals import Signals
from ludocast.models.recommend.stored_weights import store_at
from ludocast.recipes.recommend_bundle import write_recommend_bundle
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_stable_top import add_stable_top
from ludocast.serve.manifest_sequences import PairColumns
from ludocast.serve.scorer import Scorer
from onnx import TensorProto

from ludocast.__main__ import main
from tests.models.recommend.made import random_history

HISTORY = random_history(120, 40)
IDS = np.array([f"item {k}" if k % 3 else f"물건\n{k}" for k in range(40)], object)


def reranker() -> Reranker:
    signals = Signals(
        {"ease": EASE(5.0, 0.5), "cosine": CosineNeighbours(), "walks": RP3Beta()}, candidates=15, told=("ease",)
    )
    return Reranker(signals, RerankSettings(epochs=3, members=2))


@pytest.fixture(scope="module", params=["popularity", "ease", "int8", "sparse", "reranker"])
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scorer, bytes, Any]:
    makers: dict[str, Callable[[], Recommender]] = {
        "popularity": Popularity, "ease": lambda: EASE(5.0, 0.5), "int8": lambda: EASE(5.0, 0.5), "reranker": reranker,
        "sparse": lambda: EASE(5.0, 0.5, neighbours=11),
    }  # fmt: skip
    model = makers[request.param]().fit(HISTORY)
    store_at(model, "int8" if request.param == "int8" else "float32")
    folder = tmp_path_factory.mktemp("core")
    write_recommend_bundle(
        folder / "bundle", "shop", model, IDS, HISTORY.toarray().sum(0), PairColumns("player", "thing"), {}, ""
    )
    assert main(["export", "core", "--bundle", str(folder / "bundle"), "--out", str(folder / "core")]) == 0
    content = Path(folder, "core", "model_core.onnx").read_bytes()
    return Scorer.load(folder / "bundle"), content, json.loads((folder / "core" / "preprocessing.json").read_text())


def fed(document: dict[str, Any], histories: list[list[str]], **options: Any) -> dict[str, np.ndarray]:
    """As preprocessing.json says."""
    number = {item: place for place, item in enumerate(document["items"])}
    codes = np.full((len(histories), max(map(len, histories))), document["unknown"], np.int64)
    for row, history in enumerate(histories):
        codes[row, : len(history)] = [number.get(item, document["unknown"]) for item in history]
    lengths = np.array([len(history) for history in histories], np.int64)
    return {
        "codes": codes, "length": lengths, "allowed": np.ones((1, 40), bool),
        "exclude_owned": np.ones((1, 1), bool), "k": np.array([document["options"]["k"]["default"]]), **options,
    }  # fmt: skip


def histories() -> list[list[str]]:
    some = [IDS[3], IDS[0], IDS[7]]
    return [some, [*some, *some], ["never seen", *some, ""], [], ["never seen"], IDS.tolist(), IDS[:-2].tolist()] + [
        IDS[HISTORY[user].indices].tolist() for user in range(60)
    ]


def check(scorer: Scorer, document: dict[str, Any], ranked: Sequence[np.ndarray], k: int) -> None:
    items, scores = ranked
    found = scorer.predict_rows([{"history": one, "k": k} for one in histories()])
    for row, (wanted, wanted_scores) in enumerate(zip(found.labels, found.probabilities, strict=True)):
        size = len(wanted)
        assert [document["items"][place] for place in items[row, :size]] == wanted
        np.testing.assert_allclose(scores[row, :size], wanted_scores, rtol=1e-5, atol=1e-5)
        assert (items[row, size:] == -1).all()


def test_onnxruntime_ranks_as_the_bundle(core: tuple[Scorer, bytes, Any]) -> None:
    scorer, content, document = core
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert {item.name for item in session.get_inputs()} == {"codes", "length", "allowed", "exclude_owned", "k"}
    most = document["options"]["k"]["largest"]
    check(scorer, document, session.run(["items", "scores"], fed(document, histories())), most)
    check(scorer, document, session.run(["items", "scores"], fed(document, histories(), k=np.array([3]))), 3)
    allowed = np.zeros((1, 40), bool)
    allowed[0, [5, 9]] = True
    items, _ = session.run(["items", "scores"], fed(document, histories(), allowed=allowed))
    assert {place for row in items for place in row} == {-1, 5, 9}


def test_openvino_ranks_alike(core: tuple[Scorer, bytes, Any]) -> None:
    openvino = pytest.importorskip("openvino", reason="a further runtime; pip install openvino")
    scorer, content, document = core
    runtime = openvino.Core()
    # Without the hint it may compute in bfloat16.
    compiled = runtime.compile_model(runtime.read_model(content, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    most = document["options"]["k"]["largest"]
    found = compiled(fed(document, histories()))
    check(scorer, document, [found["items"], found["scores"]], most)
    found = compiled(fed(document, histories(), k=np.array([3])))
    check(scorer, document, [found["items"], found["scores"]], 3)


def test_the_best_of_many_equal_ones_in_each_runtime() -> None:
    openvino = pytest.importorskip("openvino", reason="a further runtime; pip install openvino")
    graph = GraphBuilder()
    scores, k = graph.input("scores", TensorProto.FLOAT, "M"), graph.optional_input("k", np.array([7]), [1])
    add_stable_top(graph, scores, k, "values", "places")
    for name, kind in (("values", TensorProto.FLOAT), ("places", TensorProto.INT64)):
        graph.output(name, f"{name}_out", kind, ["N", "K"])
    content = graph.model("", {}).SerializeToString()
    x = np.random.default_rng(0).integers(0, 4, (50, 30)).astype(np.float32)
    x[3], x[5, 2:] = -np.inf, -np.inf
    wanted = np.argsort(-x, axis=1, kind="stable")[:, :7]
    compiled = openvino.Core().compile_model(openvino.Core().read_model(content, b""), "CPU")
    for found in (compiled({"scores": x}), ort.InferenceSession(content).run(None, {"scores": x})):
        values, places = found[0], found[1]
        np.testing.assert_array_equal(places, wanted)
        np.testing.assert_array_equal(values, np.take_along_axis(x, wanted, 1))
