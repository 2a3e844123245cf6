"""Days become snapshots: one Ibis expression, the same on every engine.

A snapshot is taken every `step` days, so a day lies in the windows of ceil(observe / step) of them at most: it is
copied that often, by arithmetic on its day alone, and each player's copies for a snapshot are summed up. Nothing
is compared with every snapshot time, and no table is joined with itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
from ludocast.datamodules.etl.features import Feature, Rows, all_features
from ludocast.datamodules.etl.rules import Contents, Rules


@dataclass(frozen=True)
class Grid:
    """Snapshot days, every `step` days from `first` on.

    Attributes:
        first: Days since 1970.
        step: Days.
        begin: Number of the first snapshot wanted, from 0.
        end: Number after the last one.
    """

    first: int
    step: int
    begin: int
    end: int

    def day(self, number: int) -> int:
        """Days since 1970."""
        return self.first + number * self.step

    def part(self, begin: int, end: int) -> Grid:
        """Some of its snapshots."""
        return Grid(self.first, self.step, begin, end)


def window_rows(days: ir.Table, grid: Grid, rules: Rules) -> ir.Table:
    """The days of each window: columns of `days`, and `s`, `begin` and `age`, all within [s − observe, s)."""
    known = days.filter(days.day >= grid.day(grid.begin) - rules.observe, days.day < grid.day(grid.end - 1))
    return window_copies(known, grid, rules.observe)


def window_copies(rows: ir.Table, grid: Grid, reach: int) -> ir.Table:
    """Each row for every snapshot s with day < s ≤ day + reach: the first one after the day, and those after it.

    Args:
        rows: With `day`.
        grid: Which snapshots.
        reach: Days.

    Returns:
        The same columns, `s`, `begin` (s − reach) and `age` (s − day).
    """
    shift = reach // grid.step + 2  # keeps the division above 0, where engines agree on it
    number = (rows.day - grid.first + shift * grid.step) // grid.step - shift + 1
    numbers = ibis.memtable({"copy": list(range(-(-reach // grid.step)))}, schema={"copy": "int64"})
    rows = rows.mutate(number=number.cast("int64")).cross_join(numbers)
    rows = rows.mutate(number=(rows.number + rows["copy"]).cast("int64"))
    rows = rows.filter(rows.number >= grid.begin, rows.number < grid.end)
    rows = rows.mutate(s=(rows.number * grid.step + grid.first).cast("int64"))
    rows = rows.mutate(age=(rows.s - rows.day).cast("int64"), begin=(rows.s - reach).cast("int64"))
    return rows.filter(rows.age <= reach).drop("copy", "number")


def snapshot_features(days: ir.Table, grid: Grid, rules: Rules, contents: Contents) -> tuple[ir.Table, list[Feature]]:
    """Eligible snapshots and their features, from the past alone.

    Args:
        days: What `player_days` gives.
        grid: Which snapshots.
        rules: Lengths of the windows.
        contents: What the log holds.

    Returns:
        `player`, `s` and a column for each feature; and the features.
    """
    table = window_rows(days, grid, rules).semi_join(eligible(days, grid, rules), ["player", "s"])
    features = all_features(Rows(table, rules, contents))
    values = {f.name: f.value.cast("int64" if f.whole else "float64") for f in features}
    return table.group_by("player", "s").aggregate(**values), features


def eligible(days: ir.Table, grid: Grid, rules: Rules) -> ir.Table:
    """`player` and `s` of those active in [s − active_within, s); told first: nothing is worked out of others."""
    first, end = grid.day(grid.begin) - rules.active_within, grid.day(grid.end - 1)
    recent = days.filter(days.day >= first, days.day < end).select("player", "day")
    return window_copies(recent, grid, rules.active_within).select("player", "s").distinct()


def with_labels(snapshots: ir.Table, days: ir.Table, grid: Grid, rules: Rules) -> ir.Table:
    """The same with `churned`: no event in [s + gap, s + gap + horizon). The one place that looks ahead."""
    first, last = grid.day(grid.begin) + rules.gap, grid.day(grid.end - 1) + rules.gap + rules.horizon
    later = days.filter(days.day >= first, days.day < last).select("player", "day")
    # s + gap ≤ day < s + gap + horizon says, of day − gap − horizon, that it is < s ≤ itself + horizon.
    later = later.mutate(day=(later.day - rules.gap - rules.horizon).cast("int64"))
    later = window_copies(later, grid, rules.horizon)
    back = later.select("player", "s").distinct()
    back = back.select(back_player="player", back_s="s")
    joined = snapshots.left_join(back, [snapshots.player == back.back_player, snapshots.s == back.back_s])
    return joined.mutate(churned=joined.back_player.isnull()).drop("back_player", "back_s")
