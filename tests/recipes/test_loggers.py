"""`train churn --logger`: what MLflow, TensorBoard and CSV then hold of every training, every learner and the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ludocast.datamodules.simulate import simulate

from ludocast.__main__ import main

TRAIN = [
    "train", "churn", "--data", "game/players.csv", "--label", "churned", "--positive", "yes", "--exclude", "player_id",
    "--model", "network", "--members", "1", "--epochs", "2", "--out", "run",
]  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    simulate(300, tmp_path / "game", seed=1)
    return tmp_path


def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("run", "metrics.json").read_text())
    return found


def test_a_csv_file_holds_trainings_learners_and_test() -> None:
    assert main([*TRAIN, "--logger", "csv"]) == 0
    (file,) = Path("run").rglob("metrics.csv")
    table = pd.read_csv(file)
    losses = [name for name in table.columns if name.endswith("/train_loss")]
    assert losses
    assert all(table[name].notna().sum() == 2 for name in losses)  # of two epochs each
    assert table["test/auc"].dropna().tolist() == [figures()["metrics"]["auc"]["value"]]
    forest = next(one for one in figures()["leaderboard"] if one["name"] == "random forest")
    assert table["leaderboard/random forest/log_loss"].dropna().tolist() == [forest["log_loss"]["value"]]


def test_mlflow_holds_them_in_its_embedded_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow", reason="ludocast[mlflow] is not installed")
    pytest.importorskip("sqlalchemy", reason="ludocast[mlflow] is not installed")
    pytest.importorskip("alembic", reason="ludocast[mlflow] is not installed")
    assert main([*TRAIN, "--logger", "mlflow"]) == 0
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("ludocast")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert (run.data.params["epochs"], run.data.params["label"]) == ("2", "churned")
    assert run.data.metrics["test/auc"] == pytest.approx(figures()["metrics"]["auc"]["value"])
    assert "leaderboard/gradient boosting/auc" in run.data.metrics
    name = next(name for name in run.data.metrics if name.endswith("/train_loss"))
    assert len(client.get_metric_history(run.info.run_id, name)) == 2


@pytest.mark.slow
def test_tensorboard_holds_them() -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="ludocast[tensorboard] is not installed"
    )
    assert main([*TRAIN, "--logger", "tensorboard"]) == 0
    (file,) = Path("run").rglob("events.out.tfevents.*")
    found = accumulator.EventAccumulator(str(file.parent))
    found.Reload()
    assert [event.value for event in found.Scalars("test/auc")] == [
        pytest.approx(figures()["metrics"]["auc"]["value"], abs=1e-6)
    ]
    assert any(tag.endswith("/train_loss") for tag in found.Tags()["scalars"])
