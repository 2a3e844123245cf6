from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.etl.rules import Rules
from ludocast.datamodules.snapshots import find_snapshots, split_snapshots

from tests.datamodules.etl.logs import random_events, snapshots_of
from tests.datamodules.etl.reference import reference

RULES = {
    "usual": Rules(28, 0, 14, 7, 7),
    "gap": Rules(15, 3, 10, 4, 6, time_zone="America/New_York"),
    "daily": Rules(8, 1, 5, 8, 1, session_ms=600_000, time_zone="Asia/Kolkata"),
    "short": Rules(5, 0, 30, 5, 9),
    "long": Rules(57, 0, 7, 7, 8, time_zone="Europe/Berlin"),
    "brief sessions": Rules(14, 0, 10, 7, 9, session_ms=1_500, time_zone="Asia/Kathmandu"),
    "no pause at all": Rules(14, 0, 10, 7, 12, session_ms=0),
    "half a day": Rules(14, 0, 10, 7, 9, session_ms=43_200_000, time_zone="Asia/Kathmandu"),
}


@pytest.mark.parametrize("name", RULES)
def test_features_and_labels_equal_the_reference(name: str) -> None:
    rules = RULES[name]
    events = random_events(sorted(RULES).index(name), players=14, days=130)
    found, plan = snapshots_of(events, rules)
    wanted = pd.DataFrame(
        reference(
            events, observe=rules.observe, gap=rules.gap, horizon=rules.horizon, active_within=rules.active_within,
            step=rules.step, session_ms=rules.session_ms, zone=rules.time_zone, types=plan.contents.types,
        )
    )  # fmt: skip
    assert len(wanted) > 30
    assert set(found.columns) == set(wanted.columns)
    for column in ("player", "s", "churned"):
        assert found[column].tolist() == wanted[column].tolist(), column
    for column in wanted.columns.difference(["player"]):
        got, want = found[column].to_numpy(float), wanted[column].to_numpy(float)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12, err_msg=column)
        if column.startswith(("events_", "active_days_", "sessions_", "payments_")):
            assert np.isfinite(got).all() or "trend" in column or "per" in column, column


def test_eligibility_and_labels_equal_those_of_sequences() -> None:
    # The two users of `Windows`: arrays of events in memory, and tables.
    rules = RULES["gap"]
    events = random_events(11, players=30, days=120)
    found, plan = snapshots_of(events, rules)
    ordered = sorted(events, key=lambda event: (event.player, event.time))
    players, counts = np.unique([event.player for event in ordered], return_counts=True)
    rows = find_snapshots(
        np.array([event.time / 1000 for event in ordered]), np.append(0, np.cumsum(counts)), observe=rules.observe,
        gap=rules.gap, horizon=rules.horizon, active_within=rules.active_within, step=rules.step,
    )  # fmt: skip
    wanted = pd.DataFrame({"s": rows.time / 86_400, "player": players[rows.player], "churned": rows.churned})
    wanted = wanted.sort_values(["s", "player"], ignore_index=True)
    assert wanted.to_numpy().tolist() == found[["s", "player", "churned"]].to_numpy().tolist()
    split, parts = split_snapshots(rows), plan.parts
    assert parts is not None
    for name in ("train", "validation", "test"):
        assert set(rows.time[getattr(split, name)] / 86_400) <= set(getattr(parts, name)), name
