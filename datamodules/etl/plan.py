"""Which snapshots are made of a log, in which part each falls, and how their rows are written and told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log, contents_of
from ludocast.datamodules.etl.rules import DAY_MS, Contents, Rules
from ludocast.datamodules.etl.snapshots import Grid
from ludocast.datamodules.etl.times import iso
from ludocast.datamodules.etl.write import ROW_GROUP, DataSetWriter, test_players
from ludocast.datamodules.windows import TimeParts, split_times

from ludocast import __version__

FORMAT = 1
ROWS_PER_GB = 3_000_000  # rows of windows worked on at once, for each GB of memory
PARTS = ("train", "validation", "test", "none")
Kind = Literal["snapshots", "sequences"]


@dataclass(frozen=True)
class Plan:
    """What is to be made of a log.

    Attributes:
        rules: Lengths of the windows and the like.
        contents: What the log holds.
        grid: Snapshot days.
        parts: Snapshot days of training, validation and test; None where there are no labels.
        apart: Whether the players of the test are in no other part.
        seed: Of the players of the test.
    """

    rules: Rules
    contents: Contents
    grid: Grid
    parts: TimeParts | None
    apart: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """What was written: rows of each part, and how many left.

    Attributes:
        rows: Snapshots.
        churned: Of them.
        split: Part to number of rows.
        times: Snapshot times.
        schema: Of the files.
    """

    rows: int
    churned: int
    split: dict[str, int]
    times: int
    schema: pa.Schema


def make_plan(
    engine: Engine, log: Log, rules: Rules, at: int | None, contents: Contents | None, **options: Any
) -> Plan:
    """Decide on snapshots and parts.

    Args:
        engine: Where the log is.
        log: The log.
        rules: Windows.
        at: The one day to take a snapshot of, without labels; None for all of them.
        contents: Of an earlier plan to follow; None to look at the log.
        options: `apart` and `seed` of the plan.

    Raises:
        ValueError: If the log is too short.
    """
    windows = rules.windows
    if at is not None:
        grid, parts = Grid(at, rules.observe, 0, 1), None
    else:
        times = windows.times(log.first_day, log.end_day)
        grid = Grid(int(times[0]), rules.step, 0, len(times))
        try:
            parts = split_times(times, windows.label)
        except ValueError as error:
            raise ValueError(
                f"the log is {log.end_day - log.first_day} days long; three parts whose labels do not overlap "
                f"need {windows.shortest():g} days with these windows: give a longer log, or shorter windows"
            ) from error
    if contents is None:
        contents = contents_of(engine, log, rules, grid.first)
    return Plan(rules, contents, grid, parts, **options)


def portions(engine: Engine, counts: ir.Table, plan: Plan) -> list[Grid]:
    """Consecutive snapshots whose windows together have about as many rows as memory holds.

    Args:
        engine: Where they are worked on.
        counts: How many `rows` each `day` has.
        plan: Which snapshots.
    """
    grid, rules = plan.grid, plan.rules
    found = counts.to_pyarrow().to_pydict()
    day, rows = np.array(found["day"], np.int64), np.array(found["rows"], np.int64)
    limit = ROWS_PER_GB * max(engine.memory / 1e9, 0.2)
    parts: list[Grid] = []
    begin, total = grid.begin, 0.0
    for number in range(grid.begin, grid.end):
        s = grid.day(number)
        here = float(rows[(day >= s - rules.observe) & (day < s)].sum())
        if number > begin and total + here > limit:
            parts.append(grid.part(begin, number))
            begin, total = number, 0.0
        total += here
    return [*parts, grid.part(begin, grid.end)]


class SnapshotRows:
    """Writes rows of snapshots with their labels and parts, in their order, and counts them.

    Args:
        folder: Where the files come.
        log: What the snapshots are of.
        plan: Which ones.
        own: Names of the columns beside the player, the time, the label and the part.
        moment: Name of the column of times.
        row_group: Rows of a row group.

    Raises:
        ValueError: If two columns would have one name.
    """

    def __init__(
        self, folder: Path, log: Log, plan: Plan, own: Sequence[str], moment: str, row_group: int = ROW_GROUP
    ) -> None:
        self.log, self.plan, self.moment = log, plan, moment
        names = [log.columns.player, moment, *own, "churned", "split"]
        doubled = [name for name in names if names.count(name) > 1]
        if doubled:
            raise ValueError(f'the log\'s column "{doubled[0]}" has the name of one that is written; rename it')
        self._writer = DataSetWriter(folder, row_group)
        self._schema: pa.Schema | None = None
        self._split, self._churned = dict.fromkeys(PARTS, 0), 0

    def add(self, player: pa.ChunkedArray, s: np.ndarray, own: Mapping[str, Any], churned: Any = None) -> None:
        """Append rows.

        Args:
            player: Of each.
            s: Days since 1970, int64.
            own: The other columns.
            churned: The labels, where there are any.
        """
        moment = pa.array(s * DAY_MS, pa.int64()).cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
        columns = {self.log.columns.player: player, self.moment: moment, **own}
        if self.plan.parts is not None:
            split = _split(player, s, self.plan)
            columns |= {"churned": churned.cast(pa.bool_()), "split": pa.array(split)}
            self._churned += int(np.count_nonzero(churned.to_numpy()))
            for name in PARTS:
                self._split[name] += int((split == name).sum())
        table = pa.table(columns)
        self._schema = table.schema
        self._writer.add(table)

    def finish(self) -> Written:
        """Write what is left.

        Raises:
            ValueError: If there is no snapshot, or all are alike.
        """
        if self._schema is None or not self._writer.rows:
            raise ValueError(_nobody(self.plan, self.log))
        self._writer.finish(self._schema)
        written = Written(self._writer.rows, self._churned, self._split, self.plan.grid.end, self._schema)
        if self.plan.parts is not None and self._churned in (0, written.rows):
            raise ValueError(_one_class(written, self.plan))
        return written


def _split(players: pa.ChunkedArray, s: np.ndarray, plan: Plan) -> np.ndarray:
    """Part of each snapshot, objects [N]."""
    assert plan.parts is not None
    found = np.full(len(s), "none", object)
    for name, times in zip(PARTS[:3], plan.parts, strict=True):
        found[(s >= times[0]) & (s <= times[-1])] = name
    if plan.apart:
        chosen = test_players(players, 0.5, plan.seed)
        found[np.where(found == "test", ~chosen, chosen)] = "none"
    return found


def _nobody(plan: Plan, log: Log) -> str:
    within = plan.rules.active_within
    if plan.parts is None:
        return (
            f"no player was active in the {within} days before {iso(plan.grid.first)}; the log ends on "
            f"{iso(log.end_day - 1)}: give another --at, or a longer --active-within"
        )
    return (
        f"no player was active in the {within} days before any of the {plan.grid.end} snapshot times; "
        "give a longer --active-within, or a smaller --step"
    )


def _one_class(written: Written, plan: Plan) -> str:
    what = "all" if written.churned else "none"
    change = "longer" if written.churned else "shorter"
    return (
        f"{what} of the {written.rows:,} snapshots have churned within {plan.rules.horizon} days, so there is "
        f"nothing to learn; give a {change} --horizon, or more of the log"
    )


def document_of(kind: Kind, log: Log, plan: Plan, written: Written, like: Mapping[str, Any] | None) -> dict[str, Any]:
    """The `_schema.json` of what was written.

    Args:
        kind: What it holds.
        log: What it is of.
        plan: Which snapshots.
        written: How many.
        like: The document of earlier ones, whose columns were kept; None for none.
    """
    grid = plan.grid
    document: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "ludocast": __version__,
        "log": log.columns.named(),
        "time_unit": log.unit,
        "rules": plan.rules.document(),
        "snapshots": {"first": iso(grid.first), "last": iso(grid.day(grid.end - 1)), "number": grid.end},
        "log_days": {"first": iso(log.first_day), "last": iso(log.end_day - 1)},
        "rows": written.rows,
        "columns": {field.name: str(field.type) for field in written.schema},
    }
    if plan.parts is not None:
        spans = {name: [iso(int(times[0])), iso(int(times[-1]))] for name, times in plan.parts._asdict().items()}
        document |= {
            "label": "churned", "split": "split", "churned": written.churned, "split_rows": written.split,
            "split_times": spans, "players_apart": plan.apart,
        }  # fmt: skip
    if like is not None:
        document["like"] = like["snapshots"]
    return document
