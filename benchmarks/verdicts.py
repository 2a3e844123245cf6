"""How often `ludocast runs compare` is wrong: pairs of equal and of different simulated models, by number of rows.

Each model sees the true log odds of a row, or the true mean of a number, through normal noise of its own, so two of
equal noise are equally good whatever the measure. The numbers' own noise is normal, or they are log-normal (what is
seen is the mean of the logarithm), of which a few rows make most of the squared error. Of five labels the log odds
share a part. Equal pairs should be told apart at the stated rate (5 %, half of it each way); of different ones the
share that is told apart is the power, and the worse model should never be called the better one.

    python benchmarks/verdicts.py                   # of classes
    python benchmarks/verdicts.py --of numbers
    python benchmarks/verdicts.py --of labels
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from ludocast.models.comparison import (
    COMPARED_NUMBERS,
    Classified,
    Comparison,
    LabelAnswers,
    Predicted,
    compare_classifiers,
    compare_label_answers,
    compare_predicted,
)

MEASURES = {
    "classes": ("auc", "log_loss", "brier", "accuracy"),
    "numbers": COMPARED_NUMBERS,
    "labels": ("log_loss", "auc", "micro_f1", "subset_accuracy", "log_loss:a", "auc:a"),
}
LABELS = ("a", "b", "c", "d", "e")
LABEL_RATES = {"each 24 % positive": (-1.6,) * 5, "4 % to 76 % positive": (-4.2, -2.5, -1.6, 0.0, 1.6)}
BASE_RATES = {"24 % positive": -1.6, "4 % positive": -4.2}
Draw = Callable[[np.random.Generator, int, tuple[float, float]], Callable[..., dict[str, Comparison]]]


def classifiers(
    shift: float, generator: np.random.Generator, rows: int, noises: tuple[float, float]
) -> Callable[..., dict[str, Comparison]]:
    """The comparison of two models on the same rows; `shift` is the mean of the log odds."""
    logit = generator.normal(shift, 1.5, rows)
    label = (generator.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    found = []
    for noise in noises:
        p = 1 / (1 + np.exp(-(logit + generator.normal(0, noise, rows))))
        found.append(Classified(np.stack([1 - p, p], axis=1), label, (p >= 0.5).astype(np.int64), 1))
    return partial(compare_classifiers, *found)


def labellers(
    shifts: tuple[float, ...], generator: np.random.Generator, rows: int, noises: tuple[float, float]
) -> Callable[..., dict[str, Comparison]]:
    """The same of two models of several labels."""
    shared, own = generator.normal(size=(rows, 1)), generator.normal(size=(rows, len(shifts)))
    logit = np.array(shifts) + 1.5 * np.sqrt(0.5) * (shared + own)
    label = (generator.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    found = []
    for noise in noises:
        p = 1 / (1 + np.exp(-(logit + generator.normal(0, noise, logit.shape))))
        found.append(LabelAnswers(p, label, p >= 0.5))
    first, second = found
    return partial(compare_label_answers, first, second, LABELS)


def regressions(
    is_heavy: bool, generator: np.random.Generator, rows: int, noises: tuple[float, float]
) -> Callable[..., dict[str, Comparison]]:
    """The same of two models of a number."""
    mean, own = generator.normal(size=(2, rows))
    seen = [mean + 0.5 * noise * generator.normal(size=rows) for noise in noises]
    label = np.exp(mean + own) if is_heavy else mean + own
    values = [np.exp(one) if is_heavy else one for one in seen]
    return partial(compare_predicted, *(Predicted(v, np.column_stack([v - 1, v + 1]), label) for v in values))


CASES: dict[str, dict[str, Draw]] = {
    "classes": {words: partial(classifiers, shift) for words, shift in BASE_RATES.items()},
    "labels": {words: partial(labellers, shifts) for words, shifts in LABEL_RATES.items()},
    "numbers": {"normal": partial(regressions, False), "log-normal": partial(regressions, True)},
}


def verdicts(
    draw: Draw, measures: tuple[str, ...], rows: int, noises: tuple[float, float], pairs: int, resamples: int
) -> dict[str, list[str]]:
    """The verdict on each pair, by measure."""
    generator = np.random.default_rng(rows)
    told: dict[str, list[str]] = {name: [] for name in measures}
    for seed in range(pairs):
        found = draw(generator, rows, noises)(seed=seed, resamples=resamples)
        for name in measures:
            told[name].append(found[name].verdict if name in found else "open")
    return told


def main() -> None:
    """Print one row a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=list(CASES), default="classes")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--rows", type=int, nargs="*", default=[200, 1000])
    options = parser.parse_args()
    for words, draw in CASES[options.of].items():
        for noises, what in (((1.0, 1.0), "equal"), ((1.0, 1.5), "second worse")):
            for rows in options.rows:
                told = verdicts(draw, MEASURES[options.of], rows, noises, options.pairs, options.resamples)
                shares = [
                    f"{name} {100 * np.mean([one != 'open' for one in each]):.1f} % "
                    f"(better {100 * np.mean([one == 'better' for one in each]):.1f} %)"
                    for name, each in told.items()
                ]
                print(f"{words}, {rows:,} rows, {what}: told apart by {', '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
