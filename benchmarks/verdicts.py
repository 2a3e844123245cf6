"""How often `ludocast runs compare` is wrong: pairs of equal and of different simulated models, by number of rows.

Each model sees the true log odds of a row through normal noise of its own, so two of equal noise are equally good
whatever the measure. Equal pairs should be told apart at the stated rate (5 %, half of it each way); of different ones
the share that is told apart is the power, and the worse model should never be called the better one.

    python benchmarks/verdicts.py
"""

from __future__ import annotations

import argparse

import numpy as np
from ludocast.models.comparison import Classified, compare_classifiers

MEASURES = ("auc", "log_loss", "brier", "accuracy")
BASE_RATES = {"24 % positive": -1.6, "4 % positive": -4.2}


def models(generator: np.random.Generator, rows: int, shift: float, noises: tuple[float, float]) -> list[Classified]:
    """Answers of two models on the same rows."""
    logit = generator.normal(shift, 1.5, rows)
    label = (generator.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    found = []
    for noise in noises:
        p = 1 / (1 + np.exp(-(logit + generator.normal(0, noise, rows))))
        found.append(Classified(np.stack([1 - p, p], axis=1), label, (p >= 0.5).astype(np.int64), 1))
    return found


def verdicts(rows: int, shift: float, noises: tuple[float, float], pairs: int, resamples: int) -> dict[str, list[str]]:
    """The verdict on each pair, by measure."""
    generator = np.random.default_rng(rows)
    told: dict[str, list[str]] = {name: [] for name in MEASURES}
    for seed in range(pairs):
        first, second = models(generator, rows, shift, noises)
        found = compare_classifiers(first, second, seed=seed, resamples=resamples)
        for name in MEASURES:
            told[name].append(found[name].verdict if name in found else "open")
    return told


def main() -> None:
    """Print one row a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--rows", type=int, nargs="*", default=[200, 1000])
    options = parser.parse_args()
    for words, shift in BASE_RATES.items():
        for noises, what in (((1.0, 1.0), "equal"), ((1.0, 1.5), "second worse")):
            for rows in options.rows:
                told = verdicts(rows, shift, noises, options.pairs, options.resamples)
                shares = [
                    f"{name} {100 * np.mean([one != 'open' for one in each]):.1f} % "
                    f"(better {100 * np.mean([one == 'better' for one in each]):.1f} %)"
                    for name, each in told.items()
                ]
                print(f"{words}, {rows:,} rows, {what}: told apart by {', '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
