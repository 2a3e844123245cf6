"""The value of players: how near to the best possible prediction, and beside LightGBM as one would take it.

    python benchmarks/value.py simulated --rows 8000 --seeds 0 1 2
    python benchmarks/value.py real --data ../shared/data

Of simulated players the mean of each one's spending is known, and 20,000 others than those of the training tell: the
normalised Gini as a share of what the true means reach, the deviance above theirs, by how much the sums of the tenths
of the prediction are off those of the true means (all sums brought to one: that of so few large amounts is off by
chance), and how many true amounts lie within their interval. Real tables: plays of a casual mobile game in the 30 days
after a device's first one (Kim et al. 2017), and hours in a game that somebody has bought (Steam), by what else is
known of the game and the buyer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
from ludocast.datamodules.infer import infer_schema, raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.simulate_value import simulate_value
from ludocast.models.fitted import FittedNumbers
from ludocast.models.table.fit import Combine
from ludocast.models.value.fit import fit_value
from ludocast.models.value.measures import deviance, normalised_gini, tenth_table

DAY = 86_400
TESTED = 20_000
LABEL = "spent_next_90d"


def lightgbm_values(frame: pd.DataFrame, label: str, train: np.ndarray, objective: str) -> np.ndarray:
    """Of all rows by LightGBM's defaults, texts as its categories."""
    inputs = frame.drop(columns=label)
    for name in inputs.select_dtypes(exclude="number").columns:
        inputs[name] = inputs[name].astype("category")
    settings = {"objective": objective, "verbosity": -1, "seed": 0, "num_threads": 1}
    model = lightgbm.train(settings, lightgbm.Dataset(inputs.iloc[train], frame[label].iloc[train]))
    return np.maximum(np.asarray(model.predict(inputs)), 0.01 * frame[label].iloc[train].mean())


def all_values(
    table: pa.Table, label: str, train: np.ndarray, test: np.ndarray, seed: int, combine: Combine = "blend"
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values of the test rows by each candidate, and bounds of those that have some."""
    schema = infer_schema(table, label, None, [], task="regression")
    columns, _ = raw_columns(table, schema)
    amount = table[label].to_numpy().astype(np.float64)
    known, asked = ({name: values[rows] for name, values in columns.items()} for rows in (train, test))
    found = fit_value(schema, known, amount[train], None, combine=combine, seed=seed)
    print("  weights:", {name: round(weight, 2) for name, weight in found.model.weights.items()}, flush=True)
    models = {"ludocast": found.model, **found.every}
    numbers = {name: model for name, model in models.items() if isinstance(model, FittedNumbers)}
    values = {name: model.predict(asked) for name, model in numbers.items()}
    bounds = {name: numbers[name].bounds(value) for name, value in values.items()}
    frame = table.to_pandas()
    for objective in ("regression", "tweedie"):
        values[f"LightGBM, {objective}"] = lightgbm_values(frame, label, train, objective)[test]
    values["the mean"] = np.full(len(test), amount[train].mean())
    return values, bounds


def tenths_off(value: np.ndarray, label: np.ndarray) -> float:
    """By how much the sums of the tenths are off, as a share of all, once the whole sum is right."""
    table = tenth_table(value * label.sum() / value.sum(), label, resamples=1)
    predicted, actual = (np.array(side) for side in zip(*((t.predicted, t.actual.value) for t in table), strict=True))
    return float(np.abs(predicted - actual).sum() / actual.sum())


def share_within(bounds: np.ndarray, label: np.ndarray) -> float:
    """Of the true amounts."""
    return float(np.mean((bounds[:, 0] <= label) & (label <= bounds[:, 1])))


def simulated(rows: int, seeds: Sequence[int]) -> None:
    """Measure on players of known value."""
    for law in ("log_normal", "gamma"):
        every: dict[str, list[list[float]]] = {}
        for seed in seeds:
            table, mean = simulate_value(rows + TESTED, seed, law)
            train, test = np.arange(rows), np.arange(rows, rows + TESTED)
            label, best = table[LABEL].to_numpy()[test], mean[test]
            values, bounds = all_values(table.drop_columns(["player_id"]), LABEL, train, test, seed)
            most, least = normalised_gini(best, label), deviance(best, label)
            for name, value in values.items():
                within = share_within(bounds[name], label) if name in bounds else np.nan
                scale = best.sum() / value.sum()
                ranked, above = normalised_gini(value, label) / most, deviance(value * scale, label) - least
                every.setdefault(name, []).append([ranked, above, tenths_off(value, best), within])
        print(f"\namounts: {law}, {rows:,} training rows, means of {len(seeds)} draws")
        print("| candidate | Gini, of the best possible | deviance above it | tenths off | within |")
        print("| --- | --- | --- | --- | --- |")
        for name, found in every.items():
            gini, above, off, within = np.mean(found, axis=0)
            told = "" if np.isnan(within) else f"{within:.1%}"
            print(f"| {name} | {gini:.1%} | {above:.3f} | {off:.1%} | {told} |", flush=True)


def plays(folder: Path) -> tuple[pd.DataFrame, str]:
    """A row a device: its first day, and the plays of the 30 days after it; devices whose 31 days are over."""
    log = pd.read_parquet(folder / "kim2017_play_log" / "play_log.parquet").sort_values("time", kind="stable")
    log["since"] = log["time"] - log.groupby("device")["time"].transform("min")
    log = log[log["time"] - log["since"] <= log["time"].max() - 31 * DAY]
    first, later = log[log["since"] < DAY], log[(log["since"] >= DAY) & (log["since"] < 31 * DAY)]
    by = first.groupby("device")
    began = by["time"].min()
    frame = pd.DataFrame(
        {
            "plays": by.size(),
            "plays_first_hour": first[first["since"] < 3600].groupby("device").size(),
            "hours_played": by["since"].max() / 3600,
            "mean_score": by["score"].mean(),
            "best_score": by["score"].max(),
            "last_score": by["score"].last(),
            "deviation_of_scores": by["score"].std(),
            "hour": began // 3600 % 24,
            "weekday": began // DAY % 7,
            "day": began // DAY,
        }
    ).astype(float)
    frame["plays_next_30d"] = later.groupby("device").size().reindex(frame.index).fillna(0).astype(float)
    return frame.reset_index(drop=True), "plays_next_30d"


def hours(folder: Path, rows: int = 20_000) -> tuple[pd.DataFrame, str]:
    """A row a purchase: the game, how many others the buyer has, and how long these were played."""
    bought, played = (pd.read_csv(folder / "steam200k" / f"game_{what}.csv") for what in ("purchase", "play"))
    keys = ["User_ID", "Game_ID"]
    frame = bought.drop_duplicates(keys).merge(played.groupby(keys)["Hours"].sum().reset_index(), "left", keys)
    frame["Hours"] = frame["Hours"].fillna(0.0)
    by = frame.groupby("User_ID")["Hours"]
    others = by.transform("size") - 1
    frame["others"] = others.astype(float)
    frame["hours_of_others"] = (by.transform("sum") - frame["Hours"]) / others.where(others > 0)
    is_played = (frame["Hours"] > 0).astype(float)
    total = is_played.groupby(frame["User_ID"]).transform("sum")
    frame["share_of_others_played"] = (total - is_played) / others.where(others > 0)
    frame["game"] = "g" + frame["Game_ID"].astype(str)
    frame["buyers"] = frame.groupby("Game_ID")["User_ID"].transform("size").astype(float)
    kept = frame.sample(rows, random_state=0)
    return kept.drop(columns=["User_ID", "Game_ID", "Purchase"]).reset_index(drop=True), "Hours"


def real(folder: Path, seed: int = 0) -> None:
    """Measure on real tables, a quarter of the rows drawn as the test."""
    for title, (frame, label) in {"plays of a casual game": plays(folder), "hours on Steam": hours(folder)}.items():
        order = np.random.default_rng(seed).permutation(len(frame))
        test, train = order[: len(frame) // 4], order[len(frame) // 4 :]
        actual = frame[label].to_numpy()[test]
        values, bounds = all_values(from_frame(frame), label, train, test, seed)
        print(f"\n{title}: {len(train):,} training rows, {len(test):,} test rows, {np.mean(actual == 0):.0%} of them 0")
        print("| candidate | Gini | deviance | tenths off | predicted over true sum | top 10 % | within |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name, value in values.items():
            top = tenth_table(value, actual, resamples=1)[-1].share
            told = f"{share_within(bounds[name], actual):.1%}" if name in bounds else ""
            print(
                f"| {name} | {normalised_gini(value, actual):.4f} | {deviance(value, actual):.3f} | "
                f"{tenths_off(value, actual):.1%} | {value.sum() / actual.sum():.3f} | {top:.1%} | {told} |",
                flush=True,
            )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    kinds = parser.add_subparsers(dest="kind", required=True)
    made = kinds.add_parser("simulated")
    made.add_argument("--rows", type=int, default=8_000)
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    kinds.add_parser("real").add_argument("--data", type=Path, default=Path("../shared/data"))
    asked = parser.parse_args()
    if asked.kind == "simulated":
        simulated(asked.rows, asked.seeds)
    else:
        real(asked.data)


if __name__ == "__main__":
    main()
