"""A table of several labels that share what tells them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.serve.made_table import made_frame

LABELS = ("skin", "pass", "event")


def made_labels(rows: int = 400) -> pd.DataFrame:
    """Labels of 1 and 0, of "yes" and "no", and of True and False, from one hidden wish."""
    frame = made_frame(0, rows)
    generator = np.random.default_rng(7)
    wish = (frame.pop("y") - 1_000) / 100
    for name, rate in zip(LABELS, (0.5, 0.15, 0.8), strict=True):
        score = wish * (1 + rate) + generator.normal(size=rows)
        frame[name] = score > np.quantile(score, 1 - rate)
    return frame.assign(skin=frame["skin"].astype(int), **{"pass": np.where(frame["pass"], "yes", "no")})
