"""The answer over a player's time: whom to show, what the network says at each moment, and where the risk rose."""

# N test snapshots, K moments

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from ludocast.datamodules.timelines import Timelines
from ludocast.models.sequence.predict import leaving_probabilities
from ludocast.models.sequence.tasks import LeavingModule


@dataclass(frozen=True)
class Timeline:
    """A player's test period.

    Attributes:
        player: Name.
        why: By which rule the player was chosen.
        time: Moments asked about, seconds since 1970, float64 [K].
        probability: The answers, float64 [K].
        events: Moments of all events, ascending, float64.
        names: What these are called, objects.
        snapshot: The last test snapshot, seconds.
        left: Whether the player left after it.
    """

    player: str
    why: str
    time: np.ndarray
    probability: np.ndarray
    events: np.ndarray
    names: np.ndarray
    snapshot: float
    left: bool

    @property
    def rise(self) -> int | None:
        """The moment up to which the probability rose most since the one before, None where it never rose."""
        rises = np.diff(self.probability)
        return int(rises.argmax()) + 1 if len(rises) and rises.max() > 0 else None


def timelines(module: LeavingModule, source: Timelines, answers: pd.DataFrame) -> list[Timeline]:
    """The answers over the test period of some players.

    Args:
        module: Trained and calibrated.
        source: Of the module's data.
        answers: Of the test snapshots: "player", "time" (seconds), "label" and "probability".
    """
    begin, found = float(answers["time"].min()), []
    for player, why in chosen_players(answers).items():
        asked = source.asked(player, begin)
        if not len(asked.time):  # no midnight came while they were active
            continue
        last = answers[answers["player"] == player].sort_values("time").iloc[-1]
        found.append(
            Timeline(
                player, why, asked.time, leaving_probabilities(module, asked.sequences), asked.events, asked.names,
                float(last["time"]), bool(last["label"]),
            )
        )  # fmt: skip
    return found


def chosen_players(answers: pd.DataFrame) -> dict[str, str]:
    """Up to five different players, each with the rule that chose them.

    In this order: the highest answer; the lowest one; the steepest rise from one snapshot to the next; of the players
    who left after their last snapshot the one whose answer there is the median; the same of those who never left.

    Args:
        answers: As of `timelines`.
    """
    table = answers.sort_values(["player", "time"], kind="stable")
    own = table["player"] == table["player"].shift()
    rise = table["probability"].diff().where(own)
    last = table.groupby("player").tail(1)
    ever = table.groupby("player")["label"].max()
    stayed = last[last["player"].map(ever) == 0]
    orders = {
        "the highest risk": table.sort_values("probability", ascending=False, kind="stable"),
        "the lowest risk": table.sort_values("probability", kind="stable"),
        "the steepest rise": table.assign(rise=rise)[rise > 0].sort_values("rise", ascending=False, kind="stable"),
        "one who left": _from_the_median(last[last["label"] == 1]),
        "one who stayed": _from_the_median(stayed),
    }
    found: dict[str, str] = {}
    for why, order in orders.items():
        others = order["player"][~order["player"].isin(list(found))]
        if len(others):
            found[others.iloc[0]] = why
    return found


def _from_the_median(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows by how far their answer is from the median one."""
    distance = (rows["probability"] - rows["probability"].median()).abs()
    return rows.loc[distance.sort_values(kind="stable").index]
