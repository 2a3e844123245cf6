"""Measured statistics of the simulated game against the stated model, written out once more here with its numbers.

Everything that was drawn is compared with the sum of its probabilities, each given what happened before. Such a
difference has mean 0 and at most the variance of independent draws, so that 4 deviations bound it.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from ludocast.datamodules.game.days import EVENTS, Game
from ludocast.datamodules.game.habits import MOST_SESSIONS, Observed
from ludocast.datamodules.game.items import Shop, open_shop
from ludocast.datamodules.game.players import (
    ADVERTISING,
    ENGAGEMENT,
    ENGAGEMENT_SHARES,
    FRIEND,
    Players,
    draw_players,
)
from ludocast.datamodules.game.truth import Posterior
from scipy.stats import chisquare, poisson

PLAYERS, DAYS, SEED = 4_000, 170, 8


@dataclass(frozen=True)
class Played:
    """All that happened, by player and day [P, D]."""

    players: Players
    shop: Shop
    left_on: np.ndarray
    sessions: np.ndarray
    won: np.ndarray
    lost: np.ndarray
    bought: np.ndarray
    first_items: np.ndarray  # of each player, −1 of who bought nothing, [P]

    def is_there(self) -> np.ndarray:
        """People, from the day after their arrival on, as long as they have not left; [P, D]."""
        day = np.arange(DAYS)
        since = (day > self.players.arrival[:, None]) & (day <= self.left_on[:, None])
        return np.asarray(since & ~self.players.is_bot[:, None])


@pytest.fixture(scope="module")
def game() -> Played:
    players, shop = draw_players(PLAYERS, DAYS, SEED), open_shop(SEED)
    game = Game(players, shop, SEED)
    counted = {name: np.zeros((PLAYERS, DAYS)) for name in EVENTS}
    first_items = np.full(PLAYERS, -1)
    for day, events in enumerate(game.days(DAYS)):
        for number, name in enumerate(EVENTS):
            counted[name][:, day] = np.bincount(events.player[events.event == number], minlength=PLAYERS)
        for player, item in zip(*(column[events.item >= 0] for column in (events.player, events.item)), strict=True):
            if first_items[player] < 0:
                first_items[player] = item
    return Played(
        players, shop, game.left_on, counted["session_start"], counted["match_won"], counted["match_lost"],
        counted["purchase"], first_items,
    )  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What a day's begin (absence, frustration) and end (the rest) tell, by player and day [P, D]."""

    absence: np.ndarray
    frustration: np.ndarray
    frustration_after: np.ndarray
    level_after: np.ndarray


def known(game: Played) -> Known:
    absence, before, after, level = (np.zeros((PLAYERS, DAYS)) for _ in range(4))
    last, anger, points = np.full(PLAYERS, -1), np.zeros(PLAYERS), np.zeros(PLAYERS)
    for day in range(DAYS):
        won, lost = game.won[:, day], game.lost[:, day]
        absence[:, day], before[:, day] = day - 1 - last, anger
        anger = 0.75 * anger + 0.8 * np.maximum(lost - won, 0) / np.maximum(won + lost, 1)
        points = points + 2 * won + lost
        after[:, day], level[:, day] = anger, np.minimum(60, 1 + np.floor((points / 2) ** 0.6))
        last[game.sessions[:, day] > 0] = day
    return Known(absence, before, after, level)


def within(happened: np.ndarray, probability: np.ndarray, groups: np.ndarray, fewest: int = 100) -> None:
    """Sums of both agree in each group: of rows that are there, all one-dimensional."""
    for group in np.unique(groups):
        of = groups == group
        if of.sum() >= fewest:
            p = probability[of]
            deviations = (happened[of].sum() - p.sum()) / np.sqrt((p * (1 - p)).sum())
            assert abs(deviations) < 4, f"group {group}: {happened[of].sum():.0f} instead of {p.sum():.0f}"


def logistic(logit: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logit)))


def test_players_come_at_the_launch_and_in_waves_of_advertising() -> None:
    players, day = draw_players(100_000, DAYS, SEED), np.arange(DAYS)
    own = 1 + 6 * np.exp(-day / 8)
    waves = sum(3 * np.exp(-(day - begin) / 4) * (day >= begin) for begin in (24, 70, 116, 150))
    for channel, share in ((FRIEND, 0.22 * own), (0, 0.45 * own), (ADVERTISING, 0.15 + waves)):
        expected = 100_000 * share / (own + 0.15 + waves).sum()
        counted = np.bincount(players.arrival[players.channel == channel], minlength=DAYS)
        assert abs(counted.sum() - expected.sum()) < 4 * np.sqrt(expected.sum())
        assert chisquare(counted, expected / expected.sum() * counted.sum()).pvalue > 1e-4


def test_players_play_as_often_as_stated_by_weekday_season_absence_and_engagement(game: Played) -> None:
    there, seen = game.is_there(), known(game)
    day = np.arange(DAYS)
    holiday = np.any([(day >= begin) & (day <= end) for begin, end in ((0, 2), (88, 92), (120, 121))], axis=0)
    patch = sum(0.5 * np.exp(-(day - begin) / 5) * (day >= begin) for begin in (45, 105, 165))
    tenure = day - game.players.arrival[:, None]
    engagement = ENGAGEMENT[game.players.engagement][:, None]
    logit = (
        -0.35 + 0.35 * (day % 7 >= 5) + 0.6 * holiday + patch  # 2024-01-01 is a Monday
        + 1.2 * np.exp(-tenure / 6) - 0.17 * np.minimum(seen.absence, 14) - 0.7 * seen.frustration + engagement
    )  # fmt: skip
    played, p = (game.sessions > 0)[there], logistic(logit)[there]
    season = np.where(holiday, -1, np.where(np.isin(day - 45, range(5)) | np.isin(day - 105, range(5)), -2, day % 7))
    for groups in (
        season + 0 * tenure, np.minimum(seen.absence, 15), np.minimum(tenure // 5, 12),
        game.players.engagement[:, None] + 0 * tenure, (4 * seen.frustration).astype(int),
    ):  # fmt: skip
        within(played, p, groups[there])


def test_players_leave_as_stated_by_tenure_channel_frustration_and_level(game: Played) -> None:
    there, seen = game.is_there(), known(game)
    day, channel = np.arange(DAYS), game.players.channel[:, None]
    tenure = day - game.players.arrival[:, None]
    there |= (tenure == 0) & ~game.players.is_bot[:, None]  # leaving on the day of arrival is possible
    patched = np.any([(day >= begin) & (day < begin + 10) for begin in (45, 105, 165)], axis=0)
    played = game.sessions > 0
    logit = (
        -3.9 + 1.7 * np.exp(-tenure / 7) + 0.6 * (channel == ADVERTISING) - 0.4 * (channel == FRIEND)
        + 0.9 * ((seen.level_after >= 60) & ~patched) + 1.2 * seen.frustration_after - 0.8 * ~played
        - 0.8 * ENGAGEMENT[game.players.engagement][:, None]
    )  # fmt: skip
    left = (day == game.left_on[:, None])[there]
    for groups in (
        np.minimum(tenure // 5, 12), channel + 0 * tenure, game.players.engagement[:, None] + 0 * tenure,
        (4 * seen.frustration_after).astype(int), seen.level_after // 10, played.astype(int),
    ):  # fmt: skip
        within(left, logistic(logit)[there], groups[there])
    assert (seen.level_after[there] >= 60).sum() > 200  # there are such players at all


def test_sessions_of_a_day_are_one_and_a_poisson_number_six_at_most(game: Played) -> None:
    there = game.is_there() & (game.sessions > 0)
    for value, engagement in enumerate(ENGAGEMENT):
        of = there & (game.players.engagement == value)[:, None]
        counted = np.bincount(game.sessions[of].astype(int), minlength=7)[1:]
        rate = np.exp(0.1 + 0.4 * engagement)
        share = np.array([*poisson.pmf(np.arange(5), rate), poisson.sf(4, rate)])
        assert chisquare(counted, share * counted.sum()).pvalue > 1e-4


def test_matches_of_a_session_are_won_by_skill_and_as_many_as_the_kind_of_player_plays(game: Played) -> None:
    people = ~game.players.is_bot
    for kind, more in enumerate((2.0, 3.0, 1.2)):
        of = people & (game.players.kind == kind)
        sessions, matches = game.sessions[of].sum(), (game.won[of] + game.lost[of]).sum()
        assert abs(matches - sessions * (1 + more)) < 4 * np.sqrt(sessions * more)
    # The level is that of the session's begin: between those of the day's begin and end.
    level = known(game).level_after[people]
    before = np.concatenate([np.ones((len(level), 1)), level[:, :-1]], axis=1)
    matches, won = (game.won + game.lost)[people], game.won[people].sum()
    strength = 0.15 + game.players.skill[people][:, None]
    most, least = (logistic(strength - 0.01 * bound) for bound in (before, level))
    deviation = np.sqrt((matches * most * (1 - most)).sum())
    assert (matches * least).sum() - 4 * deviation < won < (matches * most).sum() + 4 * deviation
    assert ((matches * (most - least)).sum()) < 8 * deviation  # so that the bounds say something


def test_who_buys_at_all_buys_as_often_and_first_what_their_taste_says(game: Played) -> None:
    shopping = game.players.shopping
    assert not game.bought[shopping == 0].any()
    expected = (game.sessions * shopping[:, None]).sum()
    # A lasting item that is drawn twice on one day is bought once, which is rare.
    assert 0.99 * expected - 4 * np.sqrt(expected) < game.bought.sum() < expected + 4 * np.sqrt(expected)
    for taste, share in enumerate(game.shop.share):
        first = game.first_items[(game.players.taste == taste) & (game.first_items >= 0)]
        counted, wanted = np.bincount(first, minlength=len(share)), share * len(first)
        often = wanted >= 5  # the others together, as the test asks for counts
        seen, stated = (np.append(each[often], each[~often].sum()) for each in (counted, wanted))
        assert chisquare(seen, stated).pvalue > 1e-4


def test_bots_are_a_thousandth_play_every_day_and_are_banned_by_chance() -> None:
    players = draw_players(300_000, 180, 2)
    assert abs(players.is_bot.sum() - 300) < 4 * np.sqrt(300)
    few = draw_players(60_000, 60, SEED)
    game = Game(few, open_shop(SEED), SEED)
    days, sessions = 0, 0
    for day, events in enumerate(game.days(40)):
        there = few.is_bot & (few.arrival <= day) & (game.left_on >= day)
        starts = events.player[events.event == EVENTS.index("session_start")]
        days, sessions = days + there.sum(), sessions + few.is_bot[starts].sum()
    assert sessions == 6 * days
    banned = (game.left_on[few.is_bot] < 40).sum()
    assert abs(banned - 0.03 * days) < 4 * np.sqrt(0.03 * 0.97 * days)


def test_what_an_observer_expects_of_a_day_adds_up_to_one() -> None:
    def seen(tenure: int, absence: int) -> Observed:
        return Observed(*(np.array([float(value)]) for value in (tenure, absence, 0.3, 4, ADVERTISING)))

    total, row, is_new = 0.0, np.zeros(1, np.int64), np.zeros(1, bool)
    for number in range(MOST_SESSIONS + 1):
        observer = Posterior(1)
        assert observer.update(row, 3, seen(0, 0), seen(0, 0), np.ones(1, int), ~is_new) == pytest.approx(
            poisson.pmf(0, np.exp(0.1 + 0.4 * ENGAGEMENT)) @ ENGAGEMENT_SHARES
        )
        for day, sessions, absence in ((4, 2, 0), (5, 0, 0), (6, 0, 1)):
            observer.update(row, day, seen(day - 3, absence), seen(day - 3, absence), np.array([sessions]), is_new)
        total += float(observer.update(row, 7, seen(4, 2), seen(4, 2), np.array([number]), is_new)[0])
    assert total == pytest.approx(1)
