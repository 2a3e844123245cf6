"""Nanoseconds an element of the quantiser beside torch's `e.add_(g)`: `python -m benchmarks.compression.kernels`.

On one thread, every kernel that runs here, interleaved: each round runs everything once, beginning one further along.
A ratio is the median of the rounds' ratios to that round's `add_`. Memory sets the bounds: `add_` writes where it has
just read, as does the quantiser in place; as a rule the quantiser writes the next residual elsewhere, so that a
gradient that is not finite leaves the residual alone, as `torch.add(g, e, out=next)` does. Buckets of some hundred
megabytes lie in memory; smaller ones may stay in a large last-level cache, where a write elsewhere costs more.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import torch
from ludocast.compression.quantise import Message, Steps, available, decode, learn, quantise
from ludocast.compression.rows import Rows

SLOW = ("portable", "numpy")  # these run in every fifth round only


def tasks(elements: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    generator = torch.Generator().manual_seed(0)
    rows = Rows.of_parameters([(elements // 2048, 2048)], [0])
    g = (torch.randn(elements, generator=generator) * 1e-3).to(dtype)
    e, out = torch.randn(elements, generator=generator), torch.zeros(elements)
    following, message, steps = torch.zeros(elements), Message(rows), Steps(rows)
    quantise(g, e, following, rows, message, steps)  # the first time takes longer
    steps.commit()
    found: dict[str, Callable[[], object]] = {
        "e.add_(g)": lambda: e.add_(g),
        "torch.add(g, e, out=next)": lambda: torch.add(g, e, out=following),
        "out.fill_(1)": lambda: out.fill_(1),
    }

    def forced(kernel: str, function: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            os.environ["LUDOCAST_KERNEL"] = kernel
            function()

        return run

    for kernel in available():
        found[f"quantise {kernel}"] = forced(kernel, lambda: quantise(g, e, following, rows, message, steps))
        found[f"quantise in place {kernel}"] = forced(kernel, lambda: quantise(g, e, e, rows, message, steps))
        found[f"decode {kernel}"] = forced(kernel, lambda: decode(message, rows, out, steps=steps, learning=True))
        found[f"decode and add {kernel}"] = forced(
            kernel, lambda: decode(message, rows, out, 0.5, accumulate=True, steps=steps)
        )
        found[f"learn {kernel}"] = forced(kernel, lambda: learn(message, rows, steps))
    return found


def measure(elements: int, rounds: int, dtype: torch.dtype) -> dict[str, list[float | None]]:
    """Nanoseconds an element, a figure a round."""
    todo = tasks(elements, dtype)
    names = list(todo)
    for function in todo.values():
        function()
    times: dict[str, list[float | None]] = {name: [None] * rounds for name in names}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            if name.endswith(SLOW) and i % 5 != 0:
                continue
            begin = time.perf_counter()
            todo[name]()
            times[name][i] = (time.perf_counter() - begin) / elements * 1e9
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=float, nargs="+", default=[60e6, 22e6, 2e6], help="of a bucket")
    parser.add_argument("--rounds", type=int, default=20, help="for the largest; smaller buckets get more")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the gradient")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [int(size) // 2048 * 2048 for size in options.elements]
    for elements in sizes:
        rounds = min(10 * options.rounds, options.rounds * max(sizes) // elements)
        times = measure(elements, rounds, getattr(torch, options.dtype))
        base = times["e.add_(g)"]
        print(f"\n{elements:,} elements, {options.dtype} gradient, {rounds} rounds")
        print(f"{'':28}{'median ns':>10}{'best ns':>10}{'× add_':>8}{'best':>8}")
        best = min(b for b in base if b is not None)
        for name, column in times.items():
            real = [t for t in column if t is not None]
            ratio = median(t / b for t, b in zip(column, base, strict=True) if t is not None and b is not None)
            print(f"{name:28}{median(real):10.3f}{min(real):10.3f}{ratio:8.2f}{min(real) / best:8.2f}")


if __name__ == "__main__":
    main()
