"""After how many quiet days do players not come back? The return-time curve of a log, and windows that follow from it.

A pause begins after each active day and ends with the next one, or is still open where the log ends. Pauses that are
open count for as long as they were watched (Kaplan & Meier 1958, eq. 2b), so that the end of a log looks like no wave
of leaving.
"""

# T days

from __future__ import annotations

from dataclasses import dataclass

import ibis.expr.types as ir
import numpy as np
from ludocast.datamodules.windows import Windows

FEWEST = 50  # pauses that have to be watched for a day of the curve to count
GONE = 0.95  # share of quiet players who do not come back from the suggested horizon on
SEEN = 0.8  # share of returns that happen within the suggested active_within
LONGEST = 84  # days of a horizon: who acts on a prediction waits no longer for the outcome
PERIODS = 8  # horizons that a log is to hold
SHOWN = (1, 2, 3, 5, 7, 10, 14, 21, 28, 42, 56, 84, 112, 168)


@dataclass(frozen=True)
class ReturnCurve:
    """What happens after t = 0, 1, … quiet days.

    Attributes:
        away: Share of pauses that last longer than t quiet days, float64 [T].
        come_back: Share of those who are quiet for t days that come back later, as far as was watched, float64 [T].
        watched: Pauses that were watched for more than t quiet days or ended then, int64 [T].
    """

    away: np.ndarray
    come_back: np.ndarray
    watched: np.ndarray

    def rows(self) -> list[dict[str, float]]:
        """The days that are shown to people."""
        return [
            {"quiet_days": t, "come_back": float(self.come_back[t]), "pauses": int(self.watched[t])}
            for t in SHOWN
            if t < len(self.away)
        ]


def return_curve(days: ir.Table, end_day: int) -> ReturnCurve:
    """The curve of a log.

    Args:
        days: What `player_days` gives.
        end_day: The day after the log's last one, since 1970.
    """
    pauses = days.filter(days.previous.notnull())
    pauses = pauses.mutate(quiet=(pauses.day - pauses.previous - 1).cast("int64"))
    ended = pauses.group_by("quiet").aggregate(number=pauses.count()).to_pyarrow().to_pydict()
    last = days.group_by("player").aggregate(last=days.day.max())
    last = last.mutate(quiet=(end_day - 1 - last["last"]).cast("int64"))
    still = last.group_by("quiet").aggregate(number=last.count()).to_pyarrow().to_pydict()
    return _curve(_histogram(ended), _histogram(still))


def _histogram(counts: dict[str, list[int]]) -> np.ndarray:
    quiet = np.array(counts["quiet"], np.int64)
    return np.bincount(quiet, np.array(counts["number"]), minlength=1) if len(quiet) else np.zeros(1)


def _curve(ended: np.ndarray, still: np.ndarray) -> ReturnCurve:
    length = max(len(ended), len(still))
    ended, still = (np.pad(counts, (0, length - len(counts))).astype(np.int64) for counts in (ended, still))
    # On the day after t quiet ones a pause can end if it did not before; one that is open after t days ends the watch.
    whole = ended + still
    watched = whole[::-1].cumsum()[::-1] - still
    known = watched >= FEWEST
    until = int(known.argmin()) if not known.all() else length
    until = max(until, 1)
    hazard = ended[:until] / np.maximum(watched[:until], 1)
    away = np.cumprod(1 - hazard)
    before = np.append(1.0, away[:-1])  # quiet for t days, and not back on the next
    come_back = 1 - away[-1] / np.maximum(before, 1e-300)
    return ReturnCurve(away, come_back, watched[:until])


@dataclass(frozen=True)
class Suggestion:
    """Windows for a log, and why.

    Attributes:
        windows: In whole days.
        reasons: Sentences.
    """

    windows: Windows
    reasons: tuple[str, ...]

    def words(self) -> str:
        """As options of the command line."""
        w = self.windows
        return (
            f"--observe {w.observe:g}d --gap {w.gap:g}d --horizon {w.horizon:g}d --active-within {w.active_within:g}d "
            f"--step {w.step:g}d"
        )


def suggest_windows(curve: ReturnCurve, log_days: int) -> Suggestion:
    """Windows that suit a log.

    Args:
        curve: Its return-time curve.
        log_days: Its length.

    Raises:
        ValueError: If it is too short for any.
    """
    gone = np.flatnonzero(curve.come_back <= 1 - GONE)
    quiet = int(gone[0]) if len(gone) else len(curve.away) - 1
    wanted = 7 * max(1, -(-quiet // 7))
    horizon = min(wanted, LONGEST, 7 * max(1, log_days // PERIODS // 7))
    back = 1 - curve.away
    seen = int(np.flatnonzero(back >= SEEN * back[-1])[0]) + 1
    within = 7 * max(1, -(-seen // 7))
    reasons = [
        f"after {quiet} quiet days {1 - curve.come_back[quiet]:.0%} do not come back: horizon {wanted}",
        f"{SEEN:.0%} of those who come back do so within {seen} days: active within {min(within, horizon)}",
    ]
    if horizon < wanted:
        later = curve.come_back[min(horizon, len(curve.away) - 1)]
        reasons.append(
            f"a horizon is at most {LONGEST} days and an {PERIODS}th of the log: {horizon}; of those who are quiet so "
            f"long {later:.0%} come back later"
        )
    for days in range(horizon, 0, -1):
        windows = Windows(2 * days, 0, days, min(within, days), max(1, days // 2))
        if windows.shortest() <= log_days:
            break
    else:
        raise ValueError(f"the log is {log_days} days long, too short for training, validation and test")
    if days < horizon:
        reasons.append(f"three parts of a log of {log_days} days allow a horizon of {days}")
    return Suggestion(windows, tuple(reasons))
