"""The isolation forest: its depths by hand, and bots among players."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from ludocast.datamodules.fit_distances import fit_distances
from ludocast.datamodules.simulate_segments import simulate_segments
from ludocast.models.segments.anomalies import expected_depth, fit_anomalies
from sklearn.metrics import roc_auc_score

from tests.models.segments.made import read


def test_the_expected_depth_by_hand() -> None:
    # c(n) = 2 H(n − 1) − 2 (n − 1) / n, H(i) ≈ ln i + 0.5772
    wanted = [0, 1, 2 * (np.log(255) + 0.5772156649) - 510 / 256]
    assert expected_depth(np.array([1, 2, 256])).tolist() == pytest.approx(wanted)


def test_bots_have_the_highest_scores() -> None:
    table, _ = simulate_segments(1000, 0)
    bots = {"days_played": 30.0, "level": 79, "spent": 0.01, "night_share": 0.99, "subscribed": True, "device": "phone"}
    for name, value in bots.items():
        column = pa.array([value] * 10 + table[name].to_pylist()[10:], table[name].type)
        table = table.set_column(table.column_names.index(name), name, column)
    schema, columns = read(table)
    preprocessing = fit_distances(schema, columns).preprocessing
    encoded = preprocessing.encode(columns)
    scores = fit_anomalies(encoded, preprocessing.code_sizes, 0).scores(encoded)
    assert roc_auc_score(np.arange(1000) < 10, scores) > 0.95
