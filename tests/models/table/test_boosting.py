"""Trees for export add up to what the library says, missing values included; rounds count from the first."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.table.boosting import Boosting, Shape, Tree, fit_histogram, fit_lightgbm

SHAPE = Shape(leaves=6, rate=0.2, rounds=12)


def walk(tree: Tree, row: np.ndarray) -> float:
    node = 0
    while tree.feature[node] >= 0:
        x = row[tree.feature[node]]
        goes_left = bool(tree.missing_left[node]) if np.isnan(x) else bool(x <= tree.threshold[node])
        node = int(tree.left[node] if goes_left else tree.right[node])
    return float(tree.value[node])


def data(classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    raw = generator.normal(size=(400, 4)).astype(np.float32)
    raw[generator.random(400) < 0.2, 1] = np.nan  # column 1 has gaps, column 0 none
    label = ((raw[:, 0] > 0).astype(int) + (np.nan_to_num(raw[:, 1]) > 0.5)) % classes
    return raw, label


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("library", ["scikit-learn", "LightGBM"])
def test_the_trees_add_up_to_the_logits(library: str, classes: int) -> None:
    raw, label = data(classes)
    if library == "LightGBM":
        pytest.importorskip("lightgbm", reason="the extra [boosting] is not installed")
        model = fit_lightgbm(raw, label, classes, SHAPE, 12, seed=0)
    else:
        model = fit_histogram(raw, label, SHAPE, 12, seed=0)
    model = Boosting(model.model, model.base, 7)
    some = raw[:50].copy()
    some[:5, 0] = np.nan  # missing where training had none
    wanted = np.tile(model.base, (50, 1))
    trees = model.trees()
    assert len(trees) == 7 * (1 if classes == 2 else classes)
    for tree in trees:
        for n in range(50):
            wanted[n, tree.output] += walk(tree, some[n])
    np.testing.assert_allclose(model.logits(some), wanted, atol=1e-9)
    np.testing.assert_allclose(model.staged_logits(some, [3, 7])[1], wanted, atol=1e-9)
    assert not np.allclose(model.staged_logits(some, [3, 7])[0], wanted)
