"""The answer over a player's time: whom to show, what the network says at each moment, and where the risk rose."""

# N test snapshots, K moments

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        snapshot: The test snapshot that was chosen, seconds.
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
    for why, row in chosen_snapshots(answers).items():
        asked = source.asked(row.player, begin)
        if not len(asked.time):  # no midnight came while they were active
            continue
        found.append(
            Timeline(
                row.player, why, asked.time, leaving_probabilities(module, asked.sequences), asked.events, asked.names,
                float(row.time), bool(row.label),
            )
        )  # fmt: skip
    return found


def chosen_snapshots(answers: pd.DataFrame) -> dict[str, Any]:
    """Up to five snapshots of different players by the rules that chose them, as named tuples of the columns.

    In this order: the highest answer; the lowest one; the steepest rise from a player's snapshot to the next; of the
    players who left after their last snapshot the one whose answer there is the median; the same of those who never
    left. Of equal answers that of the player with the most snapshots is chosen, and the median is that of the
    quarter with the most: they have more to show.

    Args:
        answers: As of `timelines`.
    """
    table = answers.sort_values(["player", "time"], kind="stable")
    of_player = table.groupby("player", sort=False)
    table = table.assign(
        rise=of_player["probability"].diff(), count=of_player["time"].transform("size"),
        ever=of_player["label"].transform("max"),
    )  # fmt: skip
    last = table.groupby("player", sort=False).tail(1)
    orders = {
        "the highest risk": table.sort_values(["probability", "count"], ascending=False, kind="stable"),
        "the lowest risk": table.sort_values(["probability", "count"], ascending=[True, False], kind="stable"),
        "the steepest rise": table[table["rise"] > 0].sort_values(["rise", "count"], ascending=False, kind="stable"),
        "one who left": _from_the_median(last[last["label"] == 1]),
        "one who stayed": _from_the_median(last[last["ever"] == 0]),
    }
    found: dict[str, Any] = {}
    for why, order in orders.items():
        others = order[~order["player"].isin([row.player for row in found.values()])]
        if len(others):
            found[why] = next(others.itertuples(index=False))
    return found


def _from_the_median(rows: pd.DataFrame) -> pd.DataFrame:
    """The quarter with the most snapshots first, by how far their answers are from its median, then the others."""
    is_long = rows["count"] >= rows["count"].quantile(0.75)
    distance = (rows["probability"] - rows.loc[is_long, "probability"].median()).abs()
    return rows.assign(short=~is_long, distance=distance).sort_values(["short", "distance"], kind="stable")
