"""A table of all kinds of columns whose pairs count together, and rows of it that no table should hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from ludocast.datamodules.infer import RawColumns


def made_frame(classes: int, rows: int = 900) -> pd.DataFrame:
    """The label "y" is one of some classes, or a number where there are none."""
    generator = np.random.default_rng(0)
    level, country, paid = (generator.integers(0, size, rows) for size in (6, 4, 3))
    gap, power = generator.normal(size=(2, rows))
    act = level / 3 + 1.5 * ((country + paid) % 2) + gap * power + generator.normal(size=rows)  # together, for pairs
    names = (
        [f"class {k}" for k in np.digitize(act, np.quantile(act, np.arange(1, classes) / classes))] if classes else []
    )
    return pd.DataFrame(
        {
            "spent": generator.gamma(0.5, 1e4, rows).round(2),
            "level": level,
            "gap": np.where(generator.random(rows) < 0.1, np.nan, gap),
            "power": power,
            "국가 ": np.array(["KR", "日本", "", "US"])[country],
            "guild": [f"g{k}" for k in generator.zipf(1.4, rows) % 200],
            "paid": np.array(["true", "false", ""])[paid],
            "since": pd.to_datetime(1.7e9 + generator.integers(0, 10**7, rows), unit="s").astype(str),
            "y": names if classes else (100 * act + 1_000).round(3),
        }
    )


def hostile(columns: RawColumns, rows: int = 10_000) -> RawColumns:
    """Rows of strange cells between usual ones."""
    generator = np.random.default_rng(1)
    texts = np.array(
        ["", " KR", "KR", "unseen", "🐉", "a" * 300, "NaN", "\u202eRTL", "true", "0", "nul\u0001"], dtype=object
    )
    numbers = np.array([np.nan, 0, -0.0, 1e-45, 3.4e38, -3.4e38, 1, 2.5, 1e9, 16777217], np.float32)
    out = {}
    for name, values in columns.items():
        pool = texts if values.dtype == object else numbers.astype(values.dtype)
        odd = generator.choice(pool, rows)
        out[name] = np.where(generator.random(rows) < 0.5, odd, generator.choice(values, rows)).astype(values.dtype)
    return out
