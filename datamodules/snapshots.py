"""Snapshots: the moments at which a player is asked about, what is known of them then, and whether they leave.

At a snapshot time t a player is a row if there is an event of theirs in [t − active_within, t). Known are the events
in [t − observe, t). The player has churned if there is no event in [t + gap, t + gap + horizon). All in days, all
windows closed on the left and open on the right; `datamodules/windows.py` holds the rules.
"""

# T events, P players, S snapshots, K snapshot times

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.ragged import first_at_least, flat_positions
from ludocast.datamodules.split import Split
from ludocast.datamodules.time_features import DAY
from ludocast.datamodules.windows import Windows, split_times

_BLOCK = 1 << 16  # snapshots whose events are unfolded at once


@dataclass(frozen=True)
class Snapshots:
    """Rows of a churn table, by player, then time.

    Attributes:
        player: int64 [S].
        time: Seconds since 1970, float64 [S].
        begin: First event of the observed window, int64 [S].
        end: The event after its last one, int64 [S]; every window has one event or more.
        churned: bool [S].
        times: All snapshot times, float64 [K], ascending, also such as have no row.
        label_days: Days from a snapshot to the end of its label, gap + horizon.
    """

    player: np.ndarray
    time: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    churned: np.ndarray
    times: np.ndarray
    label_days: float

    def __len__(self) -> int:
        return len(self.player)


def find_snapshots(
    times: np.ndarray,
    offsets: np.ndarray,
    *,
    observe: float = 56,
    gap: float = 0,
    horizon: float = 28,
    active_within: float = 7,
    step: float = 14,
    first_day: float | None = None,
    last_day: float | None = None,
) -> Snapshots:
    """All labelled snapshots of a log.

    Snapshot times are first_day + observe, and from there every `step` days while the label still ends by `last_day`.

    Args:
        times: Seconds since 1970 of all events, ascending within each player, float64 [T].
        offsets: Where the events of each player begin, int64 [P + 1].
        observe: Days that are known.
        gap: Days between a snapshot and its label, in which an answer can still be acted on.
        horizon: Days of the label.
        active_within: Days in which a player who is asked about was seen last.
        step: Days from one snapshot time to the next.
        first_day: Begin of the log in seconds; None for the midnight (UTC) before the first event.
        last_day: End of the log; None for the midnight after the last event.

    Raises:
        ValueError: If the rules contradict each other, or the log is too short for one snapshot.
    """
    windows = Windows(observe, gap, horizon, active_within, step)
    if not len(times):
        raise ValueError("a log without events has no snapshots")
    begin = np.floor(times.min() / DAY) if first_day is None else first_day / DAY
    end = np.floor(times.max() / DAY) + 1 if last_day is None else last_day / DAY
    at = windows.times(begin, end) * DAY
    player, time, first, stop = active_windows(times, offsets, at, observe, active_within)
    until = offsets[player + 1]
    following = first_at_least(times, stop, until, time + gap * DAY)
    next_time = np.where(following < until, times[np.minimum(following, len(times) - 1)], np.inf)
    churned = next_time >= time + (gap + horizon) * DAY
    return Snapshots(player, time, first, stop, churned, at, gap + horizon)


def active_windows(
    times: np.ndarray, offsets: np.ndarray, at: np.ndarray, observe: float, active_within: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Who is asked about at each time, and the events that are known of them then; labels need no part in it.

    Args:
        times: Seconds, ascending within each player, float64 [T].
        offsets: int64 [P + 1].
        at: Snapshot times in seconds, ascending, [K].
        observe: Days that are known.
        active_within: Days in which such a player was seen last.

    Returns:
        Player, time, first known event and the event after the last known one, [S] each, by player, then time.
    """
    counts = np.diff(offsets)
    following = np.append(times[1:], np.inf)
    following[offsets[1:][counts > 0] - 1] = np.inf
    # An event is a player's last one before t for all t in (its time, the next one's], so each row is found once.
    low = np.searchsorted(at, times, side="right")
    high = np.searchsorted(at, np.minimum(following, times + active_within * DAY), side="right")
    rows = np.maximum(high - low, 0)
    last = np.repeat(np.arange(len(times)), rows)
    time = at[flat_positions(low, low + rows)]
    player = np.repeat(np.arange(len(counts)), counts)[last]
    first = first_at_least(times, offsets[player], last + 1, time - observe * DAY)
    return player, time, first, last + 1


def split_snapshots(snapshots: Snapshots, validation: float = 0.05, test: float = 0.25) -> Split:
    """Parts by time without a leak: the labels of a part end by the first snapshot of the next one.

    Args:
        snapshots: All of them.
        validation: Share of the snapshot times, one at least.
        test: Share of the snapshot times, the last ones, one at least.

    Returns:
        Row numbers; snapshots whose labels reach into the next part are in none.

    Raises:
        ValueError: If no time is left for training.
    """
    times = snapshots.times
    train, known, last = split_times(times, snapshots.label_days * DAY, validation, test)
    time = snapshots.time
    return Split(
        np.flatnonzero(time <= train[-1]),
        np.flatnonzero((time >= known[0]) & (time <= known[-1])),
        np.flatnonzero(time >= last[0]),
        f"by time: train {_dates(train)}, validation {_dates(known)}, test {_dates(last)}",
    )


def _dates(times: np.ndarray) -> str:
    first, last = (dt.datetime.fromtimestamp(float(t), dt.UTC).date().isoformat() for t in (times[0], times[-1]))
    return f"{first} to {last} ({len(times)} times)"


def daily_activity_bits(
    times: np.ndarray, begin: np.ndarray, end: np.ndarray, time: np.ndarray, observe: int
) -> np.ndarray:
    """On which of the days before each snapshot there was an event.

    Args:
        times: Seconds of all events, [T].
        begin: First event of each window, int64 [S].
        end: The event after its last one, int64 [S].
        time: Snapshot times in seconds, [S].
        observe: Days.

    Returns:
        uint8 [S, observe]; the last column is [t − 1 day, t). Events outside of the days count nowhere.
    """
    bits = np.zeros((len(time), observe), np.uint8)
    for start in range(0, len(time), _BLOCK):
        part = slice(start, start + _BLOCK)
        row = np.repeat(np.arange(start, start + len(time[part])), end[part] - begin[part])
        day = np.floor((times[flat_positions(begin[part], end[part])] - time[row]) / DAY).astype(np.int64) + observe
        inside = (day >= 0) & (day < observe)
        bits[row[inside], day[inside]] = 1
    return bits
