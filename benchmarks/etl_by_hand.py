"""The snapshots of `ludocast snapshots` written by hand, in pandas and in polars: every feature and the label.

Written from the descriptions in `_features.json`, snapshot by snapshot from the events, as a data scientist would write
them down: an independent reference for the values, and what the speed of `benchmarks/etl.py` is measured against.
Events are sorted once, and days are made where a feature speaks of days.
"""

# s the snapshot's day; age = s − day: 1 is the day before the snapshot

from __future__ import annotations

from pathlib import Path
from typing import Any

OBSERVE, HORIZON, WITHIN, STEP, WEEKS = 56, 28, 7, 14, 8
NESTED = (1, 3, 7, 14, 28, 56)
PAUSE_MS, HOUR_MS, DAY_MS = 1_800_000, 3_600_000, 86_400_000
TYPES = ("match_won", "match_lost", "session_start", "level_up", "purchase")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOURS = tuple(f"{part * 3:02d}_{part * 3 + 3:02d}" for part in range(8))


def by_pandas(log: Path, out: Path, coded: bool) -> None:
    """With `coded`, players are whole numbers, which pandas groups by much faster; without it, names as they come."""
    import pandas as pd

    events = pd.read_parquet(log, columns=["player_id", "time", "event", "amount", "level"])
    ms = events.time.astype("datetime64[ms, UTC]").astype("int64")
    player, names = pd.factorize(events.player_id, sort=True) if coded else (events.player_id, None)
    kind = pd.Categorical(events.event, categories=TYPES).codes
    paid = events.amount.where(events.amount > 0)
    events = pd.DataFrame({"player": player, "ms": ms, "kind": kind, "paid": paid, "level": events.level})
    events = events.sort_values(["player", "ms"], ignore_index=True)
    events["day"] = events.ms // DAY_MS
    quiet = events.groupby("player").ms.diff()
    events["goes_on"] = quiet <= PAUSE_MS
    events["played"] = quiet.where(events.goes_on, 0)
    events["hour"] = events.ms % DAY_MS // (3 * HOUR_MS)
    events["weekday"] = (events.day + 3) % 7  # 1970 began on a Thursday
    begin, end = events.day.min(), events.day.max() + 1
    tables = []
    for s in range(begin + OBSERVE, end - HORIZON + 1, STEP):
        known = events[(events.day >= s - OBSERVE) & (events.day < s)]
        last = known.groupby("player").day.max()
        known = known[known.player.isin(last.index[last >= s - WITHIN])]
        table = pd.DataFrame(_pandas_events(known, s) | _pandas_days(known, s))
        _pandas_ratios(table)
        back = events.player[(events.day >= s) & (events.day < s + HORIZON)].unique()
        table["churned"] = ~table.index.isin(back)
        tables.append(table.reset_index().assign(s=s))
    whole = pd.concat(tables)
    whole["player_id"] = whole.player if names is None else names[whole.player]
    whole.drop(columns="player").to_parquet(out)


def _pandas_events(known: Any, s: int) -> dict[str, Any]:
    # The first event of a window goes on with nothing.
    first = ~known.player.duplicated()
    known = known.assign(begins=first | ~known.goes_on, played=known.played.where(~first, 0), age=s - known.day)
    players = known.groupby("player")
    none = players.size() * 0
    found: dict[str, Any] = {"hours_since_last": (s * DAY_MS - players.ms.max()) / HOUR_MS}
    for days in NESTED:
        recent = known[known.age <= days]
        groups = recent.groupby("player")
        found[f"events_{days}d"] = none.add(groups.size(), fill_value=0)
        found[f"sessions_{days}d"] = none.add(groups.begins.sum(), fill_value=0)
        paid = recent[recent.paid.notna()].groupby("player").paid
        found[f"payments_{days}d"] = none.add(paid.size(), fill_value=0)
        found[f"spent_{days}d"] = none.add(paid.sum(), fill_value=0)
        if days in (7, OBSERVE):
            found[f"hours_played_{days}d"] = none.add(groups.played.sum(), fill_value=0) / HOUR_MS
            kinds = recent.groupby(["player", "kind"]).size().unstack(fill_value=0)
            for number, name in enumerate(TYPES):
                found[f"type_{number}_{name}_{days}d"] = none.add(kinds.get(number, none), fill_value=0)
    found["type_other"] = kinds.get(-1, none)
    found["type_entropy"] = _pandas_entropy(kinds)
    half_early = {d: known[(known.age > d // 2) & (known.age <= d)].groupby("player").size() for d in (14, 28, 56)}
    for days, early in half_early.items():
        before, both = none.add(early, fill_value=0), found[f"events_{days}d"]
        found[f"events_trend_{days}d"] = (both - 2 * before) / both.where(both > 0)
    found["minutes_per_session"] = found["hours_played_56d"] * 60 / found["sessions_56d"]
    found["events_per_session"] = found["events_56d"] / found["sessions_56d"]
    paid = known[known.paid.notna()].groupby("player")
    found["mean_payment"], found["largest_payment"] = paid.paid.mean(), paid.paid.max()
    found["days_since_payment"] = s - paid.day.max()
    found["paying_days"] = none.add(paid.day.nunique(), fill_value=0)
    hours = known.groupby(["player", "hour"]).size().unstack(fill_value=0)
    weekdays = known.groupby(["player", "weekday"]).size().unstack(fill_value=0)
    for column, name in enumerate(HOURS):
        found[f"share_hours_{name}"] = hours.get(column, none) / found["events_56d"]
    for column, name in enumerate(WEEKDAYS):
        found[f"share_{name}"] = weekdays.get(column, none) / found["events_56d"]
    found["hour_entropy"], found["weekday_entropy"] = _pandas_entropy(hours), _pandas_entropy(weekdays)
    top, low = players["level"].max(), players["level"].min()
    found["level"], found["levels_gained"] = top, top - low
    before = known[known.age > 7].groupby("player")["level"].max()
    found["levels_gained_7d"] = top - before.reindex(top.index).fillna(low)
    return found


def _pandas_entropy(counts: Any) -> Any:
    import numpy as np

    share = counts.div(counts.sum(axis=1), axis=0)
    return -(share * np.log2(share.where(share > 0, 1))).sum(axis=1)


def _pandas_days(known: Any, s: int) -> dict[str, Any]:
    days = known.groupby(["player", "day"]).size().rename("events").reset_index()
    days["age"] = s - days.day
    days["gap"] = days.groupby("player").day.diff()
    days["starts"] = days.gap.isna() | (days.gap > 1)
    players = days.groupby("player")
    last, none = players.day.max(), players.size() * 0
    found: dict[str, Any] = {
        "days_since_last": s - last, "days_since_first": s - players.day.min(),
        "events_busiest_day": players.events.max(), "streaks": players.starts.sum(),
    }  # fmt: skip

    def number(chosen: Any) -> Any:
        return none.add(days[chosen].groupby("player").size(), fill_value=0)

    for window in NESTED[1:]:
        found[f"active_days_{window}d"] = number(days.age <= window)
    for age in range(1, 8):
        found[f"active_day_{age}"] = number(days.age == age)
    weeks = [number((days.age > 7 * week) & (days.age <= 7 * week + 7)) for week in range(WEEKS)]
    for week, value in enumerate(weeks[1:], 2):
        found[f"active_days_week_{week}"] = value
    import pandas as pd

    each = pd.concat(weeks, axis=1)
    found["active_weeks"] = (each > 0).sum(axis=1)
    found["active_days_deviation"] = each.std(axis=1, ddof=0)
    for window in (14, 28, 56):
        late = number(days.age <= window // 2)
        found[f"active_days_trend_{window}d"] = 2 * late - found[f"active_days_{window}d"]
    runs = days.groupby(["player", days.starts.cumsum()]).size()
    found["longest_streak"] = runs.groupby("player").max()
    found["streak"] = runs.groupby("player").last()
    found["mean_gap"], found["longest_gap"] = players.gap.mean(), players.gap.max()
    found["gap_deviation"], found["last_gap"] = players.gap.std(ddof=0), players.gap.last()
    long = days[days.gap > 1].groupby("player").gap
    found["pauses"], found["mean_pause"] = none.add(long.size(), fill_value=0), long.mean()
    old = days[days.age <= OBSERVE - 7]
    there = pd.MultiIndex.from_frame(days[["player", "day"]])
    again = pd.MultiIndex.from_arrays([old.player, old.day - 7]).isin(there)
    found["same_weekday_days"] = none.add(old[again].groupby("player").size(), fill_value=0)
    found["same_weekday_share"] = found["same_weekday_days"] / old.groupby("player").size()
    return found


def _pandas_ratios(table: Any) -> None:
    active = table.active_days_56d
    table["events_per_active_day"] = table.events_56d / active
    table["active_share"] = active / table.days_since_first
    table["quiet_against_gap"] = table.days_since_last / table.mean_gap
    table["quiet_against_longest"] = table.days_since_last / table.longest_gap
    table["sessions_per_active_day"] = table.sessions_56d / active
    table["levels_per_active_day"] = table.levels_gained / active


def by_polars(log: Path, out: Path) -> None:
    import polars as pl

    events = pl.read_parquet(log, columns=["player_id", "time", "event", "amount", "level"])
    ms, names = pl.col("time").dt.timestamp("ms"), events["player_id"].unique().sort()
    events = events.select(
        player=pl.col("player_id").cast(pl.Enum(names)).to_physical(), ms=ms, day=ms // DAY_MS, event=pl.col("event"),
        paid=pl.when(pl.col("amount") > 0).then(pl.col("amount")), level=pl.col("level").cast(pl.Int64),
    )  # fmt: skip
    events = events.sort("player", "ms")
    quiet = pl.col("ms").diff().over("player")
    events = events.with_columns(goes_on=(quiet <= PAUSE_MS).fill_null(False), quiet=quiet.fill_null(0))
    begin, end = int(events["day"].min()), int(events["day"].max()) + 1  # type: ignore[arg-type]
    tables = []
    for s in range(begin + OBSERVE, end - HORIZON + 1, STEP):
        known = events.lazy().filter(pl.col("day") >= s - OBSERVE, pl.col("day") < s)
        known = known.filter(pl.col("day").max().over("player") >= s - WITHIN).with_columns(age=s - pl.col("day"))
        first = (pl.col("player") != pl.col("player").shift(1)).fill_null(True)
        known = known.with_columns(begins=first | ~pl.col("goes_on"), plays=pl.col("goes_on") & ~first)
        table = known.group_by("player").agg(**_polars_events(s))
        days = known.group_by("player", "day").agg(events=pl.len(), age=pl.col("age").first()).sort("player", "day")
        days = days.with_columns(gap=pl.col("day").diff().over("player"))
        days = days.with_columns(starts=pl.col("gap").is_null() | (pl.col("gap") > 1))
        days = days.with_columns(run=pl.col("starts").cum_sum())
        days = days.with_columns(run=pl.int_range(1, pl.len() + 1).over("player", "run"))
        earlier = days.select("player", day=pl.col("day") + 7, again=pl.lit(True))
        days = days.join(earlier, on=["player", "day"], how="left", maintain_order="left")
        table = table.join(days.group_by("player", maintain_order=True).agg(**_polars_days(s)), on="player")
        back = events.lazy().filter(pl.col("day") >= s, pl.col("day") < s + HORIZON).select("player").unique()
        table = table.join(back.with_columns(back=True), on="player", how="left")
        table = table.with_columns(**_polars_ratios()).with_columns(churned=pl.col("back").is_null(), s=pl.lit(s))
        tables.append(table.drop("back").collect())
    whole = pl.concat(tables)
    whole.with_columns(player_id=names.gather(whole["player"])).drop("player").write_parquet(out)


def _polars_events(s: int) -> dict[str, Any]:
    import polars as pl

    age, paid, kind, whole = pl.col("age"), pl.col("paid"), pl.col("event"), pl.len()
    found: dict[str, Any] = {"hours_since_last": (s * DAY_MS - pl.col("ms").max()) / HOUR_MS}
    for days in NESTED:
        recent = age <= days
        found |= {
            f"events_{days}d": recent.sum(), f"sessions_{days}d": (recent & pl.col("begins")).sum(),
            f"payments_{days}d": (recent & paid.is_not_null()).sum(), f"spent_{days}d": paid.filter(recent).sum(),
        }  # fmt: skip
    for days in (7, OBSERVE):
        found[f"hours_played_{days}d"] = pl.col("quiet").filter(pl.col("plays") & (age <= days)).sum() / HOUR_MS
        for number, name in enumerate(TYPES):
            found[f"type_{number}_{name}_{days}d"] = ((kind == name) & (age <= days)).sum()
    kinds = [(kind == name).sum() for name in TYPES]
    found["type_other"] = whole - pl.sum_horizontal(kinds)
    found["type_entropy"] = _polars_entropy([*kinds, found["type_other"]])
    for days in (14, 28, 56):
        late, both = (age <= days // 2).sum().cast(pl.Int64), (age <= days).sum().cast(pl.Int64)
        found[f"events_trend_{days}d"] = pl.when(both > 0).then((2 * late - both) / both)
    found |= {
        "mean_payment": paid.mean(), "largest_payment": paid.max(),
        "days_since_payment": s - pl.col("day").filter(paid.is_not_null()).max(),
        "paying_days": pl.col("day").filter(paid.is_not_null()).n_unique(),
    }  # fmt: skip
    hour, weekday = pl.col("ms") % DAY_MS // (3 * HOUR_MS), (pl.col("day") + 3) % 7
    hours, weekdays = [(hour == part).sum() for part in range(8)], [(weekday == part).sum() for part in range(7)]
    found |= {f"share_hours_{name}": value / whole for name, value in zip(HOURS, hours, strict=True)}
    found |= {f"share_{name}": value / whole for name, value in zip(WEEKDAYS, weekdays, strict=True)}
    found |= {"hour_entropy": _polars_entropy(hours), "weekday_entropy": _polars_entropy(weekdays)}
    level = pl.col("level")
    before = pl.coalesce(level.filter(age > 7).max(), level.min())
    return found | {
        "level": level.max(),
        "levels_gained": level.max() - level.min(),
        "levels_gained_7d": level.max() - before,
    }


def _polars_entropy(counts: list[Any]) -> Any:
    import polars as pl

    each = [value / pl.len() for value in counts]
    return -pl.sum_horizontal([pl.when(share > 0).then(share * share.log(2)).otherwise(0.0) for share in each])


def _polars_days(s: int) -> dict[str, Any]:
    import polars as pl

    age, day, gap = pl.col("age"), pl.col("day"), pl.col("gap")
    found: dict[str, Any] = {
        "days_since_last": s - day.max(), "days_since_first": s - day.min(),
        "events_busiest_day": pl.col("events").max(),
        "streak": pl.col("run").last(), "longest_streak": pl.col("run").max(), "streaks": pl.col("starts").sum(),
    }  # fmt: skip
    found |= {f"active_days_{days}d": (age <= days).sum() for days in NESTED[1:]}
    found |= {f"active_day_{number}": (age == number).sum() for number in range(1, 8)}
    weeks = [((age > 7 * week) & (age <= 7 * week + 7)).sum().cast(pl.Int64) for week in range(WEEKS)]
    found |= {f"active_days_week_{week}": value for week, value in enumerate(weeks[1:], 2)}
    found["active_weeks"] = pl.sum_horizontal([value > 0 for value in weeks])
    found["active_days_deviation"] = pl.concat_list(weeks).list.std(ddof=0)
    for days in (14, 28, 56):
        late, both = (age <= days // 2).sum().cast(pl.Int64), (age <= days).sum().cast(pl.Int64)
        found[f"active_days_trend_{days}d"] = 2 * late - both
    full = age <= OBSERVE - 7
    again = (full & pl.col("again").fill_null(False)).sum()
    return found | {
        "mean_gap": gap.mean(), "gap_deviation": pl.when(gap.count() > 0).then(gap.std(ddof=0)),
        "last_gap": gap.last(), "longest_gap": gap.max(),
        "pauses": (gap > 1).sum(), "mean_pause": gap.filter(gap > 1).mean(),
        "same_weekday_days": again, "same_weekday_share": pl.when(full.any()).then(again / full.sum()),
    }  # fmt: skip


def _polars_ratios() -> dict[str, Any]:
    import polars as pl

    def ratio(part: str, whole: str) -> Any:
        return pl.col(part) / pl.col(whole)

    return {
        "events_per_active_day": ratio("events_56d", "active_days_56d"),
        "active_share": ratio("active_days_56d", "days_since_first"),
        "quiet_against_gap": ratio("days_since_last", "mean_gap"),
        "quiet_against_longest": ratio("days_since_last", "longest_gap"),
        "sessions_per_active_day": ratio("sessions_56d", "active_days_56d"),
        "minutes_per_session": ratio("hours_played_56d", "sessions_56d") * 60,
        "events_per_session": ratio("events_56d", "sessions_56d"),
        "levels_per_active_day": ratio("levels_gained", "active_days_56d"),
    }
