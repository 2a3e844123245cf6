"""Players asked about again: what is known then by a plain loop, whom the rules choose, where the risk rose."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.event_sources import ChurnSource, LogColumns
from ludocast.datamodules.time_features import DAY
from ludocast.models.sequence.timelines import Timeline, chosen_snapshots

BEGIN = 1_700_006_400.0  # a midnight


def source(folder: Path, inputs: Literal["days", "events"]) -> ChurnSource:
    """Player a has events at hours 6, 6 and 30 of day 40, b on all of 200 days, so that there are snapshots."""
    rows = [("a", BEGIN + 40 * DAY + hours * 3_600, name) for hours, name in ((6, "x"), (6, "y"), (30, "x"))]
    rows += [("b", BEGIN + day * DAY + 60, "x") for day in range(200)]
    pd.DataFrame(rows, columns=["player", "time", "event"]).to_csv(folder / "log.csv", index=False)
    return ChurnSource(LogColumns(folder / "log.csv", "player", "time", "event"), inputs, days_per_step=1)


def test_days_are_asked_at_midnights_while_the_player_is_active(tmp_path: Path) -> None:
    lines = source(tmp_path, "days").read().timelines
    assert lines is not None
    asked = lines.asked("a", BEGIN)
    # First known at the midnight of day 41; seen last in day 41, so asked about up to the midnight of day 48.
    assert ((asked.time - BEGIN) / DAY).tolist() == [41, 42, 43, 44, 45, 46, 47, 48]
    bits = asked.sequences.compact().steps["numbers"].reshape(-1, 56)
    for moment, row in zip(asked.time, bits, strict=True):
        days = [BEGIN + 40 * DAY, BEGIN + 41 * DAY]
        known = {int((moment - day) / DAY) for day in days if day < moment}
        assert {56 - k for k in np.flatnonzero(row).tolist()} == known
    assert len(lines.asked("a", BEGIN + 49 * DAY).time) == 0


def test_events_are_asked_after_each_too(tmp_path: Path) -> None:
    lines = source(tmp_path, "events").read().timelines
    assert lines is not None
    asked = lines.asked("a", BEGIN)
    after = [BEGIN + 40 * DAY + hours * 3_600 + 1 for hours in (6, 30)]
    assert set(after) <= set(asked.time.tolist())
    known = dict(zip(asked.time.tolist(), asked.sequences.lengths.tolist(), strict=True))
    assert [known[moment] for moment in after] == [2, 3]  # two events at one time are one moment
    assert known[BEGIN + 41 * DAY] == 2
    assert asked.names.tolist() == ["x", "y", "x"]


@pytest.mark.parametrize("inputs", ["days", "events"])
def test_at_a_snapshot_the_same_is_known_as_in_the_test_part(tmp_path: Path, inputs: Literal["days", "events"]) -> None:
    parts = source(tmp_path, inputs).read()
    assert parts.timelines is not None
    assert parts.players is not None
    static, lengths = parts.test.static, parts.test.lengths
    asked = parts.timelines.asked("b", float(static["time"].min()))
    rows = parts.test.compact()
    for row, (player, time) in enumerate(zip(static["player"], static["time"], strict=True)):
        assert parts.players[player] == "b"
        (k,) = np.flatnonzero(asked.time == time)
        same = asked.sequences.rows(np.array([k])).compact().steps
        for name, values in same.items():
            assert lengths[row] == len(values)
            np.testing.assert_array_equal(values, rows.steps[name][rows.begin[row] : rows.end[row]])


def test_the_rules_choose_different_players() -> None:
    rows = [
        ("high once", 1, 0, 0.95),
        ("high", 1, 0, 0.80), ("high", 2, 1, 0.95), ("high", 3, 0, 0.40),
        ("low", 1, 0, 0.01), ("low", 2, 0, 0.02),
        ("up", 1, 0, 0.10), ("up", 2, 0, 0.70), ("up", 3, 0, 0.10),
        ("left", 1, 0, 0.30), ("left", 2, 1, 0.50), ("left too", 1, 0, 0.80), ("left too", 2, 1, 0.90),
        ("left three", 1, 0, 0.30), ("left three", 2, 1, 0.20), ("left at once", 1, 1, 0.51),
        ("stays", 1, 0, 0.22), ("stays too", 1, 0, 0.31),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["player", "time", "label", "probability"])
    found = {why: (row.player, row.time) for why, row in chosen_snapshots(table).items()}
    assert found == {
        "the highest risk": ("high", 2), "the lowest risk": ("low", 1), "the steepest rise": ("up", 2),
        "one who left": ("left", 2), "one who stayed": ("stays", 1),
    }  # fmt: skip
    assert list(chosen_snapshots(table[table["player"] == "low"])) == ["the highest risk"]


def test_the_rise_by_hand() -> None:
    def line(p: list[float]) -> Timeline:
        return Timeline("a", "", np.arange(len(p)) * DAY, np.array(p), np.zeros(1), np.array(["x"]), 0.0, True)

    assert line([0.1, 0.2, 0.5, 0.4, 0.6]).rise == 2
    assert line([0.3, 0.2]).rise is None
    assert line([0.3]).rise is None
