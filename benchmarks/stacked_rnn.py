"""The sigmoid RNN beside `torch.nn.RNN(nonlinearity="tanh")`: `OMP_NUM_THREADS=1 python -m benchmarks.stacked_rnn`.

A cell is T steps of B lanes with H hidden units and as many inputs, one layer. Its models take turns, in a random order
each round: forward in eval mode without gradients, then a training step (forward and backward, no optimiser). A turn
repeats the call until it has lasted --turn seconds by nn.RNN's speed. A ratio is the median over the rounds of
nn.RNN's time by the model's: above 1 is faster. A cell ends after --rounds rounds, or once --seconds have passed and
3 rounds are done; the table tells how many there were. Some small cells are run again beside the equations as a Python
loop and as the same loop under torch.compile.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from ludocast.models.stacked_rnn.sigmoid_rnn import SigmoidRNN
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_ROUNDS = 3
LOOPS = ("50x64x1", "50x64x32", "50x256x32")
Cell = tuple[int, int, int]  # T, H, B
Times = dict[str, list[float]]


class LoopRNN(nn.Module):
    """The equations as one writes them down."""

    def __init__(self, rnn: SigmoidRNN) -> None:
        super().__init__()
        W_HX, R_HH, *parts = (p.detach() for p in rnn.parameters())
        self.W, self.R, self.b = nn.Parameter(W_HX), nn.Parameter(R_HH), nn.Parameter(parts[0] + parts[1])

    def forward(self, x_TBX: Tensor) -> Tensor:
        """[T, B, X] → h [T, B, H]."""
        read_TBH = F.linear(x_TBX, self.W, self.b)
        h_BH = read_TBH.new_zeros(read_TBH.shape[1:])
        outputs = []
        for read_BH in read_TBH.unbind(0):
            h_BH = torch.sigmoid(torch.addmm(read_BH, h_BH, self.R.t()))
            outputs.append(h_BH)
        return torch.stack(outputs)


class Output(nn.Module):
    """A recurrent module without its state."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x_TBX: Tensor) -> Tensor:
        """[T, B, X] → [T, B, H]."""
        output: Tensor = self.rnn(x_TBX)[0]
        return output


def build(hidden: int, device: str, loops: bool) -> dict[str, nn.Module]:
    """The models of a cell, nn.RNN first."""
    sigmoid = SigmoidRNN(hidden, hidden)
    found: dict[str, nn.Module] = {
        "nn.RNN": Output(nn.RNN(hidden, hidden)),
        "tanh": Output(SigmoidRNN(hidden, hidden, coordinates="tanh")),
        "sigmoid": Output(sigmoid),
    }
    if loops:
        found |= {"loop": LoopRNN(sigmoid), "compiled loop": LoopRNN(sigmoid)}
        found["compiled loop"].compile()
    return {name: model.to(device) for name, model in found.items()}


def forward(model: nn.Module, x_TBX: Tensor, _: Tensor) -> None:
    with torch.no_grad():
        model(x_TBX)


def step(model: nn.Module, x_TBX: Tensor, gradient_TBH: Tensor) -> None:
    model(x_TBX).backward(gradient_TBH)
    model.zero_grad(set_to_none=True)


def seconds(call: Callable[[], None], repeats: int, device: str) -> float:
    """Of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / repeats


def first_seconds(call: Callable[[], None], device: str) -> float:
    """Of a call after the first, in which kernels are chosen and loops compiled; of the first where it is long."""
    first = seconds(call, 1, device)
    return first if first > 1 else seconds(call, 1, device)


def measure(models: dict[str, nn.Module], cell: Cell, train: bool, options: argparse.Namespace) -> Times:
    """Seconds a call of each model, one figure a round."""
    T, H, B = cell
    run, device = step if train else forward, options.device
    x_TBX, gradient_TBH = torch.randn(2, T, B, H, device=device)
    calls = {name: partial(run, model.train(train), x_TBX, gradient_TBH) for name, model in models.items()}
    once = {name: first_seconds(call, device) for name, call in calls.items()}
    repeats = max(1, math.ceil(options.turn / once["nn.RNN"]))
    times: Times = {name: [] for name in models}
    begin, order, turns = time.perf_counter(), list(models), random.Random(0)
    for done in range(options.rounds):
        if done >= LEAST_ROUNDS and time.perf_counter() - begin > options.seconds:
            break
        turns.shuffle(order)  # no model always runs in what the same other one left in caches and on the heap
        for name in order:
            times[name].append(seconds(calls[name], repeats, device))
    return times


def ratios(times: Times) -> dict[str, float]:
    """Speed of each model by nn.RNN's."""
    base = times["nn.RNN"]
    return {
        name: median(b / own for b, own in zip(base, found, strict=True))
        for name, found in times.items()
        if name != "nn.RNN"
    }


def check(models: dict[str, nn.Module], cell: Cell, device: str) -> None:
    """The loops must compute what the module computes, else their times mean nothing.

    In full float32: left alone, cuDNN rounds what it multiplies to TF32's 10 bits, for nn.RNN as for ours.
    """
    T, H, B = cell
    x_TBX = torch.randn(T, B, H, device=device)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        wanted = models["sigmoid"](x_TBX)
    for name in ("loop", "compiled loop"):
        torch.testing.assert_close(models[name](x_TBX), wanted, rtol=0, atol=1e-5)


def table(cells: list[Cell], options: argparse.Namespace, loops: bool) -> dict[tuple[str, str], list[float]]:
    """Print a line a cell; all ratios by phase and model."""
    names = ["tanh", "sigmoid", *(["loop", "compiled loop"] if loops else [])]
    head = ["T", "H", "B"]
    for phase in ("forward", "training step"):
        head += [f"{phase}: nn.RNN ms", *(f"{name} ×" for name in names), "rounds"]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}", flush=True)
    found: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        torch.manual_seed(0)
        models = build(cell[1], options.device, loops)
        if loops:
            torch.compiler.reset()
            check(models, cell, options.device)
        line = [str(number) for number in cell]
        for phase in ("forward", "training step"):
            times = measure(models, cell, phase == "training step", options)
            by_model = ratios(times)
            for name in names:
                found.setdefault((phase, name), []).append(by_model[name])
            base = times["nn.RNN"]
            line += [f"{1e3 * median(base):.3g}", *(f"{by_model[name]:.3f}" for name in names), str(len(base))]
        print(f"| {' | '.join(line)} |", flush=True)
    return found


def summary(found: dict[tuple[str, str], list[float]]) -> None:
    for name in sorted({name for _, name in found}):
        both = [ratio for (_, model), values in found.items() if model == name for ratio in values]
        print(f"{name}: median {median(both):.3f}, lowest {min(both):.3f} of {len(both)} figures", end="")
        for (phase, model), values in found.items():
            if model == name:
                print(f"; {phase} median {median(values):.3f}, lowest {min(values):.3f}", end="")
        print()


def cell_of(text: str) -> Cell:
    T, H, B = map(int, text.split("x"))
    return T, H, B


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--loops", type=cell_of, nargs="*", default=[cell_of(text) for text in LOOPS], metavar="TxHxB")
    parser.add_argument("--rounds", type=int, default=25, help="at most; of each cell and phase")
    parser.add_argument("--seconds", type=float, default=20.0, help="after which a cell's phase ends, see above")
    parser.add_argument("--turn", type=float, default=0.02, help="seconds that a turn lasts at least")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("Skipped: --device cuda needs a CUDA device, and torch sees none.")
        return
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    print(f"torch {torch.__version__}, {where}, load {os.getloadavg()[0]:.1f} at the start\n")
    cells = list(itertools.product(options.steps, options.hidden, options.lanes))
    if cells:
        found = table(cells, options, loops=False)
        print()
        summary(found)
    if options.loops:
        print()
        found = table(options.loops, options, loops=True)
        print()
        summary(found)


if __name__ == "__main__":
    main()
