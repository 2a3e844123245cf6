from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.blend import blend_weights
from ludocast.models.learner import least_setting


def test_a_useless_candidate_is_dropped_where_rows_are_many_and_kept_where_they_are_few() -> None:
    generator = np.random.default_rng(0)
    good = generator.normal(size=(20_000, 1)) * 2
    label = (generator.random(20_000) < 1 / (1 + np.exp(-good[:, 0]))).astype(int)
    logits = {"good": good, "noise": generator.normal(size=good.shape) * 2}
    assert blend_weights(logits, label) == {"good": 1.0, "noise": 0.0}
    few = blend_weights({name: value[:4] for name, value in logits.items()}, label[:4])
    assert 0.2 < few["noise"] < 0.6


def test_a_candidate_that_adds_nothing_is_left_out_where_rows_are_many() -> None:
    generator = np.random.default_rng(0)
    good, other = generator.normal(size=(2, 20_000, 1))
    label = (generator.random(20_000) < 1 / (1 + np.exp(-(good + other)[:, 0]))).astype(int)
    near = good + 0.1 * generator.normal(size=good.shape)
    assert blend_weights({"near": near, "good": good}, label) == {"near": 0.0, "good": 1.0}
    assert min(blend_weights({"near": near[:4000], "good": good[:4000]}, label[:4000]).values()) > 0.1
    both = blend_weights({"good": good, "other": other}, label)  # neither can be missed
    assert both == pytest.approx({"good": 0.5, "other": 0.5}, abs=0.02)


def test_the_fewest_rounds_that_are_not_noticeably_worse() -> None:
    label = np.array([0, 1, 1])
    sign = np.where(label == 1, 1.0, -1.0)[:, None]
    assert least_setting({100.0: sign, 200.0: 1.0004 * sign, 400.0: 1.0005 * sign}, label) == 100.0
    assert least_setting({100.0: sign, 200.0: 1.1 * sign, 400.0: 1.1001 * sign}, label) == 200.0
