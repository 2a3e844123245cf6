"""Names and times in the graph equal what training made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from ludocast.datamodules.time_features import log_ages, log_gaps, periodic
from ludocast.datamodules.vocabulary import Vocabulary
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_events import add_ids, add_log_ages, add_log_gaps, add_periodic
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

# Seconds of today, before 1970, one moment twice, and gaps from parts of a second to years.
TIMES = np.array([[1.7e9, 1.7e9, 1.7e9 + 0.25, 1.7e9 + 3600, 1.8e9], [-1e6, -1.0, 0.0, 86_399.0, 4e9]])
OFFSETS = np.array([0, 5, 10])


def both(graph: GraphBuilder, fed: dict[str, Any]) -> list[np.ndarray]:
    model = graph.model("", {})
    (native,) = ort.InferenceSession(model.SerializeToString()).run(None, fed)
    (reference,) = list(ReferenceEvaluator(model).run(None, fed))
    return [native, reference]


def test_names_get_the_ids_of_the_vocabulary() -> None:
    vocabulary = Vocabulary(("login", "戦闘", "buy"))
    names = np.array([["buy", "login", ""], ["Login", "戦闘", "unseen"]], object)
    graph = GraphBuilder()
    graph.output(
        add_ids(graph, vocabulary, graph.input("e", TensorProto.STRING, "T")), "ids", TensorProto.INT64, ["N", "T"]
    )
    for found in both(graph, {"e": names}):
        np.testing.assert_array_equal(found, [[4, 2, 1], [1, 3, 1]])
        np.testing.assert_array_equal(found.ravel(), vocabulary.encode(names.ravel()))


@pytest.mark.parametrize("last", [None, [np.nan, -1e6 - 7200.0]])
def test_gaps(last: list[float] | None) -> None:
    wanted = log_gaps(TIMES.ravel(), OFFSETS).reshape(2, 5)
    graph = GraphBuilder()
    time = graph.input("t", TensorProto.DOUBLE, "T")
    fed = {"t": TIMES}
    if last is not None:
        fed["last"] = np.array(last)[:, None]
        wanted[1, 0] = np.log(3.0)  # two hours in units of one
    gaps = add_log_gaps(graph, time, graph.input("last", TensorProto.DOUBLE, 1) if last is not None else "")
    graph.output(gaps, "gaps", TensorProto.FLOAT, ["N", "T"])
    for found in both(graph, fed):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_ages() -> None:
    now = np.array([[1.8e9], [4e9 + 3600]])
    wanted = log_ages(TIMES.ravel(), np.repeat(now.ravel(), 5)).reshape(2, 5)
    np.testing.assert_allclose(wanted[:, -1], [0.0, np.log(2)], atol=1e-7)
    graph = GraphBuilder()
    time, at = graph.input("t", TensorProto.DOUBLE, "T"), graph.input("now", TensorProto.DOUBLE, 1)
    graph.output(add_log_ages(graph, time, at), "ages", TensorProto.FLOAT, ["N", "T"])
    for found in both(graph, {"t": TIMES, "now": now}):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_hours_and_weekdays() -> None:
    monday_six_in_the_morning = 4 * 86_400.0 + 6 * 3600
    times = np.concatenate([TIMES, [[monday_six_in_the_morning] * 5]])
    graph = GraphBuilder()
    waves = add_periodic(graph, graph.input("t", TensorProto.DOUBLE, "T"))
    graph.output(waves, "waves", TensorProto.FLOAT, ["N", "T", 4])
    for found in both(graph, {"t": times}):
        np.testing.assert_allclose(found, periodic(times), rtol=0, atol=1e-6)
        week = 2 * np.pi / 28
        np.testing.assert_allclose(found[2, 0], [1, 0, np.sin(week), np.cos(week)], atol=1e-6)
