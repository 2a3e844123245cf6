"""Validation loss at equal steps, beside fp32's: `python -m benchmarks.compression.convergence`.

A process a rank (one thread of torch each) on gloo, training over the real hook. Runs are paired: those of one seed
have the same start and the same batches, whatever the method; the gap is a method's loss less fp32's of the same seed.
Its 95 % interval is of Student's t over the seeds.

Every run that ends is kept in a JSON file; a run of the bench that was interrupted goes on where it was. Take a new
file where the code has changed: it knows nothing of that.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import torch.distributed as dist
from scipy.stats import t as student

from benchmarks.compression.averaging import METHODS, Averaging
from benchmarks.compression.processes import Failure, rank_processes, receive
from benchmarks.compression.tasks import TASKS, Task

TIMEOUT = 300.0  # seconds that ranks wait for one another
Run = dict[str, Any]


def train(rank: int, ranks: int, name: str, method: str, seed: int, steps: int, warmup: int) -> Run:
    """One run of training; what this rank found.

    Returns:
        `loss`: of the validation data, at the end; `curve`: after each eighth of the steps; `bytes_saved`: fp32's bytes
        over the method's, None where only mathematics is simulated; `seconds`.

    Raises:
        RuntimeError: If the ranks' parameters differ at the end.
    """
    begin = time.perf_counter()
    task = TASKS[name]()
    torch.manual_seed(seed)
    averaging = Averaging(method, task.model(), warmup)
    optimizer = torch.optim.Adam(averaging.model.parameters(), lr=task.lr)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / steps)
    generator = torch.Generator().manual_seed(1_000_003 * seed + rank)
    curve = []
    for step in range(steps):
        task.loss(averaging.model, *task.batch(generator)).backward()
        optimizer.step()
        decay.step()
        optimizer.zero_grad()
        if (step + 1) % max(1, steps // 8) == 0 or step + 1 == steps:
            # The ranks hold the same model: one of them evaluates for all.
            curve.append([step + 1, _validate(task, averaging.model.module) if rank == 0 else 0.0])
    _check_equal(averaging.model.module, ranks)
    saved = averaging.bytes_saved(steps)
    averaging.close()
    return {
        "loss": curve[-1][1], "curve": curve, "bytes_saved": saved, "seconds": round(time.perf_counter() - begin, 1)
    }  # fmt: skip


@torch.no_grad()
def _validate(task: Task, model: torch.nn.Module) -> float:
    model.eval()
    loss = float(task.loss(model, *task.validation()))
    model.train()
    return loss


def _check_equal(model: torch.nn.Module, ranks: int) -> None:
    mine = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    first = mine.clone()
    dist.broadcast(first, 0)
    same = torch.tensor(float(torch.equal(mine, first)))
    dist.all_reduce(same)
    if int(same) != ranks:
        raise RuntimeError("the ranks' parameters differ at the end of a run")


def _serve(rank: int, ranks: int, folder: str, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's matter
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    count = 0
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        count += 1
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store{count}", rank=rank, world_size=ranks,
            timeout=timedelta(seconds=TIMEOUT),
        )  # fmt: skip
        try:
            pipe.send(train(rank, ranks, *arguments))
        except Exception:
            pipe.send(Failure(traceback.format_exc()))
        dist.destroy_process_group()


def run_once(pipes: Sequence[Connection], *arguments: Any) -> Run:
    """Have the ranks train; what rank 0 found.

    Raises:
        RuntimeError: If a rank failed or died.
    """
    for pipe in pipes:
        pipe.send(arguments)
    found: list[Run] = [receive(pipe, rank) for rank, pipe in enumerate(pipes)]
    return found[0]


def interval(gaps: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval, infinite for a single one."""
    if len(gaps) < 2:
        return mean(gaps), inf
    half = float(student.ppf(0.975, len(gaps) - 1)) * stdev(gaps) / len(gaps) ** 0.5
    return mean(gaps), half


def table(runs: Mapping[str, Mapping[int, Run]]) -> str:
    """A line a method: its runs by seed."""
    lines = [f"{'':14}{'seeds':>6}{'loss':>9}{'gap':>10}{'95 % interval':>22}{'fp32 / sent':>13}"]
    for method, by_seed in runs.items():
        line = f"{method:14}{len(by_seed):6}{mean(run['loss'] for run in by_seed.values()):9.4f}"
        paired = [run["loss"] - runs["fp32"][seed]["loss"] for seed, run in by_seed.items() if seed in runs["fp32"]]
        if method == "fp32" or not paired:
            line += f"{'–':>10}{'–':>22}"
        else:
            gap, half = interval(paired)
            line += f"{gap:+10.4f}" + (f"{gap - half:+.4f} to {gap + half:+.4f}" if half < inf else "–").rjust(22)
        saved = [run["bytes_saved"] for run in by_seed.values() if run["bytes_saved"] is not None]
        lines.append(line + (f"{mean(saved):13.2f}" if saved else f"{'–':>13}"))
    return "\n".join(lines)


class Runs:
    """All runs that have ended, by their key, in a JSON file.

    Args:
        path: Of the file; it need not exist yet.

    Raises:
        ValueError: If it is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Run] = {}
        if path.exists():
            try:
                self.found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} holds no runs of this bench: {error}") from None

    def add(self, key: str, run: Run) -> None:
        """Keep one more; the file is whole at any moment."""
        self.found[key] = run
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        new.replace(self.path)


def compare(name: str, options: argparse.Namespace, runs: Runs) -> None:
    """All runs of one task that are missing, seed by seed, then its table."""
    task = TASKS[name]
    steps = task.steps if options.steps is None else options.steps
    warmup = task.warmup if options.warmup is None else options.warmup
    found: dict[str, dict[int, Run]] = {method: {} for method in options.methods}
    print(f"\n{name}: {options.ranks} ranks, {steps} steps, {warmup} of them plain, batch {task.batch_size} a rank, "
          f"Adam lr {task.lr}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, rank_processes(options.ranks, _serve, folder) as pipes:
        for seed in range(options.seeds):
            for method in options.methods:
                key = f"{name} {method} ranks={options.ranks} steps={steps} warmup={warmup} seed={seed}"
                if key not in runs.found:
                    runs.add(key, run_once(pipes, name, method, seed, steps, warmup))
                    run = runs.found[key]
                    print(f"  seed {seed} {method:14}{run['loss']:9.4f}{run['seconds']:8.1f} s", flush=True)
                found[method][seed] = runs.found[key]
    print(table(found), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="fp32 always runs")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--steps", type=int, help="of a run, the task's own by default")
    parser.add_argument("--warmup", type=int, help="steps of plain averaging that come first")
    parser.add_argument("--runs", type=Path, default=Path("convergence.json"), help="the file that keeps all runs")
    options = parser.parse_args()
    if min(options.seeds, options.ranks - 1, 1 if options.steps is None else options.steps) < 1:
        parser.error("--seeds and --steps take 1 or more, --ranks 2 or more")
    options.methods = ["fp32", *(method for method in options.methods if method != "fp32")]
    return options


def main() -> None:
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}; load {os.getloadavg()[0]:.1f}")
    for method in options.methods:
        print(f"  {method:14}{METHODS[method]}")
    try:
        runs = Runs(options.runs)
        for name in options.tasks:
            compare(name, options, runs)
    except KeyboardInterrupt:
        sys.exit(f"\nInterrupted; what was finished is in {options.runs}.")
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"The bench failed: {error}")


if __name__ == "__main__":
    main()
