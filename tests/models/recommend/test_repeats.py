"""Items that are bought again, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.user_items import user_items_of_frame, user_items_of_matrix
from ludocast.models.recommend.repeats import repeats_of

from tests.models.recommend.made import random_history


def test_a_share_of_buyers_smoothed_to_that_of_all() -> None:
    # Ten buyers of gems, of whom six buy again; thirty of swords, of whom one does; two of potions, of whom one does.
    rows = [(user, "gem", day) for user in range(10) for day in range(2 if user < 6 else 1)]
    rows += [(user, "sword", day) for user in range(30) for day in range(2 if user < 1 else 1)]
    rows += [(user, "potion", day) for user in range(2) for day in range(3 if user < 1 else 1)]
    table = pd.DataFrame(rows, columns=["user", "item", "day"])
    data = user_items_of_frame(table.assign(day=pd.Timestamp("2024-01-01") + pd.to_timedelta(table["day"], unit="D")),
                               "user", "item", time="day")  # fmt: skip
    found = repeats_of(data)
    assert data.items.tolist() == ["gem", "potion", "sword"]
    assert found.overall == pytest.approx(8 / 42)
    wanted = [(6 + 80 / 42) / 20, (1 + 80 / 42) / 12, (1 + 80 / 42) / 40]
    assert found.share.tolist() == pytest.approx(wanted)
    assert found.is_repeated.tolist() == [True, False, False]  # two buyers of potions are too few
    note = found.note(data.items, is_used=False)
    assert note.startswith("1 of 3 items are bought again by 25% of their buyers or more (gem 40%; smoothed as if 10 ")


def test_a_log_of_distinct_pairs_tells_of_none() -> None:
    data = user_items_of_matrix(random_history())
    found = repeats_of(data)
    assert not found.is_repeated.any()
    assert found.note(data.items, is_used=True) == ""
    assert np.isfinite(found.share).all()
