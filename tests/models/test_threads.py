"""How threads wait reaches every copy of OpenMP; little work has one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ludocast.models.threads import LITTLE, SAID_BY_USER, WAITING, let_waiting_threads_sleep, threads_for
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_info, threadpool_limits

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks GNU's library")
def test_the_libraries_of_a_training_are_told() -> None:
    unsaid = {name: value for name, value in os.environ.items() if name not in SAID_BY_USER}
    environment = {**unsaid, "PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "verbose"}
    command = [sys.executable, "-m", "ludocast", "train", "table", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = [line.strip() for line in done.stderr.splitlines() if "SPINCOUNT" in line or "WAIT_POLICY" in line]
    assert set(told) == {"GOMP_SPINCOUNT = '5000'", "OMP_WAIT_POLICY = 'PASSIVE'"}
    assert len(told) >= 4  # torch and scikit-learn bring a copy each


@pytest.mark.parametrize("name", SAID_BY_USER)
def test_what_the_user_says_of_waiting_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other in SAID_BY_USER:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "7")
    let_waiting_threads_sleep()
    assert {other: os.environ[other] for other in SAID_BY_USER if other in os.environ} == {name: "7"}
    monkeypatch.delenv(name)
    let_waiting_threads_sleep()
    assert {other: os.environ.get(other) for other in WAITING} == WAITING


def test_few_values_have_one_thread_and_many_what_there_was() -> None:
    with threadpool_limits(2):
        before = [pool["num_threads"] for pool in threadpool_info()]
        assert max(before) == 2
        with threads_for(LITTLE + 1):
            assert [pool["num_threads"] for pool in threadpool_info()] == before
        with threads_for(LITTLE):
            assert {pool["num_threads"] for pool in threadpool_info()} == {1}
            assert torch.get_num_threads() == 1
        assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_a_model_is_the_same_by_one_thread_and_by_two() -> None:
    columns = np.random.default_rng(0).normal(size=(500, 4))
    label = columns[:, 0] + columns[:, 1] ** 2 > 0.5
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(HistGradientBoostingClassifier(max_iter=20).fit(columns, label).predict_proba(columns))
    assert (found[0] == found[1]).all()
