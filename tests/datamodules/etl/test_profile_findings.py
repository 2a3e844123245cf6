"""Each warning on a simulated log that is made wrong on purpose, with its number; and none on the log as it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.etl import profile_clock as clock
from ludocast.datamodules.etl import profile_ids as ids
from ludocast.datamodules.etl import profile_numbers as numbers
from ludocast.datamodules.etl import profile_rows as rows
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.profile import profile_log
from ludocast.datamodules.etl.profile_finding import Finding
from ludocast.datamodules.etl.profile_leaks import leaks
from ludocast.datamodules.etl.profile_tables import keep_tables
from ludocast.datamodules.game.log import simulate_log
from ludocast.datamodules.game.players import draw_players

from tests.datamodules.etl.made_logs import opened

SESSION_MS = 30 * 60_000
START = pd.Timestamp("2024-01-01", tz="UTC")


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Of 500 players without bots on 90 days, 80,000 events by time; pandas may change its copy."""
    folder = tmp_path_factory.mktemp("game")
    simulate_log(500, 90, folder, seed=11, overwrite=True)
    players = draw_players(500, 90, 11)
    frame = pd.read_parquet(folder / "events.parquet")
    return frame[~frame.player_id.isin(players.ids[players.is_bot])].reset_index(drop=True)


class Opened:
    """A log, and what the checks ask of it."""

    def __init__(self, engine: Engine, log: Log) -> None:
        self.engine, self.log = engine, log
        self.tables = keep_tables(engine, log, SESSION_MS)
        self.players = engine.keep("players", ids.players_of(self.tables))
        daily = numbers.daily(log, self.tables)
        self.events, self.active = np.array(daily["events"]), np.array(daily["active"])


Check = Callable[[Opened], list[Finding]]


def found_by(check: Check, frame: pd.DataFrame, folder: Path) -> list[Finding]:
    with opened(frame, folder, others=True) as (engine, log):
        return check(Opened(engine, log))


def duplicates(made: Opened) -> list[Finding]:
    return rows.duplicates(made.engine, made.log)[1]


def order(made: Opened) -> list[Finding]:
    return rows.order(made.engine, made.log)[1]


def impossible(made: Opened) -> list[Finding]:
    return rows.impossible_rows(made.log)


def days(made: Opened) -> list[Finding]:
    return clock.stray_times(made.log, made.events) + clock.days_amiss(made.log, made.events, made.active)


def hours(made: Opened) -> list[Finding]:
    return clock.hours_amiss(made.log, made.tables, made.active)


def zones(made: Opened) -> list[Finding]:
    return clock.zone_shifts(made.log, made.tables)


def instants(made: Opened) -> list[Finding]:
    return clock.crowded_instants(made.log, made.tables)


def programs(made: Opened) -> list[Finding]:
    return ids.bots(made.log, made.tables, made.players, SESSION_MS)


def shared(made: Opened) -> list[Finding]:
    return ids.shared_ids(made.engine, made.log, made.tables, made.players, ())


def columns(made: Opened) -> list[Finding]:
    return leaks(made.engine, made.log, made.players)


def one(found: list[Finding], kind: str) -> Finding:
    assert [finding.kind for finding in found] == [kind]
    assert found[0].advice
    return found[0]


def test_no_false_alarm_on_the_simulated_game(tmp_path: Path) -> None:
    simulate_log(800, 150, tmp_path, seed=7, overwrite=True)
    players = draw_players(800, 150, 7)
    known = pd.read_csv(tmp_path / "players.csv", parse_dates=["registered_on"])
    frame = pd.read_parquet(tmp_path / "events.parquet").merge(known, on="player_id", how="left")
    with opened(frame, tmp_path, others=True) as (engine, log):
        found = profile_log(engine, log, SESSION_MS).findings
    # The game has programs of its own, and these alone are named.
    assert {finding.kind for finding in found} == {"bots"}
    named = {player for finding in found for player in finding.numbers["players"]}
    assert named
    assert named <= set(players.ids[players.is_bot])


def test_nothing_is_wrong_with_the_log_as_it_is(game: pd.DataFrame, tmp_path: Path) -> None:
    checks = (duplicates, order, impossible, days, hours, zones, instants, programs, shared, columns)
    assert found_by(lambda made: [finding for check in checks for finding in check(made)], game, tmp_path) == []


def test_rows_that_are_there_twice(game: pd.DataFrame, tmp_path: Path) -> None:
    twice = pd.concat([game, game.sample(700, random_state=1), game.head(50)])
    expected = int(twice.duplicated().sum())
    finding = one(found_by(duplicates, twice, tmp_path), "duplicates")
    assert finding.numbers["rows"] == expected
    assert f"{expected:,} rows of {len(twice):,}" in finding.told


def test_rows_out_of_order(game: pd.DataFrame, tmp_path: Path) -> None:
    late = game.sample(900, random_state=2)
    frame = pd.concat([game.drop(late.index), late])
    finding = one(found_by(order, frame, tmp_path), "out of order")
    steps = frame.time.astype("int64").diff()
    assert finding.numbers["rows_back_in_time"] == (steps < 0).sum()
    assert finding.numbers["furthest_ms"] == -steps.min()


def test_a_log_sorted_by_player_is_in_order(game: pd.DataFrame, tmp_path: Path) -> None:
    assert found_by(order, game.sort_values(["player_id", "time"], kind="stable"), tmp_path) == []


def test_times_in_the_future_and_before_2000(game: pd.DataFrame, tmp_path: Path) -> None:
    frame = game.copy()
    frame.loc[frame.index[:7], "time"] = pd.Timestamp(dt.datetime.now(dt.UTC)).floor("s") + pd.Timedelta(days=30)
    frame.loc[frame.index[10:13], "time"] = pd.Timestamp("1970-01-01", tz="UTC")
    found = {finding.kind: finding for finding in found_by(impossible, frame, tmp_path)}
    assert found["future"].numbers["rows"] == 7
    assert found["before 2000"].numbers["rows"] == 3


def test_rows_without_a_player(game: pd.DataFrame, tmp_path: Path) -> None:
    frame = game.copy()
    frame.loc[frame.index[:500], "player_id"] = None
    assert one(found_by(impossible, frame, tmp_path), "no player").numbers["rows"] == 500


def test_many_events_at_one_instant(game: pd.DataFrame, tmp_path: Path) -> None:
    frame = game.copy()
    frame.loc[frame.sample(250, random_state=3).index, "time"] = START + pd.Timedelta(days=40, hours=3)
    finding = one(found_by(instants, frame, tmp_path), "clock jump")
    assert finding.numbers == {"events": 250, "instants": 1}
    assert "2024-02-10 03:00:00" in finding.told


def test_seconds_alone_are_no_crowd(game: pd.DataFrame, tmp_path: Path) -> None:
    frame = pd.concat([game, game.assign(player_id="a" + game.player_id), game.assign(player_id="b" + game.player_id)])
    frame["time"] = frame.time.dt.floor("s")
    assert found_by(instants, frame, tmp_path) == []


def test_a_day_told_as_the_next_one(game: pd.DataFrame, tmp_path: Path) -> None:
    frame = game.copy()
    is_day = frame.time.dt.floor("D") == START + pd.Timedelta(days=40)
    frame.loc[is_day, "time"] += pd.Timedelta(days=1)
    finding = one(found_by(days, frame.sort_values("time"), tmp_path), "clock jump")
    assert finding.numbers == {"day": "2024-02-10"}


def test_few_events_years_before_all_others(game: pd.DataFrame, tmp_path: Path) -> None:
    frame = game.copy()
    frame.loc[frame.index[[100, 200, 300]], "time"] = pd.Timestamp("2003-05-06", tz="UTC")
    finding = one(found_by(days, frame, tmp_path), "stray times")
    assert finding.numbers["events"] == 3
    assert "2003-05-06" in finding.told


def test_days_without_an_event(game: pd.DataFrame, tmp_path: Path) -> None:
    day = (game.time - START).dt.days
    finding = one(found_by(days, game[~day.isin([30, 31, 32, 60])], tmp_path), "gap in collection")
    assert finding.numbers == {"days_missing": 4, "days": ["2024-01-31 to 2024-02-02", "2024-03-01"]}


def test_a_day_far_below_the_usual(game: pd.DataFrame, tmp_path: Path) -> None:
    day = (game.time - START).dt.days
    keep = (day != 50) | (pd.util.hash_array(game.player_id.to_numpy(object)) % 6 == 0)
    finding = one(found_by(days, game[keep], tmp_path), "gap in collection")
    assert finding.numbers == {"days_low": 1, "days": ["2024-02-20"]}


def test_quiet_weekends_are_usual_and_a_quiet_weekday_is_not(game: pd.DataFrame, tmp_path: Path) -> None:
    few = pd.util.hash_array(game.player_id.to_numpy(object)) % 6 == 0
    at_school = game[(game.time.dt.day_of_week < 5) | few]
    assert found_by(days, at_school, tmp_path) == []
    frame = at_school[~at_school.time.dt.strftime("%Y-%m-%d").eq("2024-02-21")]  # a Wednesday
    assert one(found_by(days, frame, tmp_path), "gap in collection").numbers["days"] == ["2024-02-21"]
    closed = game[game.time.dt.day_of_week < 5]
    assert found_by(days, closed, tmp_path) == []


def test_a_long_gap_does_not_become_usual(game: pd.DataFrame, tmp_path: Path) -> None:
    day = (game.time - START).dt.days
    finding = one(found_by(days, game[(day < 25) | (day >= 65)], tmp_path), "gap in collection")
    assert finding.numbers == {"days_missing": 40, "days": ["2024-01-26 to 2024-03-05"]}


def test_hours_without_an_event(game: pd.DataFrame, tmp_path: Path) -> None:
    begin = START + pd.Timedelta(days=55, hours=13)
    gone = (game.time >= begin) & (game.time < begin + pd.Timedelta(hours=6))
    finding = one(found_by(hours, game[~gone], tmp_path), "gap in collection")
    assert finding.numbers == {"hours_missing": 6, "stretches": ["6 hours from 2024-02-25 13:00"]}


@pytest.mark.parametrize("shift", [5, -8])
def test_a_moved_time_zone(shift: int, game: pd.DataFrame, tmp_path: Path) -> None:
    frame = game.copy()
    later = frame.time >= START + pd.Timedelta(days=45)
    frame.loc[later, "time"] += pd.Timedelta(hours=shift)
    finding = one(found_by(zones, frame, tmp_path), "time zone")
    assert finding.numbers["hours"] == shift
    assert abs((pd.Timestamp(finding.numbers["day"], tz="UTC") - START).days - 45) <= 2
    assert "daylight" not in finding.advice


def test_daylight_saving_time_is_told_of_a_log_with_many_players(tmp_path: Path) -> None:
    generator = np.random.default_rng(12)
    frame = pd.DataFrame({"player_id": generator.integers(1, 20_000, 60_000)})
    hour = generator.normal(18, 3, 60_000).clip(0, 22.9) + 24.0 * generator.integers(0, 84, 60_000)
    hour -= hour >= 45 * 24
    frame["time"] = START + pd.to_timedelta((hour * 3_600).astype(int), unit="s")
    finding = one(found_by(zones, frame, tmp_path), "time zone")
    assert finding.numbers == {"day": "2024-02-15", "hours": -1}
    assert "daylight saving" in finding.advice


def _program(name: str, begin: pd.Timestamp, pauses: np.ndarray) -> pd.DataFrame:
    times = begin + pd.to_timedelta(np.cumsum(pauses), unit="s")
    return pd.DataFrame(
        {"player_id": name, "time": times.astype("datetime64[ms, UTC]"), "event": "match_won", "level": 1}
    )


def test_a_player_of_superhuman_speed(game: pd.DataFrame, tmp_path: Path) -> None:
    pauses = np.random.default_rng(4).gamma(2.0, 0.5, 3_000)
    frame = pd.concat([game, _program("fast", START + pd.Timedelta(days=20, hours=12), pauses)])
    finding = one(found_by(programs, frame, tmp_path), "bots")
    assert finding.numbers["players"] == ["fast"]
    assert "3,000" in finding.told


def test_a_player_who_never_sleeps(game: pd.DataFrame, tmp_path: Path) -> None:
    pauses = np.random.default_rng(5).uniform(1_200, 3_400, 250)
    frame = pd.concat([game, _program("awake", START + pd.Timedelta(days=20), pauses)])
    finding = one(found_by(programs, frame, tmp_path), "bots")
    assert finding.numbers["players"] == ["awake"]
    assert "hours of the day" in finding.told


def test_a_player_who_pauses_equally_long(game: pd.DataFrame, tmp_path: Path) -> None:
    frame = pd.concat([game, _program("steady", START + pd.Timedelta(days=20), np.full(150, 97.0))])
    finding = one(found_by(programs, frame, tmp_path), "bots")
    assert finding.numbers["players"] == ["steady"]
    assert "equal to 1%" in finding.told


def test_a_heartbeat_that_all_have_makes_nobody_a_program(tmp_path: Path) -> None:
    generator = np.random.default_rng(13)
    begins = START + pd.to_timedelta(generator.integers(0, 60 * 86_400, 600), unit="s")
    frames = [_program(f"p{i % 60}", begin, np.full(40, 60.0)) for i, begin in enumerate(begins)]
    assert found_by(programs, pd.concat(frames), tmp_path) == []


@pytest.mark.parametrize("name", ["guest", "00000000-0000-0000-0000-000000000000", "0", "12345678912345"])
def test_an_id_that_stands_for_no_id(name: str, game: pd.DataFrame, tmp_path: Path) -> None:
    frame = game.copy()
    hidden = frame.player_id.drop_duplicates().sample(80, random_state=6)
    frame.loc[frame.player_id.isin(hidden), "player_id"] = name
    finding = one([f for f in found_by(shared, frame, tmp_path) if "stands for no id" in f.told], "shared ids")
    assert finding.numbers["players"] == [name]


def test_a_number_among_numbers_is_a_player(tmp_path: Path) -> None:
    generator = np.random.default_rng(8)
    frame = pd.DataFrame({"player_id": generator.integers(0, 200, 20_000), "time": START})
    frame["time"] += pd.to_timedelta(generator.integers(0, 90 * 86_400, 20_000), unit="s")
    frame.loc[frame.player_id == 7, "player_id"] = 111_111
    assert found_by(shared, frame, tmp_path) == []


def test_an_id_with_far_more_events_than_others(game: pd.DataFrame, tmp_path: Path) -> None:
    pauses = np.random.default_rng(9).uniform(60, 900, 15_000)
    frame = pd.concat([game, _program("everybody", START, pauses)])
    finding = one(found_by(shared, frame, tmp_path), "shared ids")
    assert finding.numbers["players"] == ["everybody"]


def test_sessions_of_one_id_at_the_same_time(game: pd.DataFrame, tmp_path: Path) -> None:
    frame = game.sort_values(["player_id", "time"], kind="stable").copy()
    frame["session_id"] = (frame.event == "session_start").cumsum()
    assert found_by(shared, frame, tmp_path) == []
    busiest = frame.player_id.value_counts().index[0]
    mine = frame[frame.player_id == busiest].copy()
    mine["time"] += pd.Timedelta(seconds=90)  # another device, a little later each time
    mine["session_id"] += 1_000_000
    finding = one(found_by(shared, pd.concat([frame, mine]), tmp_path), "shared ids")
    assert finding.numbers["players"] == [busiest]


def _of_player(frame: pd.DataFrame, name: str, value: Any) -> Any:
    return frame.groupby("player_id")[name].transform(value)


def test_columns_that_carry_the_future_are_named(
    game: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ludocast.datamodules.etl.profile_leaks.AT_ONCE", 7)  # so that there are several queries
    first, last = _of_player(game, "time", "min"), _of_player(game, "time", "max")
    lifetime = (last - first).dt.total_seconds()
    noise = np.random.default_rng(10).uniform(0.9, 1.1, game.player_id.nunique())
    factor = game.player_id.map(dict(zip(game.player_id.unique(), noise, strict=True)))
    bought = _of_player(game.assign(is_bought=game.event == "purchase"), "is_bought", "sum")
    leaking = {
        "last_login": last, "last_seen_day": last.dt.strftime("%Y-%m-%d"), "last_seen_epoch": last.astype("int64") // 1_000,
        "export_time": START + pd.Timedelta(days=90), "total_events": _of_player(game, "event", "size"),
        "total_purchases": bought, "ltv": _of_player(game, "amount", "sum").round(2), "max_level": _of_player(game, "level", "max"),
        "minutes_played": lifetime * factor, "status": np.where(last < START + pd.Timedelta(days=60), "gone", "there"),
    }  # fmt: skip
    honest = {
        "registered_on": first.dt.floor("D"), "registered_epoch": first.astype("int64") // 1_000,
        "received_at": game.time + pd.Timedelta(seconds=3), "country": game.player_id.str[-1], "price": game.amount,
        "number": np.random.default_rng(2).random(len(game)), "constant": 3, "build": "1.0",
        "campaign": np.where(first < START + pd.Timedelta(days=40), "spring", "summer"), "note": None,
    }  # fmt: skip
    found = found_by(columns, game.assign(**leaking, **honest), tmp_path)
    assert {finding.numbers["column"] for finding in found} == set(leaking)
    told = {finding.numbers["column"]: finding.told for finding in found}
    assert "the day of the player's last event" in told["last_login"]
    assert "the number of the player's events" in told["total_events"]
    assert (
        'the number of the player\'s events "purchase"' in told["total_purchases"]
        or "payments" in told["total_purchases"]
    )
    assert "all that the player paid" in told["ltv"]
    assert "the player's highest level" in told["max_level"]
