"""The simulated game's log: its bytes, its statistics against the stated model, and the truth from the log alone."""

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ludocast.datamodules.game.days import SHORTEST_PAUSE
from ludocast.datamodules.game.log import simulate_log
from ludocast.datamodules.game.players import (
    ADVERTISING,
    ENGAGEMENT,
    ENGAGEMENT_SHARES,
    FIRST_DAY,
    FRIEND,
    HOURS_FROM_UTC,
    draw_players,
)
from ludocast.datamodules.simulate import CHANNELS
from sklearn.metrics import roc_auc_score

PLAYERS, DAYS, SEED = 3_000, 100, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "game"
    simulate_log(PLAYERS, DAYS, out, SEED)
    return out


@pytest.fixture(scope="module")
def events(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "events.parquet").assign(
        day=lambda frame: (frame.time.dt.tz_convert(None) - pd.Timestamp(FIRST_DAY)).dt.days
    )


def test_equal_seeds_give_equal_bytes_and_another_seed_does_not(folder: Path, tmp_path: Path) -> None:
    simulate_log(PLAYERS, DAYS, tmp_path / "same", SEED)
    simulate_log(PLAYERS, DAYS, tmp_path / "other", SEED + 1)
    for name in ("events.parquet", "players.csv", "items.csv", "truth.parquet"):
        assert (tmp_path / "same" / name).read_bytes() == (folder / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()


def test_the_log_is_in_the_order_of_time_and_sessions_of_a_player_keep_their_pauses(events: pd.DataFrame) -> None:
    assert events.time.is_monotonic_increasing
    assert events.day.max() == DAYS - 1
    assert set(events.player_id) == set(draw_players(PLAYERS, DAYS, SEED).ids)
    sorted_events = events.sort_values(["player_id", "time"], kind="stable")
    gap = sorted_events.groupby(["player_id", "day"]).time.diff().dt.total_seconds()
    starts = sorted_events.event == "session_start"
    # Two of a second lie between the last match and the purchase, and as much before a pause.
    assert gap[starts].dropna().min() >= SHORTEST_PAUSE / 1_000 - 2
    first = sorted_events.groupby(["player_id", "day"]).event.first()
    assert (first == "session_start").all()


def test_levels_only_rise_and_a_rise_is_an_event(events: pd.DataFrame) -> None:
    ordered = events.sort_values(["player_id", "time"], kind="stable")
    step = ordered.groupby("player_id")["level"].diff()
    assert step.min() >= 0
    assert (step[ordered.event == "level_up"] >= 1).all()
    assert (step[ordered.event.isin(["session_start", "match_won", "match_lost", "purchase"])].dropna() == 0).all()
    matches = (
        events[events.event.str.startswith("match")].groupby("player_id").event.value_counts().unstack(fill_value=0)
    )
    points = 2 * matches["match_won"] + matches["match_lost"]
    expected = np.minimum(60, 1 + np.floor((points / 2) ** 0.6))
    pd.testing.assert_series_equal(
        events.groupby("player_id")["level"].max().astype(float), expected, check_names=False
    )


def test_players_are_as_often_what_the_model_says() -> None:
    players = draw_players(40_000, 180, 0)
    for value, share in enumerate(ENGAGEMENT_SHARES):
        deviation = math.sqrt(share * (1 - share) / 40_000)
        assert abs((players.engagement == value).mean() - share) < 4 * deviation
    assert abs((players.shopping > 0).mean() - 0.3) < 4 * math.sqrt(0.21 / 40_000)
    assert players.shopping[players.shopping > 0].mean() == pytest.approx(1.5 / 10.5, abs=0.004)
    in_wave = np.isin(players.arrival, [70, 71, 72])
    assert (players.channel[in_wave] == ADVERTISING).mean() > 2 * (players.channel[~in_wave] == ADVERTISING).mean()
    assert len(np.unique(players.ids)) == 40_000


def test_most_evening_players_begin_in_their_evening(events: pd.DataFrame) -> None:
    players = draw_players(PLAYERS, DAYS, SEED)
    evening = pd.Series((players.kind == 0) & ~players.is_bot, players.ids)
    zone = pd.Series(np.array(HOURS_FROM_UTC)[players.country], players.ids)
    starts = events[events.event == "session_start"]
    firsts = starts.groupby(["player_id", "day"]).time.agg(["first", "size"]).reset_index()
    alone = firsts[(firsts["size"] == 1) & evening[firsts.player_id].to_numpy()]
    local = (alone["first"].dt.hour + zone[alone.player_id].to_numpy()) % 24
    # Two deviations around 19:30; what would not end before midnight UTC begins a little earlier.
    assert local.between(15, 23).mean() > 0.9


def test_a_lasting_item_is_bought_once_and_prices_are_those_of_the_shop(folder: Path, events: pd.DataFrame) -> None:
    shop = pd.read_csv(folder / "items.csv").set_index("item")
    bought = events[events.event == "purchase"]
    assert len(bought) > 500
    assert (bought.amount.to_numpy() == shop.price[bought["item"]].to_numpy()).all()
    lasting = bought[~shop.consumable[bought["item"]].to_numpy()]
    assert not lasting.duplicated(["player_id", "item"]).any()
    consumed = bought[shop.consumable[bought["item"]].to_numpy()]
    assert consumed.duplicated(["player_id", "item"]).any()
    assert bought.amount.notna().all()
    assert events[events.event != "purchase"].amount.isna().all()


def test_the_truth_is_what_a_slow_reference_finds_from_the_log_alone(folder: Path, events: pd.DataFrame) -> None:
    truth = pd.read_parquet(folder / "truth.parquet")
    known = pd.read_csv(folder / "players.csv").set_index("player_id")
    snapshot = truth.snapshot_time.unique()[7]
    rows = truth[truth.snapshot_time == snapshot].iloc[:40]
    day = int((snapshot.tz_convert(None) - pd.Timestamp(FIRST_DAY)).days)
    seen = events[events.day < day]
    for player, expected in zip(rows.player_id, rows.true_probability, strict=True):
        found = away_by_hand(seen[seen.player_id == player], str(known.channel[player]), day, 28)
        assert found == pytest.approx(expected, abs=1e-9)


def away_by_hand(log: pd.DataFrame, channel: str, now: int, days: int) -> float:
    """Sum over engagements and last days of P(log, stays away): nothing recursive, nothing shared with the product."""
    arrival = int(log.day.min())
    kind = list(CHANNELS).index(channel)
    sessions = log[log.event == "session_start"].day.value_counts()
    won = log[log.event == "match_won"].day.value_counts()
    lost = log[log.event == "match_lost"].day.value_counts()
    both, total = 0.0, 0.0
    for engagement, share in zip(ENGAGEMENT, ENGAGEMENT_SHARES, strict=True):
        anger, points, last_played, stays = 0.0, 0, arrival - 1, share
        for day in range(arrival, now + days):
            count = int(sessions.get(day, 0))
            asked = day >= now  # from here on the player stays away
            absence = day - 1 - last_played
            play = logistic(calendar(day) + 1.2 * math.exp(-(day - arrival) / 6) - 0.17 * min(absence, 14) - 0.7 * anger
                            + engagement)  # fmt: skip
            if count:
                rate = math.exp(0.1 + 0.4 * engagement)
                exact = [math.exp(-rate) * rate**n / math.factorial(n) for n in range(5)]
                seen = exact[count - 1] if count < 6 else 1 - sum(exact)
                stays *= seen * (1.0 if day == arrival else play)
                last_played = day
            else:
                stays *= 1 - play
            wins, losses = int(won.get(day, 0)), int(lost.get(day, 0))
            anger = 0.75 * anger + (0.8 * max(losses - wins, 0) / (wins + losses) if wins + losses else 0.0)
            points += 2 * wins + losses
            level = min(60, 1 + math.floor((points / 2) ** 0.6))
            patched = any(0 <= day - patch < 10 for patch in (45, 105, 165))
            leave = logistic(
                -3.9 + 1.7 * math.exp(-(day - arrival) / 7) + 0.6 * (kind == ADVERTISING) - 0.4 * (kind == FRIEND)
                + 0.9 * (level >= 60 and not patched) + 1.2 * anger - 0.8 * (count == 0) - 0.8 * engagement
            )  # fmt: skip
            if day >= log.day.max():  # who left on this day or later had none of the events that followed
                both += stays * leave
                total += stays * leave * (not asked)
            stays *= 1 - leave
            if day == now - 1:
                total += stays
        both += stays
    return both / total


def logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def calendar(day: int) -> float:
    date = pd.Timestamp("2024-01-01") + pd.Timedelta(days=day)
    holiday = any(begin <= day <= end for begin, end in ((0, 2), (88, 92), (120, 121)))
    patches = sum(0.5 * math.exp(-(day - patch) / 5) for patch in (45, 105, 165) if day >= patch)
    return -0.35 + 0.35 * (date.day_of_week >= 5) + 0.6 * holiday + patches


def test_the_truth_is_calibrated_and_sharp(folder: Path, events: pd.DataFrame) -> None:
    truth = pd.read_parquet(folder / "truth.parquet")
    stayed = pd.Series(False, index=truth.index)
    for snapshot in truth.snapshot_time.unique():
        asked = truth.snapshot_time == snapshot
        is_after = (events.time >= snapshot) & (events.time < snapshot + pd.Timedelta(days=28))
        stayed[asked] = truth.player_id[asked].isin(set(events.player_id[is_after]))
    churned = ~stayed.to_numpy()
    probability = truth.true_probability.to_numpy()
    assert roc_auc_score(churned, probability) > 0.84
    # Snapshots of one player are not independent, so the tolerance is wider than that of as many players.
    for fifth in np.array_split(np.argsort(probability), 5):
        expected = probability[fifth].mean()
        deviation = math.sqrt(expected * (1 - expected) / len(fifth))
        assert abs(churned[fifth].mean() - expected) < 8 * deviation


def test_the_log_is_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ludocast.datamodules.game.log.ROW_GROUP", 2_000)
    simulate_log(200, 60, tmp_path / "game")
    assert pq.ParquetFile(tmp_path / "game" / "events.parquet").num_row_groups > 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"players": 5}, "--players has to be 100 or more"),
        ({"days": 10}, "--days has to be 60 or more"),
        ({"out": "file"}, "--out names a folder, but .*file is a file"),
        ({"out": "there"}, r"events\.parquet exists; give another --out, or --overwrite"),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path: Path, options: dict[str, int | str], said: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "events.parquet").write_text("mine")
    out = tmp_path / str(options.get("out", "new"))
    with pytest.raises(ValueError, match=said):
        simulate_log(int(options.get("players", 200)), int(options.get("days", 60)), out)
    assert (tmp_path / "there" / "events.parquet").read_text() == "mine"


def test_a_stopped_simulation_leaves_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ludocast", "simulate", "log", "--players", "30000", "--out", str(tmp_path / "game")]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while not list(tmp_path.iterdir()) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert not list(tmp_path.iterdir())
