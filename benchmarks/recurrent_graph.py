"""Recurrent graphs in onnxruntime on one thread: `OMP_NUM_THREADS=1 python -m benchmarks.recurrent_graph`.

One layer reads T steps of H numbers, all rows of full length, and gives the last state of each row. A form is the
native operator or a Scan (`add_recurrent(as_scan=True)`). Figures are rows per second of CPU time, the median of
--rounds turns of --turn seconds, in which the forms of a batch size alternate in a random order. The step graph is told
in microseconds of CPU time for one player's event, and in events per CPU-second for the largest batch. Each graph is
first compared with torch on its own input. Where openvino is installed, the same graphs run there too.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import get_args

import numpy as np
import onnx
import onnxruntime as ort
import torch
from ludocast.models.stacked_rnn.recurrent import Kind, recurrent
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_recurrent import add_last, add_recurrent, add_step, state_size
from onnx import TensorProto
from torch import nn

Feed = dict[str, np.ndarray]
Run = Callable[[Feed], list[np.ndarray]]


def whole(rnn: nn.RNNBase, as_scan: bool) -> onnx.ModelProto:
    """Sequences in, last h out."""
    graph = GraphBuilder()
    x, length = graph.input("x", TensorProto.FLOAT, "T", rnn.input_size), graph.input("length", TensorProto.INT64)
    stack = add_recurrent(graph, rnn, x, length, as_scan=as_scan)
    graph.output(add_last(graph, stack), "last", TensorProto.FLOAT, ["N", rnn.hidden_size])
    return graph.model("", {})


def step(rnn: nn.RNNBase) -> onnx.ModelProto:
    """A step and a state in, the new state out."""
    graph = GraphBuilder()
    x, size = graph.input("x", TensorProto.FLOAT, rnn.input_size), state_size(rnn)
    _, state = add_step(graph, rnn, x, graph.input("state", TensorProto.FLOAT, size))
    graph.output(state, "new_state", TensorProto.FLOAT, ["N", size])
    return graph.model("", {})


def in_onnxruntime(model: onnx.ModelProto) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feed: list(session.run(None, feed))


def in_openvino(model: onnx.ModelProto) -> Run:
    core = importlib.import_module("openvino").Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(model.SerializeToString(), b""), "CPU", hints)
    return lambda feed: list(compiled(feed).values())


def check(run: Run, rnn: nn.RNNBase, feed: Feed) -> None:
    """The last h must be torch's, else the figures mean nothing."""
    with torch.no_grad():
        wanted = rnn(torch.from_numpy(feed["x"]))[0][:, -1]
    np.testing.assert_allclose(run(feed)[0], wanted.numpy(), rtol=0, atol=1e-5)


def calls_per_second(run: Run, feed: Feed, seconds: float) -> float:
    """Of CPU time."""
    begin, calls = time.process_time(), 0
    while (passed := time.process_time() - begin) < seconds or calls == 0:
        run(feed)
        calls += 1
    return calls / passed


def alternate(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in runs}
    order, turns = list(runs), random.Random(0)
    for _ in range(rounds):
        turns.shuffle(order)
        for name in order:
            found[name].append(runs[name]())
    return {name: median(values) for name, values in found.items()}


def forms(rnn: nn.RNNBase) -> dict[str, Run]:
    runtimes = {"onnxruntime": in_onnxruntime}
    if importlib.util.find_spec("openvino") is not None:
        runtimes["openvino"] = in_openvino
    kinds = {"operator": False, **({"scan": True} if rnn.mode == "RNN_TANH" else {})}
    return {
        f"{runtime:11} {form:8}": start(whole(rnn, as_scan))
        for runtime, start in runtimes.items()
        for form, as_scan in kinds.items()
    }


def measure_whole(kind: Kind, options: argparse.Namespace) -> None:
    rnn = recurrent(kind, options.hidden, options.hidden, batch_first=True).eval()
    runs = forms(rnn)
    table: dict[str, list[str]] = {name: [] for name in runs}
    for batch in options.batches:
        x = np.random.default_rng(0).normal(size=(batch, options.steps, options.hidden)).astype(np.float32)
        feed: Feed = {"x": x, "length": np.full(batch, options.steps, np.int64)}
        for run in runs.values():
            check(run, rnn, feed)
        turns = {name: partial(calls_per_second, run, feed, options.turn) for name, run in runs.items()}
        for name, calls in alternate(turns, options.rounds).items():
            table[name].append(f"{calls * batch:12,.0f}")
    for name, row in table.items():
        print(f"{kind:8} {name}", *row, flush=True)


def measure_step(kind: Kind, options: argparse.Namespace) -> None:
    rnn = recurrent(kind, options.hidden, options.hidden, batch_first=True).eval()
    run, many = in_onnxruntime(step(rnn)), max(options.batches)

    def turn(batch: int) -> float:
        feed: Feed = {
            "x": np.ones((batch, options.hidden), np.float32),
            "state": np.zeros((batch, state_size(rnn)), np.float32),
        }
        return calls_per_second(run, feed, options.turn)

    one, all_at_once = alternate({"1": partial(turn, 1), "n": partial(turn, many)}, options.rounds).values()
    print(f"{kind:8} {1e6 / one:10.1f} µs {all_at_once * many:16,.0f} events/CPU-s at {many}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--steps", type=int, default=56)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 1024])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turn", type=float, default=0.3)
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"T={options.steps}, H={options.hidden}: rows per CPU-second at batches {options.batches}")
    for kind in get_args(Kind):
        measure_whole(kind, options)
    print("the step graph")
    for kind in get_args(Kind):
        measure_step(kind, options)


if __name__ == "__main__":
    main()
