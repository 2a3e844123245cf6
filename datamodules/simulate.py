"""A simulated mobile game: a player table whose true churn probabilities are known.

No real table of players can be shipped, so this one is drawn from a model that is written down here. A snapshot of the
game is taken at noon of 2024-06-30; `churned` says whether a player never came back in the four weeks after it. The
true probability of each player goes to a file of its own, so that a report can say how near a model came to the best
that anyone could do with the table.

How a player is drawn (all independent but where said):
- `registered_at`: exponential, 160 days before the snapshot on average; a third of those of the spring event
  (2024-03-20 to 2024-04-02) came through advertising.
- `country` (12), `channel` (6) and `device_model` (400, Zipf): the device decides crashes (log-normal around the
  device's own rate).
- `store_code`: 3, 7, 11, 20, 21, 40: numbers that are names; their order means nothing.
- `engagement`, hidden: normal. It drives `sessions_per_week`, `minutes_per_session`, `days_since_login` (all skewed),
  `level` (with age of the account), `guild_member`, and `purchases_90d`; `spend_usd` is log-normal per purchase.
- `win_rate`: beta(8, 8). `age`: missing in 3 of 10 at random. `spend_usd`: missing where the store reports nothing
  (a choice of the player, who leaves more often: informative). `survey_score`: 1 to 5, answered by the engaged
  (informative again). `lucky_number`: noise.

What churn depends on, on the logit scale (`_logit`), with no hidden part: only the table's own columns, so the true
probability is the best prediction there can be.
- few sessions and a long absence, saturating, and more than the sum where both meet;
- a win rate far from one half: losing drives solo players away, guild members much less; winning always bores;
- crashes, up to the first month of an account only;
- level 60 is the end of the content: who has it and pays little leaves; spending holds the others;
- advertising in BR, ID, IN brought players who do not stay; players who came by a friend stay where in a guild;
- the spring event's players leave more; the store's code and the device have effects of their own;
- the young and the old leave more than those between, where the age is known; a bad survey score counts, none given
  counts as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from ludocast.datamodules.simulated_files import check_out, filling, write_csv

FEWEST = 100
SNAPSHOT = np.datetime64("2024-06-30T12:00:00")
EVENT = (np.datetime64("2024-03-20"), np.datetime64("2024-04-03"))
COUNTRIES = ("US", "BR", "ID", "IN", "KR", "JP", "DE", "FR", "MX", "TR", "VN", "PH")
CHANNELS = ("organic", "advertising", "friend", "influencer", "cross-promotion", "store feature")
STORES = np.array([3, 7, 11, 20, 21, 40])
STORE_EFFECT = np.array([0.0, 0.9, -0.6, 0.3, -0.9, 0.7])
DEVICES = 400
LAST_LEVEL = 60
BASE, STRENGTH = -2.65, 1.35  # set so that about a quarter leaves and the true probability's AUC is near 0.88

Players = dict[str, np.ndarray]


def simulate(players: int = 20_000, out: Path = Path("demo"), seed: int = 0, overwrite: bool = False) -> None:
    """Write a simulated player table, `players.csv`, and the true churn probabilities, `truth.csv`.

    Args:
        players: How many rows.
        out: The folder for both files; made where it is absent.
        seed: Of everything random.
        overwrite: Replace the two files if they are there.

    Raises:
        ValueError: If there are too few players, or the files exist and `overwrite` is not set.
    """
    if players < FEWEST:
        raise ValueError(f"--players has to be {FEWEST} or more for a table to learn from, got {players}")
    check_out(out, ("players.csv", "truth.csv"), overwrite)
    table, probability = simulate_players(players, seed)
    truth = {"player_id": table["player_id"], "true_probability": np.round(probability, 6)}
    # The table last: where it stands, its truth does too.
    tables = {"truth.csv": pa.table(truth), "players.csv": pa.table(table)}
    with filling(out, list(tables)) as partial:
        for name, one in tables.items():
            write_csv(one, partial / name)
    print(f"{players:,} simulated players in {out / 'players.csv'}, the true probabilities in {out / 'truth.csv'}")


def simulate_players(players: int, seed: int = 0) -> tuple[dict[str, pa.Array | np.ndarray], np.ndarray]:
    """The table's columns, and the true probability of `churned` = "yes", float64 [players]."""
    generator = np.random.default_rng(seed)
    drawn = {**_origin(players, generator)}
    drawn |= _play(drawn, generator)
    drawn |= _money_and_answers(drawn, generator)
    probability = 1 / (1 + np.exp(-_logit(drawn)))
    churned = generator.random(players) < probability
    return _table(drawn, churned, generator), probability


def _origin(players: int, generator: np.random.Generator) -> Players:
    # The clock has whole seconds, and nobody registered before the game's first day, three years before.
    age = np.clip(generator.exponential(160, players), 0.5, 3 * 365)
    registered = SNAPSHOT - (age * 86_400).astype("timedelta64[s]")
    in_event = (registered >= EVENT[0]) & (registered < EVENT[1])
    channel = generator.choice(len(CHANNELS), players, p=[0.34, 0.24, 0.16, 0.12, 0.08, 0.06])
    channel = np.where(in_event & (generator.random(players) < 1 / 3), 1, channel)
    popularity = 1 / np.arange(3, DEVICES + 3)
    return {
        "registered_at": registered,
        "days": age,
        "in_event": in_event,
        "channel": channel,
        "country": generator.choice(
            len(COUNTRIES), players, p=[0.2, 0.12, 0.11, 0.1, 0.1, 0.08, 0.07, 0.06, 0.05, 0.04, 0.04, 0.03]
        ),
        "device": generator.choice(DEVICES, players, p=popularity / popularity.sum()),
        "store": generator.choice(len(STORES), players, p=[0.3, 0.2, 0.18, 0.14, 0.1, 0.08]),
    }


def _device_effect(device: np.ndarray) -> np.ndarray:
    # A fixed table: a device means the same in every simulated game.
    return np.asarray(np.random.default_rng(400).normal(0, 0.45, DEVICES)[device])


def _play(drawn: Players, generator: np.random.Generator) -> Players:
    players = len(drawn["days"])
    engagement = generator.normal(0, 1, players)
    sessions = generator.poisson(np.exp(1.6 + 0.7 * engagement))
    absence = np.minimum(generator.exponential(4.5 * np.exp(-0.6 * engagement)), drawn["days"])
    speed = np.exp(0.45 * engagement + generator.normal(0, 0.4, players))
    in_guild = generator.random(players) < 1 / (1 + np.exp(-(0.8 * engagement - 0.4)))
    return {
        "engagement": engagement,
        "sessions_per_week": sessions,
        "minutes_per_session": np.round(generator.gamma(2.0, 6 * np.exp(0.3 * engagement)), 1),
        "days_since_login": np.round(absence, 2),
        "level": np.clip(np.ceil(6.5 * speed * np.sqrt(drawn["days"] / 10)), 1, LAST_LEVEL).astype(np.int64),
        "win_rate": np.round(generator.beta(8, 8, players), 3),
        "guild_member": in_guild,
        "crashes_per_week": np.round(
            np.exp(0.9 * _device_effect(drawn["device"]) / 0.45 + generator.normal(-1, 0.5, players)), 2
        ),
    }


def _money_and_answers(drawn: Players, generator: np.random.Generator) -> Players:
    players = len(drawn["days"])
    engagement = drawn["engagement"]
    purchases = generator.poisson(np.exp(-1.2 + 0.9 * engagement))
    spend = np.round(purchases * np.exp(generator.normal(1.4, 0.8, players)), 2)
    answered = generator.random(players) < 1 / (1 + np.exp(-(0.9 * engagement - 0.7)))
    score = np.clip(np.round(3.4 + 0.4 * engagement + generator.normal(0, 1, players)), 1, 5)
    age = np.round(np.clip(generator.gamma(6, 4.6, players) + 6, 13, 80))
    return {
        "purchases_90d": purchases,
        "spend_usd": np.where(generator.random(players) < 0.12, np.nan, spend),
        "survey_score": np.where(answered, score, np.nan),
        "age": np.where(generator.random(players) < 0.3, np.nan, age),
    }


def _logit(drawn: Players) -> np.ndarray:
    idle = np.exp(-drawn["sessions_per_week"] / 4)
    absent = 1 - np.exp(-drawn["days_since_login"] / 5)
    in_guild = drawn["guild_member"]
    deviation = (drawn["win_rate"] - 0.5) / 0.12
    losing = np.where(in_guild, 0.15, 0.9) * np.maximum(-deviation, 0) ** 1.5
    winning = 0.35 * np.maximum(deviation, 0) ** 2
    crashes = 0.9 * np.log1p(drawn["crashes_per_week"]) * (drawn["days"] < 30)
    spend = np.log1p(np.nan_to_num(drawn["spend_usd"]))
    finished = drawn["level"] == LAST_LEVEL
    content = np.where(finished, 1.8 - 0.35 * spend, -0.45 * spend) + 0.6 * np.isnan(drawn["spend_usd"])
    advertised = (drawn["channel"] == 1) & np.isin(drawn["country"], [1, 2, 3])
    origin = 1.3 * advertised + 0.5 * drawn["in_event"] - 0.9 * ((drawn["channel"] == 2) & in_guild)
    codes = STORE_EFFECT[drawn["store"]] + _device_effect(drawn["device"])
    years = np.nan_to_num((drawn["age"] - 33) / 14)
    survey = np.where(np.isnan(drawn["survey_score"]), 0.3, 0.35 * (3.5 - np.nan_to_num(drawn["survey_score"])))
    play = 1.1 * idle + 1.0 * absent + 1.6 * idle * absent
    causes = play + losing + winning + crashes + content + origin + codes + survey + 0.2 * np.minimum(years**2, 4)
    return np.asarray(BASE + STRENGTH * (causes - 1.4))


def _table(drawn: Players, churned: np.ndarray, generator: np.random.Generator) -> dict[str, pa.Array | np.ndarray]:
    players = len(churned)
    # Ids in no order, so that they tell nothing about when a player came.
    numbers = generator.permutation(players)
    return {
        "player_id": np.array([f"P{number:07d}" for number in numbers]),
        "registered_at": np.datetime_as_string(drawn["registered_at"].astype("datetime64[s]"), unit="s"),
        "country": np.array(COUNTRIES)[drawn["country"]],
        "channel": np.array(CHANNELS)[drawn["channel"]],
        "device_model": np.array([f"D-{number:03d}" for number in range(DEVICES)])[drawn["device"]],
        "store_code": STORES[drawn["store"]],
        "age": _whole(drawn["age"]),
        "level": drawn["level"],
        "sessions_per_week": drawn["sessions_per_week"],
        "minutes_per_session": drawn["minutes_per_session"],
        "days_since_login": drawn["days_since_login"],
        "win_rate": drawn["win_rate"],
        "guild_member": drawn["guild_member"],
        "crashes_per_week": drawn["crashes_per_week"],
        "purchases_90d": drawn["purchases_90d"],
        "spend_usd": pa.array(drawn["spend_usd"], from_pandas=True),
        "survey_score": _whole(drawn["survey_score"]),
        "lucky_number": generator.integers(0, 1_000, players),
        "churned": np.where(churned, "yes", "no"),
    }


def _whole(values: np.ndarray) -> pa.Array:
    gaps = np.isnan(values)
    return pa.array(np.nan_to_num(values).astype(np.int64), mask=gaps)
