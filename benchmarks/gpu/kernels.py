"""Bandwidth of the quantiser's Triton kernels beside a copy on the device: `python -m benchmarks.gpu.kernels`.

Bytes an element are what a kernel has to move at least: quantise reads the gradient (4 or 2), the residual (4) and the
step (1), writes the next residual (4) and a bit; decode reads a bit and the step and writes 4 and, where it learns, the
step (1), and reads 4 more where it adds; learn reads a bit and reads and writes the step. The value and the exponent of
a row, 24 bits of 2,048 elements, are not counted. Times are of CUDA events, each kernel in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from ludocast.compression.quantise import Message, Steps
from ludocast.compression.rows import Rows

from benchmarks.gpu.device import describe, why_not

ROW = 2048
Task = tuple[Callable[[], object], float]  # what to run, and the bytes an element that it moves


def tasks(elements: int) -> dict[str, Task]:
    """By name."""
    from ludocast.compression import triton_kernels as kernels  # needs triton

    generator = torch.Generator("cuda").manual_seed(0)
    rows = Rows.of_parameters([(elements // ROW, ROW)], [0])
    e, following, out = (torch.zeros(elements, device="cuda") for _ in range(3))
    message, steps = Message(rows, device="cuda"), Steps(rows, "cuda")
    e.normal_(generator=generator)
    found: dict[str, Task] = {
        "copy (following = e)": (lambda: following.copy_(e), 8),
        "torch.add(g, e, out=following)": (lambda: torch.add(e, e, out=following), 8),
    }
    for dtype in (torch.float32, torch.bfloat16):
        g = torch.randn(elements, device="cuda", generator=generator).mul_(1e-3).to(dtype)
        coding = partial(kernels.launch_quantise, g, e, following, rows, message, steps)
        found[f"quantise {str(dtype)[6:]}"] = (coding, g.itemsize + 9 + 1 / 8)
    found["decode"] = (lambda: kernels.decode(message, rows, out, 1.0, False, steps, True), 6 + 1 / 8)
    found["decode and add"] = (lambda: kernels.decode(message, rows, out, 0.5, True, steps, False), 9 + 1 / 8)
    found["learn"] = (lambda: kernels.learn(message, rows, steps), 2 + 1 / 8)
    return found


def seconds(function: Callable[[], object]) -> float:
    """Of one run on the device."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def measure(elements: int, rounds: int) -> str:
    """The table of one size."""
    todo = tasks(elements)
    for function, _ in todo.values():  # the first run compiles
        function()
        function()
    times: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(rounds):
        for name, (function, _) in todo.items():
            times[name].append(seconds(function))
    copied = todo["copy (following = e)"][1] / median(times["copy (following = e)"])
    lines = [
        f"\n{elements:,} elements, {rounds} rounds",
        f"{'':32}{'B/element':>10}{'median µs':>11}{'best µs':>9}{'GB/s':>8}{'of copy':>9}{'ns/element':>12}",
    ]
    for name, (_, size) in todo.items():
        middle, rate = median(times[name]), size / median(times[name])
        lines.append(
            f"{name:32}{size:10.3f}{middle * 1e6:11.1f}{min(times[name]) * 1e6:9.1f}{elements * rate / 1e9:8.0f}"
            f"{rate / copied:9.1%}{middle / elements * 1e9:12.5f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=float, nargs="+", default=[6.5e6, 64e6, 512e6], help="of a bucket")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    if min(options.elements) < ROW or options.rounds < 1:
        parser.error(f"--elements takes {ROW} or more, --rounds 1 or more")
    missing = why_not(triton=True)
    if missing is not None:
        print(f"Skipped: {missing}.")
        return
    print(describe())
    for elements in options.elements:
        print(measure(int(elements) // ROW * ROW, options.rounds), flush=True)


if __name__ == "__main__":
    main()
