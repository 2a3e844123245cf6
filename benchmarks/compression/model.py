"""Where 1-bit gradients pay, by a cost model: `python -m benchmarks.compression.model --points points.json --svg .`.

All of it is a model, not a measurement. Its figures for CPUs are fitted to what `network.py --json points.json` has
measured, those for GPUs are assumed; the formulas stand in cost.py, the fit in fit.py. Without --points the CPU's are
assumed too. First comes how far off the model is for measured points that were not fitted; then, for clusters that
nobody has measured, speed-up over fp32 and over the faster of fp32 and fp16.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.compression.cost import Cluster, Costs, Shape, speed_up
from benchmarks.compression.fit import FITTED, LATENCY, MESSAGE, Check, check, summary
from benchmarks.compression.heat import Panel, number, picture
from benchmarks.compression.points import Point, read

RANKS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
GBITS = (1.0, 2.5, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0)
SIZES = {"1 M": 10**6, "10 M": 10**7, "100 M": 10**8, "1 B": 10**9, "10 B": 10**10}
RIVALS = {"fp32": ("fp32",), "the faster of fp32 and fp16": ("fp32", "fp16")}
NOT_MEASURED = "A MODEL, NOT A MEASUREMENT"
LOCAL_BITS = 1.6e12  # a second, within a host of GPUs
GOODPUT = 0.95  # of a link's nominal rate


@dataclass(frozen=True)
class Machine:
    """What a rank runs on.

    Attributes:
        name: Of it, and of its picture.
        title: For people.
        compute: Seconds a parameter and step, without communication.
        costs: Its own.
        ranks_per_host: Which share a link.
        latency: Seconds.
        message: Seconds.
        tree: How it all-reduces.
        bucket: Bytes.
        assumptions: Sentences.
    """

    name: str
    title: str
    compute: float
    costs: Costs
    ranks_per_host: int
    latency: float
    message: float
    tree: bool
    bucket: int
    assumptions: Sequence[str]

    def cluster(self, ranks: int, gbits: float) -> Cluster:
        """So many of it."""
        bits = gbits * 1e9 * GOODPUT
        return Cluster(
            ranks, bits, self.ranks_per_host, 1.0, self.latency, self.message, self.tree, LOCAL_BITS, self.bucket
        )


def cpu(costs: Costs, compute: float, origin: str, bucket: int) -> Machine:
    """One core a rank, one rank a host."""
    return Machine(
        "cpu", "one CPU core a rank, one rank a host, gloo over TCP", compute, costs, 1, LATENCY, MESSAGE, False,
        bucket,
        (
            f"{origin}; compute {compute * 1e9:.2f} ns a parameter and step",
            f"assumed: {LATENCY * 1e6:.0f} µs latency of a message, {MESSAGE * 1e6:.0f} µs a further one of an "
            "all-to-all; rings, as gloo has; TCP takes the core as long a byte at any rate as at those measured",
        ),
    )  # fmt: skip


def gpu(ranks_per_host: int, tokens: int, tflops: float, bandwidth: float, bucket: int) -> Machine:
    """A GPU a rank; every figure is assumed.

    Args:
        ranks_per_host: GPUs that share a link.
        tokens: Of a rank and step, 6 operations a parameter each.
        tflops: 10^12 operations a second, as reached.
        bandwidth: Bytes a second of its memory, as reached.
        bucket: Bytes.
    """
    # Bytes: quantise reads g and e, writes e' and a bit; decode reads a bit, writes 4; fp16 there 4 + 2, back 2 + 4.
    quantise, decode, fp16 = ((size / bandwidth) * 1e9 for size in (12.125, 4.125, 12.0))
    costs = Costs(quantise, decode, call=10e-6, overlap=0.6, overlap_delay=1.0, fp16=fp16)
    compute = 6 * tokens / (tflops * 1e12)
    hosts = f"{ranks_per_host} a host, which share its link" if ranks_per_host > 1 else "one a host"
    return Machine(
        f"gpu{ranks_per_host}", f"GPUs, {hosts}, NCCL; all figures assumed", compute, costs, ranks_per_host,
        5e-6, 1e-6, True, bucket,
        (
            f"assumed: {tokens} tokens a rank and step at {tflops:.0f} TFLOP/s; kernels at {bandwidth / 1e12:.1f} TB/s "
            "of 12.1 B (quantise) and 4.1 B (decode) an element; 10 µs a kernel call, 2 a bucket for each host",
            "assumed: 5 µs latency of a message, 1 µs a further one of an all-to-all; all-reduce at its best, "
            "all-gather in a ring's",
            f"assumed: 60 % of compute overlaps communication; {LOCAL_BITS / 8e9:.0f} GB/s within a host",
        ),
    )  # fmt: skip


def general(method: str, machine: Machine) -> list[str]:
    """What all of the maps have to say."""
    return [
        f'{NOT_MEASURED}: speed-up of "{method}" over others; above 1 it pays',
        f"assumed: {GOODPUT:.0%} of a link's rate carries data; buckets of {machine.bucket / 2**20:g} MiB; "
        "fp32 gradients; all elements in matrices, which fit into memory; no congestion, no stragglers",
    ]


def panels(machine: Machine, method: str) -> list[list[Panel]]:
    """A line of panels for each rival, a panel for each size."""
    return [
        [Panel(f"{size} parameters, over {name}", [f"{gbits:g}" for gbits in GBITS], [f"{n:,}" for n in RANKS],
               _values(machine, method, over, elements)) for size, elements in SIZES.items()]
        for name, over in RIVALS.items()
    ]  # fmt: skip


def _values(machine: Machine, method: str, over: tuple[str, ...], elements: int) -> list[list[float]]:
    shape, compute = Shape.of_squares(elements), machine.compute * elements
    return [
        [
            # Within one host the link has no part in it, and what goes on instead is not in the model.
            math.nan if ranks <= machine.ranks_per_host and machine.ranks_per_host > 1
            else speed_up(method, over, compute, shape, machine.cluster(ranks, gbits), machine.costs)
            for gbits in GBITS
        ]
        for ranks in RANKS
    ]  # fmt: skip


def text_map(machine: Machine, method: str) -> str:
    """The same figures as text: over fp32 / over the faster of both."""
    lines = [f"\n== {machine.title}", *general(method, machine), *machine.assumptions]
    for over_fp32, over_best in zip(*panels(machine, method), strict=True):
        lines += [
            f"\n{over_fp32.title.split(',')[0]}; speed-up over fp32 / over the faster of fp32 and fp16; {NOT_MEASURED}",
            f"{'ranks':>6}" + "".join(f"{name + ' Gbit/s':>13}" for name in over_fp32.columns),
        ]
        for name, first, second in zip(over_fp32.rows, over_fp32.values, over_best.values, strict=True):
            cells = [f"{number(a)} / {number(b)}" for a, b in zip(first, second, strict=True)]
            lines.append(f"{name:>6}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def check_table(costs: Costs, checks: Sequence[Check]) -> str:
    """The fitted figures, and every measured point beside the model's answer with and without its setting."""
    known = "  ".join(f"{f.name} {getattr(costs, f.name):.3g}" for f in fields(costs) if f.name not in FITTED)
    fitted = "  ".join(f"{name} {getattr(costs, name):.3g}" for name in FITTED)
    lines = [
        "Measured on this machine's kernels: " + known,
        "Fitted by least squares of relative errors (see cost.py): " + fitted,
        f"Assumed, not measured: latency {LATENCY * 1e6:.0f} µs, {MESSAGE * 1e6:.0f} µs a further message. A step's "
        "compute time is measured, from method none.",
        "",
        f"{'ranks':>5}  {'link':10}{'Mbit/s':>8}{'batch':>7}  {'method':13}{'measured':>9}{'model':>9}{'error':>8}"
        f"{'not fitted':>12}{'error':>8}",
        f"{'':5}  {'':10}{'':8}{'':7}  {'':13}{'ms':>9}{'ms':>9}{'':8}{'ms':>12}",
    ]
    for one in checks:
        p = one.point
        line = f"{p.ranks:5}  {p.link:10}{p.both_ways / 1e6:8.0f}{p.batch:7}  {p.method:13}{1e3 * p.median:9.1f}"
        line += f"{1e3 * one.within:9.1f}{one.error(one.within):+8.1%}"
        lines.append(line + ("" if one.outside is None else f"{1e3 * one.outside:12.1f}{one.error(one.outside):+8.1%}"))
    for name, errors in (
        ("fitted", [one.error(one.within) for one in checks]),
        ("their setting (ranks and link) not fitted", [one.error(one.outside) for one in checks]),
    ):
        middle, largest = summary([error for error in errors if error is not None])
        lines.append(f"error of {len(checks)} points, {name}: median {middle:.1%}, largest {largest:.1%}")
    return "\n".join(lines)


def cpu_of(points: Sequence[Point] | None, batch: int, bucket: int) -> tuple[Machine, str]:
    """The CPU and what there is to say of its fit."""
    if points is None:
        # docs/compression.md: 22 M elements on AVX-512; 84 ms a step at batch 32; the rest is a guess at its sums.
        costs = Costs(0.65, 0.2, 1.3, 6e-6, 0.1, 0.9, 1.02, 0.3, 1.5, 4.0, 0.5)
        told = "assumed after docs/compression.md, not fitted"
        return cpu(costs, 84e-3 / 22_031_360, told, bucket), "No points: not fitted."
    costs, checks = check(points)
    alone = [p for p in points if p.method == "none" and p.batch == batch and p.ranks <= p.cores]
    if not alone:
        raise ValueError(f"no point of method none has batch {batch} and no more ranks than cores; see --batch")
    compute = min(p.median / p.parameters for p in alone)
    told = f"fitted to {len(checks)} measured points, batch {batch} a rank"
    return cpu(costs, compute, told, bucket), check_table(costs, checks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, metavar="FILE", help="as network.py --json wrote it")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="where cpu.svg, gpu1.svg and gpu8.svg go")
    parser.add_argument("--method", choices=["onebit", "onebit-delay"], default="onebit")
    parser.add_argument("--batch", type=int, default=32, help="measured one whose compute time the CPU's map takes")
    parser.add_argument("--tokens", type=int, default=8192, help="a GPU's, of a step")
    parser.add_argument("--tflops", type=float, default=400.0, help="a GPU's, as reached")
    parser.add_argument("--bandwidth", type=float, default=2.3e12, help="bytes a second of a GPU's memory, as reached")
    parser.add_argument("--bucket-mib", type=float, default=25.0, help="MiB of gradient averaged at a time")
    options = parser.parse_args()
    bucket = int(options.bucket_mib * 2**20)
    if options.svg is not None and not options.svg.is_dir():
        parser.error(f"--svg takes a folder that exists, got {options.svg}")
    print(f"{NOT_MEASURED}, but for the points marked as measured.\n")
    try:
        machine, told = cpu_of(None if options.points is None else read(options.points), options.batch, bucket)
    except ValueError as error:
        sys.exit(str(error))
    print(told)
    for one in (machine, *(gpu(r, options.tokens, options.tflops, options.bandwidth, bucket) for r in (1, 8))):
        print(text_map(one, options.method))
        if options.svg is not None:
            notes = [*general(options.method, one), *one.assumptions]
            drawn = picture(f"Speed-up of {options.method}: {one.title}", notes, panels(one, options.method),
                            "Gbit/s of a host's link", "ranks")  # fmt: skip
            (options.svg / f"{one.name}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
