"""Drift of shares, and names that stay from run to run."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.segments.compare import aligned_names, drift
from scipy.stats import chi2_contingency


def test_drift_by_hand() -> None:
    before, after = np.repeat([0, 1], [50, 50]), np.repeat([0, 1], [80, 20])
    found = drift(before, after, 2, None)
    assert found.after.tolist() == [0.8, 0.2]
    p, q = np.array([50.5, 50.5]) / 101, np.array([80.5, 20.5]) / 101
    assert found.index == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert found.p == pytest.approx(chi2_contingency([[50, 50], [80, 20]], correction=False).pvalue)
    assert "much drift" in found.sentence()
    assert "little drift" in drift(before, before, 2, None).sentence()


def test_segments_keep_their_names_and_new_ones_get_new_ones() -> None:
    now = np.repeat([0, 1, 2], [40, 30, 30])
    # What is now 0 was "b", what is now 1 was "2"; 2 took five rows of each of six others, all of which others hold.
    then = np.array(["b"] * 40 + ["2"] * 30 + ["b"] * 10 + ["2"] * 8 + ["3"] * 12, object)
    assert aligned_names(now, 3, then, ("2", "b", "3")) == ("b", "2", "3")
    assert aligned_names(now, 3, np.where(then == "3", "b", then), ("2", "b")) == ("b", "2", "3")
    assert aligned_names(np.zeros(4, int), 1, np.array(["7", "7", "7", "9"], object), ("7", "9")) == ("7",)
