"""A player asked about again and again: what a snapshot at any moment of the log would have known."""

# K moments

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ludocast.datamodules.event_log import EventLog
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.snapshots import Snapshots, active_windows
from ludocast.datamodules.time_features import DAY

Encode = Callable[[EventLog, Snapshots], Sequences]


class Asked(NamedTuple):
    """Moments at which a player is asked about.

    Attributes:
        time: Seconds since 1970, ascending, float64 [K].
        sequences: What is known then, K of them.
        events: Moments of all of the player's events, float64.
        names: What these are called, objects.
    """

    time: np.ndarray
    sequences: Sequences
    events: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class Timelines:
    """A log, and how a snapshot of it is encoded.

    Attributes:
        log: The event log.
        encode: Makes sequences of snapshots, as for training.
        observe: Days that are known.
        active_within: Days in which a player who is asked about was seen last.
        by_event: Whether a player is asked about right after each event too, not at midnights alone.
    """

    log: EventLog
    encode: Encode
    observe: float
    active_within: float
    by_event: bool

    def asked(self, player: str, begin: float) -> Asked:
        """Ask about a player at each midnight (UTC) from some time on while they count as active.

        Args:
            player: Name, one of the log's.
            begin: Seconds since 1970 of the first moment.

        Returns:
            Moments; none if the player was not active from `begin` on.
        """
        own = self.log.of_players([player])
        at = np.arange(begin, (np.floor(own.times.max() / DAY) + 1 + self.active_within) * DAY, DAY)
        at = at[at <= (np.floor(self.log.times.max() / DAY) + 1) * DAY]
        if self.by_event:
            after = np.floor(own.times) + 1.0  # a window is open on the right: the first full second that knows it
            at = np.union1d(at, after[after >= begin])
        rows, time, first, stop = active_windows(own.times, own.offsets, at, self.observe, self.active_within)
        unknown = np.zeros(len(rows), bool)
        found = self.encode(own, Snapshots(rows, time, first, stop, unknown, at, 0.0))
        return Asked(time, found, own.times, own.events[own.codes])
