"""Losses of numbers on simulated rows whose law is known: `python benchmarks/number_losses.py`.

Counts (Poisson), amounts of which a third is 0 and the others are log-normal (Tweedie), and numbers whose noise has a
heavy tail and grows (the median, and the quantile of 90 %); counts and amounts by squared errors as well, and amounts
of which 95 % are 0. `--learners`, boosting and linear model unless others are
named, are fitted on 4,000 rows and blended, as `train table` does. 40,000 new rows: the mean loss beside that of who
knows the law and of a constant, the share of true values within the intervals that are to hold 90 %, the lowest and
highest such share in a tenth of the rows by prediction. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.models.fitted import FittedNumbers
from ludocast.models.number_loss import LossName, NumberLoss
from ludocast.models.table.frame import fit_frame, predict_frame

TRAIN, NEW = 4_000, 40_000
PAID = {"amounts": 2 / 3, "rare amounts": 0.05}  # share of the rows whose amount is above 0
SPREAD = 1.2  # of the logarithm of an amount
FREEDOM = 3  # of Student's noise
CASES: tuple[tuple[str, LossName, float], ...] = (
    ("counts", "poisson", 0.5), ("amounts", "tweedie", 0.5), ("heavy tails", "absolute", 0.5),
    ("heavy tails", "quantile", 0.9), ("counts", "squared", 0.5), ("amounts", "squared", 0.5),
    ("rare amounts", "squared", 0.5),
)  # fmt: skip


def made(kind: str, rows: int, seed: int, quantile: float) -> tuple[pd.DataFrame, np.ndarray]:
    """A table with the label y, and what is best to predict of each row."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{k}": generator.normal(size=rows) for k in range(5)})
    frame["group"] = generator.choice([f"g{k}" for k in range(8)], rows)
    group = frame["group"].str[1:].astype(int).to_numpy()
    bent = 0.7 * frame["x0"] - 0.5 * np.abs(frame["x1"]) + 0.4 * frame["x2"] * (group % 2) + 0.2 * (group % 3)
    score = bent.to_numpy()
    if kind == "counts":
        best = 2 * np.exp(score)
        frame["y"] = generator.poisson(best)
    elif kind in PAID:
        paid = np.exp(score + SPREAD * generator.normal(size=rows))
        frame["y"] = 30 * paid * (generator.random(rows) < PAID[kind])
        best = 30 * PAID[kind] * np.exp(score + SPREAD**2 / 2)
    else:
        width = np.exp(0.4 * frame["x3"].to_numpy())
        frame["y"] = score + width * generator.standard_t(FREEDOM, rows)
        best = score + width * stats.t.ppf(quantile, FREEDOM)
    return frame, best


def constant(loss: NumberLoss, label: np.ndarray) -> float:
    """The best one of the training rows."""
    if loss.name in ("absolute", "quantile"):
        return float(np.quantile(label, loss.quantile))
    return float(label.mean())


def measure(kind: str, loss: NumberLoss, learners: str) -> None:
    """Print a row."""
    frame, _ = made(kind, TRAIN, 0, loss.quantile)
    new, best = made(kind, NEW, 1, loss.quantile)
    begin = time.perf_counter()
    fitted = fit_frame(frame, "y", task="regression", names=learners, combine="blend", loss=loss).model
    seconds = time.perf_counter() - begin
    assert isinstance(fitted, FittedNumbers)
    value, label = predict_frame(fitted, new), new["y"].to_numpy(np.float64)
    low, high = fitted.bounds(value).T
    inside = (low <= label) & (label <= high)
    tenths = [100 * inside[rows].mean() for rows in np.array_split(np.argsort(value, kind="stable"), 10)]
    ours, known, flat = (
        float(loss.of_rows(np.asarray(one, np.float64), label).mean())
        for one in (value, best, np.full(NEW, constant(loss, frame["y"].to_numpy(np.float64))))
    )
    blend = ", ".join(f"{name} {weight:.0%}" for name, weight in fitted.weights.items())
    name = f"{loss.name} {loss.quantile:g}" if loss.name == "quantile" else loss.name
    print(
        f"| {kind} | {name} | {blend} | {ours:.4f} | {known:.4f} | {flat:.4f} | {100 * inside.mean():.1f} % "
        f"| {min(tenths):.1f} to {max(tenths):.1f} % | {seconds:.0f} |",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", default="boosting,linear")
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print("| rows | loss | blend | ours | law known | constant | within | within, by tenth | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind, name, quantile in CASES:
        measure(kind, NumberLoss(name, quantile), options.learners)
    return 0


if __name__ == "__main__":
    sys.exit(main())
