"""Windows that fit a log: after how many quiet days do players no longer come back?

A quiet period begins with each day on which a player is active and ends with their next one, or with the log. Of the
periods that have lasted d quiet days, the share that ends in a return is 1 − S(R) / S(d), where S(d) is the share that
lasts longer than d days by the product-limit estimate (Kaplan and Meier 1958, J. Am. Stat. Assoc. 53, eq. 2a), which
counts a period that the log's end cuts off for as long as it was seen, and R the last day with periods enough to tell.
"""

# D quiet days

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.rules import DAY_MS
from ludocast.datamodules.windows import Windows, split_times

FEWEST_PERIODS = 100  # that must have lasted a number of days for a share to be told
FEWEST_SHARE = 0.05  # or of a small log's
LOST = 0.05  # of quiet periods that still end in a return: who has been quiet for so long has left
MOST_RETURNS = 0.9  # of returns come within the days for which a player counts as active
HORIZONS = (56, 42, 28, 21, 14, 7, 5, 3, 2, 1)  # whole weeks, as days of the week differ, where the log has some
ACTIVE = (28, 14, 7, 3, 2, 1)
ENOUGH_TIMES = 12  # snapshots


@dataclass(frozen=True)
class ReturnTimes:
    """How long players are quiet, float64 or int64 [D]; entry d is about periods that have lasted d quiet days.

    Attributes:
        periods: How many were seen to last so long, and a day beyond.
        share: Of them, who came back until the last day that can be told; 0 for that one.
        back: Returns after exactly d quiet days.
    """

    periods: np.ndarray
    share: np.ndarray
    back: np.ndarray

    @property
    def lost_after(self) -> int | None:
        """The first number of quiet days after which 95 % do not come back; None if the log is too short to tell.

        The last day is reached by definition, so that only the part of the log before its last tenth counts.
        """
        found = np.flatnonzero(self.share <= LOST)
        return int(found[0]) if len(found) and found[0] <= 0.9 * (len(self.share) - 1) else None

    @property
    def mostly_back_within(self) -> int:
        """Days between two active ones, 1 for a player who came the day after, of nine returns in ten; 1 if none."""
        total = self.back.sum()
        return 1 if not total else int(np.searchsorted(np.cumsum(self.back), MOST_RETURNS * total)) + 1


@dataclass(frozen=True)
class Suggestion:
    """Windows, and why.

    Attributes:
        windows: In whole days.
        reasons: Sentences.
        is_trainable: Whether the log is long enough for training, validation and test with these windows.
    """

    windows: Windows
    reasons: tuple[str, ...]
    is_trainable: bool

    def options(self) -> str:
        """As `ludocast snapshots` takes them."""
        names = ("observe", "gap", "horizon", "active_within", "step")
        return " ".join(f"--{name.replace('_', '-')} {getattr(self.windows, name):g}d" for name in names)


def active_days(log: Log) -> ir.Table:
    """`player` and `day` of a log, one row for each day with an event."""
    return log.events.select("player", day=(log.events.time // DAY_MS).cast("int64")).distinct()


def return_times(days: ir.Table, end_day: int) -> ReturnTimes:
    """Count quiet periods.

    Args:
        days: `player` and `day` (days since 1970), one row for each day on which a player was active; other columns
            do not matter.
        end_day: The day after the log's last one.
    """
    order = ibis.window(group_by=days.player, order_by=days.day)
    periods = days.select(day=days.day, following=days.day.lead().over(order))
    periods = periods.select(
        is_back=periods.following.notnull(), days=periods.following.fill_null(end_day) - periods.day
    )
    counts = periods.group_by("is_back", "days").aggregate(number=ibis._.count()).to_pyarrow().to_pydict()
    length, number = np.array(counts["days"], np.int64) - 1, np.array(counts["number"], np.int64)
    is_back = np.array(counts["is_back"], bool)
    most = int(length.max(initial=0)) + 1
    back = np.bincount(length[is_back], number[is_back], most)
    cut = np.bincount(length[~is_back], number[~is_back], most)
    # Of the periods of d quiet days, the ones that the log's end cut off there were not seen on the day after.
    seen = (back + cut)[::-1].cumsum()[::-1] - cut
    stays = np.cumprod(1 - back / np.maximum(seen, 1))  # entry d: no return after d quiet days or fewer
    enough = np.flatnonzero(seen >= min(FEWEST_PERIODS, max(1.0, FEWEST_SHARE * seen[0])))
    last = int(enough[-1]) if len(enough) else 0
    lasting = np.append(1.0, stays)[: last + 1]  # entry d: share that reaches d quiet days
    share = 1 - stays[last] / np.maximum(lasting, 1e-300) if seen.any() else np.zeros(1)
    return ReturnTimes(seen[: last + 1].astype(np.int64), share, back.astype(np.int64))


def suggest_windows(times: ReturnTimes, first_day: int, end_day: int) -> Suggestion:
    """Windows for snapshots: as long as players need to be gone for good, as short as the log allows.

    Args:
        times: Of `return_times`.
        first_day: Of the log, days since 1970.
        end_day: The day after its last one.
    """
    span, lost = end_day - first_day, times.lost_after
    wanted = next((h for h in reversed(HORIZONS) if lost is not None and h >= max(lost, 1)), HORIZONS[0])
    if span >= 7 * HORIZONS[5]:
        wanted = max(wanted, 7)
    active = next((a for a in reversed(ACTIVE) if a >= times.mostly_back_within), ACTIVE[0])
    if wanted >= 7:
        active = max(active, 7)
    found, is_trainable = Windows(1, 0, 1, 1, 1), False
    for horizon in (h for h in HORIZONS if h <= wanted):
        within = next((a for a in ACTIVE if a <= min(active, horizon)), 1)
        for observe in dict.fromkeys((max(2 * horizon, 4 * within), 2 * horizon, horizon)):
            step = _step(observe, horizon, span)
            if step is not None:
                found, is_trainable = Windows(observe, 0, horizon, within, step), True
                break
        if is_trainable:
            break
    return Suggestion(found, tuple(_reasons(times, found, wanted, span, is_trainable)), is_trainable)


def suggest_for(log: Log) -> tuple[ReturnTimes, Suggestion]:
    """Both for a log."""
    times = return_times(active_days(log), log.end_day)
    return times, suggest_windows(times, log.first_day, log.end_day)


def _step(observe: int, horizon: int, span: int) -> int | None:
    """The longest step that leaves snapshots enough, or else the shortest that leaves all three parts one."""
    fitting = []
    for step in [s for s in (28, 14, 7) if 2 * s <= horizon or s == 7] if horizon >= 7 else [1]:
        try:
            times = Windows(observe, 0, horizon, 1, step).times(0, span)
            split_times(times, horizon)
        except ValueError:
            continue
        if len(times) >= ENOUGH_TIMES:
            return step
        fitting.append(step)
    return fitting[-1] if fitting else None


def _reasons(times: ReturnTimes, found: Windows, wanted: int, span: int, is_trainable: bool) -> list[str]:
    lost, horizon, within = times.lost_after, int(found.horizon), int(found.active_within)
    if lost is not None:
        sentences = [f"after {_days(lost)} without an event 95 % do not come back within the log"]
    else:
        sentences = ["the log does not tell after how many quiet days 95 % of players have left"]
    if not is_trainable:
        return [*sentences, f"the log spans {_days(span)}, too few for training, validation and test of any horizon"]
    if horizon < len(times.share):
        left = times.share[horizon]
        sentences.append(f"horizon {_days(horizon)}: of those quiet for so long {left:.1%} still come back")
    if horizon < wanted:
        sentences.append(
            f"a horizon of {_days(wanted)} would fit the players, but the log of {_days(span)} is too short"
        )
    elif lost is not None and lost > horizon:
        sentences.append(f"a horizon above {_days(horizon)} would tell of churn too late to do something about it")
    sentences.append(
        f"active within {_days(within)}: nine of ten returns come within {_days(times.mostly_back_within)} of the last "
        "active day"
    )
    return sentences


def _days(number: int) -> str:
    return f"{number:,} day" if number == 1 else f"{number:,} days"
