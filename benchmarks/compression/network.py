"""Steps of training over links of real bandwidth, whole table: `python -m benchmarks.compression.network`.

A process a rank (one thread of torch each), each in a network namespace joined to the others by a bridge, its link
shaped by `tc tbf` in both directions; all methods side by side in one run, taking turns step by step. Needs root and
iproute2; leaves nothing behind, however it ends.

A step is forward, backward with the gradients' averaging, and plain SGD. Its time is that of the slowest rank.
"× fp32" compares with plain DDP; "% of none" is the share of the speed without any communication: of medians, of best
steps, and the median over rounds of both steps' ratio in the same round, which drifts least where other work runs
beside. "cpu" is a rank's processor time a step, of all its threads. "sent" is what a rank's interface sent a step,
mean of ranks, headers and acknowledgements included (one header for a segment of up to 64 kB, as drivers that leave the
cutting to the network card count); "payload" is computed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

import torch
from ludocast.compression.quantise import kernel

from benchmarks.compression import namespaces
from benchmarks.compression.contestants import METHODS, WIDTHS
from benchmarks.compression.points import Kernel, Point, add, measure_kernel
from benchmarks.compression.race import Turns, race

LINKS = (namespaces.UNSHAPED, "10gbit", "1gbit", "100mbit")
PARAMETERS = sum((n + 1) * m for n, m in pairwise(WIDTHS))
HEAD = (
    f"{'':14}{'median':>9}{'best':>9}{'cpu':>8}   {'× fp32':>7}{'best':>7}   {'% of none':>9}{'best':>7}{'paired':>8}"
    f"   {'sent':>10}{'payload':>10}{'fp32 /':>9}\n"
    f"{'':14}{'ms':>9}{'ms':>9}{'ms':>8}   {'':7}{'':7}   {'':9}{'':7}{'':8}   {'MB a step':>10}{'MB':>10}{'sent':>9}"
)


def table(ranks: Sequence[Mapping[str, Turns]]) -> str:
    """Lines of one setting: a method each.

    Args:
        ranks: What each rank measured, by method.
    """
    seconds, sent = _seconds(ranks), _sent(ranks)
    lines = [HEAD]
    for method, times in seconds.items():
        line = f"{method:14}{1e3 * median(times):9.1f}{1e3 * min(times):9.1f}"
        line += f"{1e3 * mean(median(rank[method].cpu) for rank in ranks):8.1f}   "
        line += _faster(seconds.get("fp32"), times) + "   " + _share(seconds.get("none"), times)
        line += f"   {sent[method] / 1e6:10.3f}{mean(rank[method].payload for rank in ranks) / 1e6:10.3f}"
        worth = "fp32" in sent and method != "none"
        lines.append(line + (f"{sent['fp32'] / sent[method]:9.2f}" if worth else f"{'–':>9}"))
    return "\n".join(lines)


def _seconds(ranks: Sequence[Mapping[str, Turns]]) -> dict[str, list[float]]:
    return {m: [max(t) for t in zip(*(rank[m].seconds for rank in ranks), strict=True)] for m in ranks[0]}


def _sent(ranks: Sequence[Mapping[str, Turns]]) -> dict[str, float]:
    return {m: mean(median(rank[m].sent) for rank in ranks) for m in ranks[0]}


def measured_points(
    ranks: Sequence[Mapping[str, Turns]], link: str, goodput: tuple[float, float], batch: int, nice: int, how: Kernel
) -> list[Point]:
    """What a setting's table tells, for a file: a point a method.

    Args:
        ranks: What each rank measured, by method.
        link: The rate.
        goodput: Measured, bits a second, of one connection and of one of two in both directions.
        batch: Rows a rank.
        nice: Of the ranks.
        how: The quantiser's kernel.
    """
    sent = _sent(ranks)
    return [
        Point(
            ranks=len(ranks), cores=os.cpu_count() or 1, link=link, goodput=goodput[0], both_ways=goodput[1],
            batch=batch, method=method, parameters=PARAMETERS, steps=len(times), median=median(times), best=min(times),
            cpu=mean(median(rank[method].cpu) for rank in ranks), sent=sent[method],
            payload=mean(rank[method].payload for rank in ranks), nice=nice, load=os.getloadavg()[0], kernel=how,
        )
        for method, times in _seconds(ranks).items()
    ]  # fmt: skip


def _faster(fp32: list[float] | None, times: list[float]) -> str:
    if fp32 is None:
        return f"{'–':>7}{'–':>7}"
    return f"{median(fp32) / median(times):7.2f}{min(fp32) / min(times):7.2f}"


def _share(none: list[float] | None, times: list[float]) -> str:
    if none is None:
        return f"{'–':>9}{'–':>7}{'–':>8}"
    paired = median(n / t for n, t in zip(none, times, strict=True))
    return f"{100 * median(none) / median(times):9.1f}{100 * min(none) / min(times):7.1f}{100 * paired:8.1f}"


def _speed(bits: float) -> str:
    return f"{bits / 1e9:.2f} Gbit/s" if bits >= 1e9 else f"{bits / 1e6:.1f} Mbit/s"


def _link(rate: str) -> str:
    bits = namespaces.bits_a_second(rate)
    return rate if bits is None else f"{_speed(bits)} (tbf, burst {namespaces.burst_bytes(bits) // 1024} kB)"


def print_tables(options: argparse.Namespace) -> None:
    print(f"MLP {'-'.join(map(str, WIDTHS))}: {PARAMETERS:,} parameters, float32; plain SGD; gloo; kernel: {kernel()}")
    for method in options.methods:
        print(f"  {method:14}{METHODS[method]}")
    torch.set_num_threads(1)
    how = None if options.json is None else measure_kernel(kernel())
    namespaces.enter_own()
    namespaces.make_bridge()
    for ranks in options.ranks:
        with race(ranks, options.methods, options.nice) as running:
            for link in options.links:
                running.shape(link)
                alone, both = running.goodput()
                print(
                    f"\n{ranks} ranks, {_link(link)}; TCP goodput measured: {_speed(alone)}, both ways {_speed(both)}"
                )
                for rows in options.batch:
                    measured = running.run(rows, options.steps)
                    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
                    print(f"\nbatch {rows} a rank, {options.steps} steps, nice {options.nice}; {load}")
                    print(table(measured), flush=True)
                    if how is not None:
                        add(options.json, measured_points(measured, link, (alone, both), rows, options.nice, how))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--links", nargs="+", default=list(LINKS), help="unshaped, or a rate such as 1gbit or 100mbit")
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 32], help="rows a rank")
    parser.add_argument("--steps", type=int, default=15, help="timed, of each method")
    parser.add_argument("--nice", type=int, default=0, help="of the ranks; below 0 they go before other work here")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the points measured into it, beside those it holds"
    )
    options = parser.parse_args()
    smallest = {"--ranks": min(options.ranks) - 2, "--batch": min(options.batch) - 1, "--steps": options.steps - 1}
    if any(value < 0 for value in smallest.values()) or max(options.ranks) > 250:
        parser.error("--ranks takes 2 to 250, --batch and --steps take 1 or more")
    if options.json is not None:
        try:
            add(options.json, [])  # before minutes of measuring
        except (OSError, ValueError) as error:
            parser.error(f"--json: {error}")
    for link in options.links:
        try:
            namespaces.bits_a_second(link)
        except ValueError as error:
            parser.error(str(error))
    return options


def main() -> None:
    options = _arguments()
    missing = namespaces.why_not()
    if missing is not None:
        print(f"Skipped: {missing}.")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print_tables(options)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted; namespaces and links are gone with their processes.")
    except (OSError, RuntimeError) as error:
        sys.exit(f"The bench failed: {error}")


if __name__ == "__main__":
    main()
