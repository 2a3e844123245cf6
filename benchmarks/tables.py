"""Tables of many shapes for the accuracy benchmarks: real ones, scikit-learn's own, simulated ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine, make_friedman1

DATA = Path(__file__).parent.parent.parent / "shared" / "data"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        frame: Its rows.
        label: The column to predict: texts are classes, numbers are numbers.
        positive: Of two classes that whose probability is ranked by; "" of a number and of more classes.
        exclude: Columns to leave out.
        best: The true probabilities of the positive class, float64 [rows], where they are known.
    """

    frame: pd.DataFrame
    label: str
    positive: str = ""
    exclude: list[str] = field(default_factory=list)
    best: np.ndarray | None = None


def _csv(path: str, label: str, positive: str, exclude: list[str]) -> Table:
    frame = pd.read_csv(DATA / path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    return Table(frame, label, positive, exclude)


def players_en() -> Table:
    return _csv("game_churn/players_en.csv", "churn_YN", "Y", ["idx"])


def players_ko() -> Table:
    return _csv("game_churn/players_ko.csv", "이탈여부", "Y", ["idx"])


def telco() -> Table:
    return _csv("telco_churn/telco.csv", "Churn", "Yes", ["customerID"])


def wow_logins() -> Table:
    """Avatars seen in the 30 days before a day; churn: no log-in in the 30 days after it."""
    events = pd.read_parquet(DATA / "wow_logins" / "events.parquet")
    day = pd.to_datetime(events["timestamp"]).dt.floor("D")
    cut = day.min() + (day.max() - day.min()) / 2
    age = (cut - day).dt.days
    before = events.assign(age=age)[age > 0]
    seen = before.groupby("player_id")["age"]
    frame = pd.DataFrame({"last": seen.min(), "first": seen.max(), "days": seen.count()})
    for days in (7, 14, 30, 90):
        frame[f"days_{days}"] = before[before.age <= days].groupby("player_id").size().reindex(frame.index).fillna(0)
    frame = frame[frame["last"] <= 30]
    after = set(events.loc[(age <= 0) & (age > -30), "player_id"])
    frame["churn"] = ["N" if player in after else "Y" for player in frame.index]
    return Table(frame.reset_index(drop=True), "churn", "Y")


def breast_cancer() -> Table:
    frame = load_breast_cancer(as_frame=True).frame
    return Table(frame.assign(target=np.where(frame.target == 0, "ill", "well")), "target", "ill")


def digits() -> Table:
    frame = load_digits(as_frame=True).frame
    return Table(frame.assign(target=np.where(frame.target % 2 == 0, "even", "odd")), "target", "even")


def _drawn(frame: pd.DataFrame, logit: np.ndarray, generator: np.random.Generator) -> Table:
    p = 1 / (1 + np.exp(-logit))
    label = np.where(generator.random(len(p)) < p, "yes", "no")
    return Table(frame.assign(churned=label), "churned", "yes", best=p)


def _normal(rows: int, columns: int, generator: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(generator.normal(size=(rows, columns)), columns=[f"x{i}" for i in range(columns)])


def small_smooth() -> Table:
    """600 rows, 8 numbers, two of them with a bend."""
    g = np.random.default_rng(1)
    x = _normal(600, 8, g)
    return _drawn(x, 1.2 * x.x0 + np.sin(2 * x.x1) + 0.8 * x.x2 * x.x3 - 0.5, g)


def noise_columns() -> Table:
    """2,000 rows, 60 numbers of which 54 are pure noise."""
    g = np.random.default_rng(2)
    x = _normal(2_000, 60, g)
    return _drawn(x, x.x0 + 0.8 * x.x1 - np.abs(x.x2) + 0.7 * (x.x3 > 0.5) + 0.5 * x.x4 * x.x5, g)


def skewed_numbers() -> Table:
    """7,000 rows, 54 numbers from heavy tails, thresholds and ratios."""
    g = np.random.default_rng(3)
    x = pd.DataFrame(np.exp(1.5 * g.normal(size=(7_000, 54))), columns=[f"x{i}" for i in range(54)])
    steps = sum((-1) ** i * 0.8 * (x[f"x{i}"] > 1 + 0.2 * i) for i in range(12))
    return _drawn(x, steps + np.log1p(x.x12 / x.x13) - 0.7, g)


def many_categories() -> Table:
    """20,000 rows, a guild of 5,000 with an effect of its own."""
    g = np.random.default_rng(4)
    guild = np.minimum(g.zipf(1.3, 20_000), 5_000) - 1
    effect = g.normal(size=5_000)
    x = _normal(20_000, 6, g).assign(guild=[f"g{k}" for k in guild], region=g.integers(0, 12, 20_000))
    region = g.normal(size=12)
    return _drawn(x, effect[guild] + region[x.region] + x.x0 + 0.5 * x.x1**2 - 1, g)


def additive() -> Table:
    """10,000 rows, a straight line."""
    g = np.random.default_rng(5)
    x = _normal(10_000, 15, g)
    return _drawn(x, (x.to_numpy() * g.normal(0, 0.4, 15)).sum(axis=1), g)


def crossed_categories() -> Table:
    """5,000 rows whose categories matter only together."""
    g = np.random.default_rng(6)
    a, b, c = (g.integers(0, k, 5_000) for k in (4, 5, 3))
    x = _normal(5_000, 4, g).assign(a=[f"a{k}" for k in a], b=[f"b{k}" for k in b], c=[f"c{k}" for k in c])
    return _drawn(x, 1.5 * np.where((a + b) % 2 == 0, 1, -1) + 0.7 * np.where(c == a % 3, 1, -1) + 0.5 * x.x0, g)


def large_mixed() -> Table:
    """100,000 rows, numbers, codes and texts, a tenth missing."""
    g = np.random.default_rng(7)
    rows = 100_000
    x = _normal(rows, 6, g)
    code, text = g.integers(0, 40, rows), g.integers(0, 15, rows)
    by_code, by_text = g.normal(size=40), g.normal(size=15)
    logit = by_code[code] + by_text[text] * (x.x0 > 0) + np.sin(3 * x.x1) + x.x2 * x.x3 - 1
    x = x.assign(code=code.astype(float), text=[f"t{k}" for k in text], day=g.integers(0, 365, rows))
    table = _drawn(x, logit.to_numpy(), g)
    for name in ("x0", "x1", "code"):
        table.frame.loc[g.random(rows) < 0.1, name] = np.nan
    return table


def imbalanced() -> Table:
    """15,000 rows, 2 % positive."""
    g = np.random.default_rng(8)
    x = _normal(15_000, 10, g).assign(kind=g.integers(0, 6, 15_000))
    kind = g.normal(size=6)
    return _drawn(x, kind[x.kind] + 1.2 * x.x0 + 0.8 * x.x1 * x.x2 - 5.4, g)


def thousand() -> Table:
    """1,000 rows, 5 numbers and 5 categories."""
    g = np.random.default_rng(9)
    x = _normal(1_000, 5, g)
    effects = np.zeros(1_000)
    for i in range(5):
        k = g.integers(0, 3 + i, 1_000)
        x[f"c{i}"] = [f"v{v}" for v in k]
        effects = effects + g.normal(0, 0.7, 3 + i)[k]
    return _drawn(x, (effects + x.x0 - 0.7 * x.x1 + 0.6 * (x.x2 > 0) * x.x3).to_numpy(), g)


def wine() -> Table:
    frame = load_wine(as_frame=True).frame
    return Table(frame.assign(target=[f"cultivar {k}" for k in frame.target]), "target")


def ten_digits() -> Table:
    frame = load_digits(as_frame=True).frame
    return Table(frame.assign(target=frame.target.astype(str)), "target")


def diabetes() -> Table:
    return Table(load_diabetes(as_frame=True).frame, "target")


def counts() -> Table:
    """5,000 rows; visits, Poisson with a rate from three numbers and two categories."""
    g = np.random.default_rng(10)
    kind, region = g.integers(0, 5, 5_000), g.integers(0, 12, 5_000)
    by_kind, by_region = g.normal(0, 0.5, 5), g.normal(0, 0.4, 12)
    x = _normal(5_000, 6, g)
    rate = np.exp(0.3 + by_kind[kind] + by_region[region] + 0.5 * x.x0 - 0.4 * np.abs(x.x1) + 0.3 * x.x2 * x.x3)
    x = x.assign(kind=[f"k{k}" for k in kind], region=[f"r{k}" for k in region])
    return Table(x.assign(visits=g.poisson(rate).astype(float)), "visits")


def heavy_tails() -> Table:
    """5,000 rows; a price, log-normal around a bent surface of columns that have heavy tails as well."""
    g = np.random.default_rng(11)
    x = pd.DataFrame(np.exp(g.normal(size=(5_000, 8))), columns=[f"x{i}" for i in range(8)])
    kind = g.integers(0, 8, 5_000)
    by_kind = g.normal(0, 0.6, 8)
    logs = 2 + by_kind[kind] + 0.6 * np.log(x.x0) + 0.4 * np.log1p(x.x1 * x.x2) - 0.5 * (x.x3 > 1.5)
    price = np.exp(logs + 0.5 * g.normal(size=5_000))
    return Table(x.assign(kind=[f"k{k}" for k in kind], price=price), "price")


def iris() -> Table:
    frame = load_iris(as_frame=True).frame
    return Table(frame.assign(target=[f"species {k}" for k in frame.target]), "target")


def clear_kinds() -> Table:
    """240 rows of four classes that meet a little, 12 numbers of several scales."""
    g = np.random.default_rng(15)
    kind = g.integers(0, 4, 240)
    x = g.normal(size=(240, 12)) + 1.3 * g.normal(size=(4, 12))[kind]
    frame = pd.DataFrame(x * np.exp(g.normal(0, 2, 12)), columns=[f"x{i}" for i in range(12)])
    return Table(frame.assign(kind=[f"kind {k}" for k in kind]), "kind")


def few_counts() -> Table:
    """900 rows; purchases, many of them none, whose rate one category and four numbers tell."""
    g = np.random.default_rng(16)
    kind = g.integers(0, 7, 900)
    x = _normal(900, 7, g)
    rate = np.exp(-0.5 + g.normal(0, 0.7, 7)[kind] + 0.6 * x.x0 + 0.4 * (x.x1 > 0.5) - 0.3 * x.x2**2 + 0.2 * x.x3)
    return Table(x.assign(kind=[f"k{k}" for k in kind], purchases=g.poisson(rate).astype(float)), "purchases")


def three_kinds() -> Table:
    """3,000 rows of three classes, 10 numbers and 2 categories."""
    g = np.random.default_rng(12)
    a, b = g.integers(0, 6, 3_000), g.integers(0, 9, 3_000)
    x = _normal(3_000, 10, g)
    logits = g.normal(size=(6, 3))[a] + g.normal(0, 0.6, (9, 3))[b] + x.to_numpy()[:, :4] @ g.normal(0, 0.7, (4, 3))
    logits[:, 0] += np.abs(x.x4) + x.x5 * x.x6
    kind = (logits + g.gumbel(size=logits.shape)).argmax(axis=1)
    return Table(x.assign(a=[f"a{k}" for k in a], b=[f"b{k}" for k in b], kind=[f"kind {k}" for k in kind]), "kind")


def friedman() -> Table:
    """2,000 rows, 10 numbers of which 5 count (Friedman, 1991)."""
    x, y = make_friedman1(2_000, 10, noise=1.5, random_state=13)
    return Table(pd.DataFrame(x, columns=[f"x{i}" for i in range(10)]).assign(y=y), "y")


def mixed_number() -> Table:
    """8,000 rows; a number from a shop of 400, steps, a line and a product."""
    g = np.random.default_rng(14)
    shop, size = g.integers(0, 400, 8_000), g.integers(0, 5, 8_000)
    x = _normal(8_000, 8, g)
    y = (
        g.normal(size=400)[shop]
        + 0.5 * size * (x.x0 > 0)
        + x.x1
        + x.x2 * x.x3
        + np.sin(2 * x.x4)
        + g.normal(size=8_000)
    )
    x = x.assign(shop=[f"s{k}" for k in shop], size=[f"{k}" for k in size], y=y)
    x.loc[g.random(8_000) < 0.1, "x1"] = np.nan
    return Table(x, "y")


REAL: dict[str, Callable[[], Table]] = {
    "players_en": players_en, "players_ko": players_ko, "telco": telco, "wow_logins": wow_logins,
}  # fmt: skip
MADE: dict[str, Callable[[], Table]] = {
    table.__name__: table
    for table in (
        breast_cancer, digits, small_smooth, thousand, noise_columns, crossed_categories, skewed_numbers, additive,
        imbalanced, many_categories, large_mixed,
    )
}  # fmt: skip
TABLES = {**REAL, **MADE}
# What `benchmarks/table.py` measures, and what settings may be tried on: no table is in both.
CATALOGUE: dict[str, Callable[[], Table]] = {
    table.__name__: table
    for table in (
        players_en, telco, breast_cancer, wine, ten_digits, diabetes, counts, heavy_tails, many_categories,
    )
}  # fmt: skip
OTHERS: dict[str, Callable[[], Table]] = {
    table.__name__: table
    for table in (
        small_smooth, thousand, noise_columns, crossed_categories, imbalanced, iris, clear_kinds, three_kinds,
        few_counts, friedman, mixed_number,
    )
}  # fmt: skip
