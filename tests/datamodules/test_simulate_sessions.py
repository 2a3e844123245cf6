"""Simulated sessions: the true probabilities against an enumeration of all hidden paths, and against what is drawn."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.simulate_sessions import SUCCESSORS, SessionGame, SessionRules

RULES = SessionRules(items=24, clusters=4, types=3, days=6, players=300, sessions=120)


def probability(game: SessionGame, day: int, session: list[int]) -> float:
    """Of a session, but for the first item's popularity: over all types and all paths of directions."""
    rules, popularity, total = game.rules, game.popularity(day), 0.0
    jump = 1 - rules.repeat - rules.stay - rules.move
    for kind in range(rules.types):
        for path in itertools.product((-1, 1), repeat=len(session)):
            p = game.type_share[kind] * game.taste[kind, game.cluster[session[0]]] / 2
            for step in range(1, len(session)):
                before, came = session[step - 1], session[step]
                c, to = int(game.cluster[before]), int(game.cluster[came])
                there = [game.launch[k] <= day for k in game.successors[before]]
                follow = rules.follow if any(there) else 0.0
                shares = [w * is_there for w, is_there in zip(SUCCESSORS, there, strict=True)]
                follows = sum(w for w, k in zip(shares, game.successors[before], strict=True) if k == came)
                stays = follow * follows / max(sum(shares), 1e-9) + (1 - follow) * (to == c) * popularity[came]
                moves = (to == (c + path[step]) % rules.clusters) * popularity[came]
                jumps = game.taste[kind, to] * popularity[came]
                own = session[:step].count(came) / step
                turned = rules.turn if path[step] != path[step - 1] else 1 - rules.turn
                p *= turned * (rules.repeat * own + rules.stay * stays + rules.move * moves + jump * jumps)
            total += p
    return total


def test_true_probabilities_are_those_of_all_hidden_paths() -> None:
    game = SessionGame(RULES, seed=3)
    _, item = game.draw(2)
    item = item[(item >= 0).sum(1) >= 5][:4, :5]
    for step, scores in enumerate(game.next_scores(item, np.full(len(item), 2))):
        for row, session in zip(scores, item[:, : step + 1].tolist(), strict=True):
            assert row.sum() == pytest.approx(1)
            if step < 3:  # of which there are few paths
                wanted = [probability(game, 2, [*session, k]) for k in range(RULES.items)]
                np.testing.assert_allclose(row, np.array(wanted) / probability(game, 2, session), atol=1e-12)


def test_what_is_drawn_has_these_probabilities() -> None:
    """Where the chances of a next item add up to so many, about so many come."""
    game = SessionGame(RULES, seed=1)
    drawn = [game.draw(day) for day in range(RULES.days)]
    expected, came = np.zeros(10), np.zeros(10)
    for day, (_, item) in enumerate(drawn):
        for step, scores in enumerate(game.next_scores(item, np.full(len(item), day))):
            goes_on = item[:, step + 1] >= 0
            tenth = np.minimum((scores[goes_on] * 10).astype(int), 9)
            hit = np.zeros_like(tenth)
            hit[np.arange(len(hit)), item[goes_on, step + 1]] = 1
            expected += np.bincount(tenth.ravel(), scores[goes_on].ravel(), 10)
            came += np.bincount(tenth.ravel(), hit.ravel(), 10)
    assert (np.abs(came - expected) < 4 * np.sqrt(expected + 1)).all()


def test_the_log_is_cut_at_pauses_into_the_drawn_sessions(tmp_path: Path) -> None:
    game = SessionGame(RULES, seed=2)
    game.write(tmp_path / "log.parquet")
    log = pd.read_parquet(tmp_path / "log.parquet").sort_values(["player", "time"], kind="stable")
    begins = (log["player"] != log["player"].shift()) | (log["time"].diff() > pd.Timedelta("30min"))
    found = sorted(tuple(items) for items in log.groupby(begins.cumsum())["item"].agg(list))
    drawn = [row[row >= 0] for day in range(RULES.days) for row in game.draw(day)[1]]
    assert found == sorted(tuple(f"i{k}" for k in row) for row in drawn)
    launch = dict(zip([f"i{k}" for k in range(RULES.items)], game.launch, strict=True))
    age = (log["time"] - pd.Timestamp("2024-01-01")).dt.days
    assert (age.to_numpy() >= log["item"].map(launch).to_numpy()).all()


def test_too_few_items_are_refused() -> None:
    with pytest.raises(ValueError, match="4 items each"):
        SessionGame(SessionRules(items=100, clusters=30))
