"""The rules of snapshots, once for sequences and tables: which moments are asked about, who falls in which part.

At a snapshot time s a player is eligible if active in [s − active_within, s); features see only [s − observe, s); the
player has churned if there is no activity in [s + gap, s + gap + horizon). All windows are closed on the left and open
on the right. A log begins at the midnight (UTC) of its first event's day and ends at the midnight after its last event;
snapshots lie at its begin + observe + k · step for k = 0, 1, …, the last one where its label still ends within the log.

`datamodules/snapshots.py` applies these rules to arrays in memory, `datamodules/etl/` to tables of any size; a test
holds the two against each other.
"""

# K snapshot times

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_UNITS = {"w": 7.0, "d": 1.0, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86_400}


@dataclass(frozen=True)
class Windows:
    """Lengths of the windows in days.

    Attributes:
        observe: Days that are known at a snapshot.
        gap: Days between a snapshot and its label, in which an answer can still be acted on.
        horizon: Days of the label.
        active_within: Days in which a player who is asked about was seen last.
        step: Days from one snapshot time to the next.

    Raises:
        ValueError: If they contradict each other.
    """

    observe: float = 56
    gap: float = 0
    horizon: float = 28
    active_within: float = 7
    step: float = 14

    def __post_init__(self) -> None:
        if not (0 < self.active_within <= self.observe and self.gap >= 0 and self.horizon > 0 and self.step > 0):
            raise ValueError(
                "snapshots need 0 < active_within <= observe, gap >= 0, horizon > 0 and step > 0 (days), "
                f"got active_within {self.active_within:g}, observe {self.observe:g}, gap {self.gap:g}, "
                f"horizon {self.horizon:g}, step {self.step:g}"
            )

    @property
    def label(self) -> float:
        """Days from a snapshot to the end of its label."""
        return self.gap + self.horizon

    def times(self, begin: float, end: float) -> np.ndarray:
        """Snapshot times of a log from `begin` to `end`, all in days since 1970, float64 [K], ascending.

        Raises:
            ValueError: If the log is too short for one snapshot; the sentence says how long it must be.
        """
        room = end - begin - self.observe - self.label
        if room < 0:
            raise ValueError(
                f"the log spans {end - begin:g} days; a snapshot needs {self.observe + self.label:g} "
                f"(observe {self.observe:g} + gap {self.gap:g} + horizon {self.horizon:g}): give a longer log, "
                "or lower one of them"
            )
        return begin + self.observe + self.step * np.arange(int(room / self.step) + 1)

    def shortest(self) -> float:
        """Days of the shortest log whose snapshots make three parts."""
        number = 1
        while not _can_split(self.step * np.arange(number), self.label):
            number += 1
        return self.observe + self.step * (number - 1) + self.label


class TimeParts(NamedTuple):
    """Snapshot times of each part, ascending; those between them are in none."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_times(times: np.ndarray, label: float, validation: float = 0.05, test: float = 0.25) -> TimeParts:
    """Parts by time without a leak: the labels of a part end by the first snapshot of the next one.

    Args:
        times: All snapshot times, ascending, [K].
        label: How far a label reaches after its snapshot, in the unit of `times`.
        validation: Share of the snapshot times, one at least.
        test: Share of the snapshot times, the last ones, one at least.

    Raises:
        ValueError: If no time is left for training.
    """
    first_test = times[len(times) - max(1, round(test * len(times)))]
    known = times[times + label <= first_test][-max(1, round(validation * len(times))) :]
    train = times[times + label <= known[0]] if len(known) else known
    if not len(train):
        raise ValueError(
            f"{len(times)} snapshot times are too few for three parts whose labels do not overlap; give a longer log, "
            "a smaller step, or a shorter horizon"
        )
    return TimeParts(train, known, times[times >= first_test])


def _can_split(times: np.ndarray, label: float) -> bool:
    try:
        split_times(times, label)
    except ValueError:
        return False
    return True


def parse_days(option: str, text: str) -> float:
    """Days of a duration such as 56d, 8w, 36h, 30m or 90s; a bare number is days.

    Args:
        option: Its name, for the error.
        text: As a person wrote it.

    Raises:
        ValueError: If it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([wdhms]?)\s*", text)
    if found is None:
        raise ValueError(f'{option} is a duration such as 28d, 4w or 12h, got "{text}"')
    return float(found[1]) * _UNITS[found[2]] if found[2] else float(found[1])
