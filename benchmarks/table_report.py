"""The Markdown tables of `benchmarks/table.py`: ranks, normalised scores, scores a table, coverage, seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

COVERAGE = 0.9  # that our intervals are to have


def report(lines: list[dict[str, Any]]) -> str:
    """All tables as text, of the (table, fold) pairs that every contestant has done."""
    rows = pd.DataFrame(lines).drop_duplicates(["table", "fold", "contestant"], keep="last")
    complete = rows.groupby(["table", "fold"])["contestant"].transform("nunique") == rows["contestant"].nunique()
    left_out = rows[~complete].groupby(["table", "fold"]).ngroups
    rows = rows[complete]
    scores = rows.groupby(["contestant", "table"])["score"].mean().unstack("table")
    folds = rows.groupby("table")["fold"].nunique()
    told = [f"{len(folds)} tables, {int(folds.sum())} folds in all; {left_out} folds left out, not done by all yet"]
    told.append(_ranks(rows, scores))
    told.append(_scores(rows, scores))
    if "inside" in rows and rows["inside"].notna().any():
        told.append(_coverage(rows))
    return "\n\n".join(told)


def _ranks(rows: pd.DataFrame, scores: pd.DataFrame) -> str:
    rank = scores.rank(ascending=False)
    normalised = (scores - scores.min()) / (scores.max() - scores.min())
    seconds = rows.groupby("contestant")["seconds"]
    table = pd.DataFrame(
        {
            "mean rank": rank.mean(axis=1),
            "normalised score": normalised.mean(axis=1),
            "best of all on": (rank == rank.min()).sum(axis=1),
            "seconds a fold, mean": seconds.mean(),
            "at most": seconds.max(),
        }
    ).sort_values("mean rank")
    decimals = {"mean rank": 2, "normalised score": 3, "best of all on": 0, "seconds a fold, mean": 1, "at most": 0}
    shown = {name: table[name].map(lambda value, d=d: f"{value:.{d}f}") for name, d in decimals.items()}
    return markdown(pd.DataFrame(shown), "")


def _scores(rows: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Mean over the folds of each table, the best one bold."""
    measure = rows.groupby("table")["measure"].first()
    shown = pd.DataFrame(index=scores.index)
    for name in scores:
        sign = 1 if measure[name] == "AUC" else -1
        best = scores[name].max()
        shown[f"{name} ({measure[name]})"] = [
            f"**{sign * value:.4g}**" if value == best else f"{sign * value:.4g}" for value in scores[name]
        ]
    return markdown(shown.T, "table (measure)")


def _coverage(rows: pd.DataFrame) -> str:
    """Share of true values inside our intervals, with its exact 95 % interval (Clopper and Pearson, 1934)."""
    known = rows[rows["inside"].notna()].groupby(["table", "contestant"])[["inside", "rows"]].sum().astype(int)
    found = {}
    for key, one in known.iterrows():
        around = binomtest(int(one["inside"]), int(one["rows"]), COVERAGE).proportion_ci()
        found[" by ".join(map(str, np.atleast_1d(key)))] = {
            "inside": f"{one['inside']:,} of {one['rows']:,}",
            "coverage": f"{one['inside'] / one['rows']:.1%}",
            "95 % interval": f"{around.low:.1%} to {around.high:.1%}",
        }
    return markdown(pd.DataFrame(found).T, "table")


def markdown(frame: pd.DataFrame, corner: str) -> str:
    """A Markdown table of texts."""
    lines = [[corner, *map(str, frame.columns)], ["---"] * (frame.shape[1] + 1)]
    lines += [[str(name), *map(str, values)] for name, values in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
