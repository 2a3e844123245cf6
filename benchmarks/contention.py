"""What threads that wait for each other cost beside busy processes: `python -m benchmarks.contention`.

Threads of OpenMP (torch, scikit-learn and LightGBM each bring a copy) wait for each other at the end of every loop that
they share. As they come they wait by spinning, for milliseconds; on a machine with other work a spinning thread holds
the core that the one it waits for should have. Each row is some training under one environment, in a process of its
own, with nothing beside it and beside as many endless loops as there are cores; figures are calls a second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ludocast.models.threads import SAID_BY_USER, WAITING

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "as they come": {},
    "as ludocast sets them": WAITING,
    "one thread": {"OMP_NUM_THREADS": "1"},
}
READ = (*SAID_BY_USER, "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def workloads() -> dict[str, Callable[[], object]]:
    """Trainings of several sizes."""
    import numpy as np
    import torch
    from ludocast.models.stacked_rnn.sigmoid_rnn import SigmoidRNN
    from ludocast.models.table.network import TabularNetwork
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import PoissonRegressor

    torch.manual_seed(0)
    generator = np.random.default_rng(0)

    def network(rows: int, numbers: int, hidden: int) -> Callable[[], object]:
        model = TabularNetwork(numbers, [5, 5], 1, hidden=hidden)
        optimizer = torch.optim.AdamW(model.parameters())
        x, codes = torch.randn(5, rows, numbers), torch.randint(0, 5, (5, rows, 2))

        def step() -> None:
            optimizer.zero_grad()
            model(x, codes).square().mean().backward()
            optimizer.step()

        return step

    def recurrent(steps: int, lanes: int, units: int) -> Callable[[], object]:
        model, x = SigmoidRNN(units, units), torch.randn(steps, lanes, units)

        def step() -> None:
            model.zero_grad()
            model(x)[0].sum().backward()

        return step

    columns = generator.normal(size=(20_000, 20))
    count = generator.poisson(np.exp(0.3 * columns[:, 0]))
    boosting = HistGradientBoostingClassifier(max_iter=10, early_stopping=False)
    return {
        "network, 64 rows": network(64, 12, 128),
        "network, 256 rows": network(256, 40, 384),
        "RNN 50x32x64": recurrent(50, 32, 64),
        "RNN 50x64x256": recurrent(50, 64, 256),
        "Poisson line, 2,000 rows": lambda: PoissonRegressor(alpha=1e-3).fit(columns[:2_000], count[:2_000]),
        "boosting, 2,000 rows": lambda: boosting.fit(columns[:2_000], count[:2_000] > 0),
        "boosting, 20,000 rows": lambda: boosting.fit(columns, count > 0),
    }


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    call()
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        call()
        done += 1
    return done / (time.perf_counter() - begun)


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(environment: Mapping[str, str], seconds: float, limit: float) -> dict[str, float]:
    """Rates in a process of its own, by workload; of those that `limit` seconds were enough for."""
    clean = {name: value for name, value in os.environ.items() if name not in READ}
    command = [sys.executable, "-m", "benchmarks.contention", "--child", "--seconds", str(seconds)]
    child = subprocess.Popen(command, env={**clean, **environment}, stdout=subprocess.PIPE, text=True)
    try:
        text, _ = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        child.kill()
        text, _ = child.communicate()
    return {name: float(value) for name, _, value in (line.partition("\t") for line in text.splitlines())}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each workload")
    parser.add_argument("--limit", type=float, default=40.0, help="of each environment, in seconds")
    parser.add_argument("--rounds", type=int, default=1, help="of which the best one is told")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        for name, call in workloads().items():
            print(f"{name}\t{rate(call, options.seconds)}", flush=True)
        return
    cores = os.cpu_count() or 1
    for beside in (0, cores):
        best: dict[str, dict[str, float]] = {name: {} for name in ENVIRONMENTS}
        for _ in range(options.rounds):
            for name, environment in ENVIRONMENTS.items():
                with busy_cores(beside):
                    for what, value in measured(environment, options.seconds, options.limit).items():
                        best[name][what] = max(value, best[name].get(what, 0.0))
        print(f"\n{cores} cores, {beside} busy processes beside it (calls a second)\n")
        print("| | " + " | ".join(ENVIRONMENTS) + " |\n|---|" + "---:|" * len(ENVIRONMENTS))
        for what in best["one thread"]:
            print(f"| {what} | " + " | ".join(f"{best[name].get(what, 0.0):.3g}" for name in ENVIRONMENTS) + " |")


if __name__ == "__main__":
    main()
