"""Every number of the profile of a small simulated log against pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.etl.profile import profile_log
from ludocast.datamodules.game.log import simulate_log

from tests.datamodules.etl.made_logs import opened

SESSION = pd.Timedelta(minutes=30)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("profile")
    simulate_log(300, 75, folder / "game", seed=5)
    frame = pd.read_parquet(folder / "game" / "events.parquet")
    with opened(frame, folder, others=True) as (engine, log):
        document = dict(profile_log(engine, log, 30 * 60_000, "America/New_York").document)
    frame["day"] = (frame.time.astype("int64") // 86_400_000) - (frame.time.astype("int64").min() // 86_400_000)
    return frame, document


def test_the_head(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    frame, document = made
    head = document["log"]
    assert (head["events"], head["players"], head["days"]) == (len(frame), frame.player_id.nunique(), 75)
    assert (head["first_day"], head["last_day"]) == ("2024-01-01", "2024-03-15")
    assert (head["duplicate_rows"], head["rows_back_in_time"], head["resolution_ms"]) == (0, 0, 1)


def test_days(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    frame, document = made
    active = frame[["player_id", "day"]].drop_duplicates().sort_values(["player_id", "day"])
    previous = active.groupby("player_id").day.shift()
    every = range(75)
    for name, expected in {
        "events": frame.groupby("day").size(), "active": active.groupby("day").size(),
        "new": active[previous.isna()].groupby("day").size(), "returning": active[previous.notna()].groupby("day").size(),
        "back": active[active.day - previous > 7].groupby("day").size(),
    }.items():  # fmt: skip
        assert document["daily"][name] == expected.reindex(every, fill_value=0).tolist(), name


def test_retention(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    frame, document = made
    first = frame.groupby("player_id").day.min()
    days: dict[Any, set[int]] = {player: set(rows.day) for player, rows in frame.groupby("player_id")}
    for age in (1, 7, 30):
        could = first[first + age < 75]
        there = sum(f + age in days[player] for player, f in could.to_dict().items())
        assert document["retention"]["classic"][f"D{age}"] == {
            "players": len(could), "active": there, "share": there / len(could)
        }  # fmt: skip
    # 2024-01-01 is a Monday, so that weeks are counted from there.
    for cohort in document["retention"]["cohorts"]:
        week = (pd.Timestamp(cohort["begin"]) - pd.Timestamp("2024-01-01")).days // 7
        players = first[first // 7 == week]
        assert cohort["players"] == len(players)
        last_to_come = min(7 * week + 6, 74)
        assert len(cohort["active"]) == (75 - last_to_come) // 7
        for period, active in enumerate(cohort["active"]):
            was_there = [
                any(0 <= d - f - 7 * period < 7 for d in days[player]) for player, f in players.to_dict().items()
            ]
            assert active == sum(was_there)
            assert cohort["share"][period] == sum(was_there) / len(players)
    assert len(document["retention"]["cohorts"]) == (first // 7).nunique()


def test_sessions(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    frame, document = made
    rows = frame.sort_values(["player_id", "time"])
    begins = ~(rows.groupby("player_id").time.diff() <= SESSION)
    by_session = rows.groupby(begins.cumsum().to_numpy())
    table = by_session.agg(
        player=("player_id", "first"), begin=("time", "min"), end=("time", "max"), n=("time", "size")
    )
    seconds = ((table.end - table.begin).dt.total_seconds()).astype(int)
    found = document["sessions"]
    assert found["sessions"] == len(table)
    assert found["of_one_event"] == (table.n == 1).sum()
    assert found["mean_events"] == pytest.approx(table.n.mean())
    assert found["mean_seconds"] == pytest.approx(seconds.mean())
    for share, value in found["quantile_seconds"].items():
        assert value == np.quantile(seconds, float(share), method="inverted_cdf")
    bins = [*found["length_from_seconds"], np.inf]
    assert found["length_counts"] == pd.cut(seconds, bins, right=False).value_counts(sort=False).tolist()
    a_day = table.groupby(["player", table.begin.dt.floor("D")]).size()
    assert found["mean_a_day"] == pytest.approx(a_day.mean())
    assert [found["a_day"][str(k)] for k in range(1, 6)] == [(a_day == k).sum() for k in range(1, 6)]
    assert found["a_day"]["6 or more"] == (a_day >= 6).sum()


def test_event_types(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    frame, document = made
    expected = frame.groupby("event").agg(events=("event", "size"), players=("player_id", "nunique"))
    expected = expected.sort_values("events", ascending=False).reset_index()
    assert document["event_types"] == expected.to_dict("records")


def test_spending(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    frame, document = made
    paid, found = frame[frame.amount > 0], document["spending"]
    assert found["total"] == pytest.approx(paid.amount.sum())
    assert (found["payments"], found["payers"]) == (len(paid), paid.player_id.nunique())
    assert found["mean_payment"] == pytest.approx(paid.amount.mean())
    np.testing.assert_allclose(found["daily"], paid.groupby("day").amount.sum().reindex(range(75), fill_value=0))
    assert found["daily_payers"] == paid.groupby("day").player_id.nunique().reindex(range(75), fill_value=0).tolist()
    by_player = paid.groupby("player_id").amount.sum().sort_values(ascending=False)
    for share, part in found["of_top_payers"].items():
        top = by_player.head(max(1, round(float(share) * len(by_player)))).sum()
        assert part == pytest.approx(top / by_player.sum())


def test_the_week_in_a_time_zone(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    frame, document = made
    local = frame.time.dt.tz_convert("America/New_York")  # clocks go forward on 10 March, within the log
    expected = pd.crosstab(local.dt.day_of_week, local.dt.hour).reindex(range(7), fill_value=0)
    assert document["week"] == expected.reindex(columns=range(24), fill_value=0).to_numpy().tolist()


def test_a_log_of_days_has_no_sessions_and_no_hours(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"player_id": ["a", "b", "a"], "date": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-05"])}
    )
    with opened(frame, tmp_path, others=True) as (engine, log):
        document = profile_log(engine, log, 30 * 60_000).document
    assert document["sessions"] is document["week"] is document["spending"] is document["event_types"] is None
    assert document["daily"]["active"] == [1, 1, 0, 0, 1]
    assert document["retention"]["classic"]["D30"]["share"] is None


def test_named_sessions_are_taken_as_they_are(tmp_path: Path) -> None:
    times = pd.to_datetime(["2024-01-01 10:00", "2024-01-01 12:00", "2024-01-01 12:10", "2024-01-02 09:00"])
    frame = pd.DataFrame({"player_id": "a", "time": times, "session_id": ["x", "x", "y", "z"]})
    with opened(frame, tmp_path, others=True) as (engine, log):
        found = profile_log(engine, log, 30 * 60_000).document["sessions"]
    assert found["sessions"] == 3
    assert found["of_one_event"] == 2
    assert found["mean_seconds"] == pytest.approx(7_200 / 3)
