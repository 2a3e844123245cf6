"""`--logger`: what MLflow, TensorBoard and CSV then hold of every training, every learner and the test of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.simulate import simulate

from ludocast.__main__ import main
from tests.recipes.made_events import make_files

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


def figures(run: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run, "metrics.json").read_text())
    return found


def client() -> Any:
    """MLflow's own, of the embedded store."""
    mlflow = pytest.importorskip("mlflow", reason="ludocast[mlflow] is not installed")
    pytest.importorskip("sqlalchemy", reason="ludocast[mlflow] is not installed")
    pytest.importorskip("alembic", reason="ludocast[mlflow] is not installed")
    return mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")


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
    store = client()
    assert main([*TRAIN, "--logger", "mlflow"]) == 0
    (run,) = store.search_runs([store.get_experiment_by_name("ludocast").experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert (run.data.params["epochs"], run.data.params["label"]) == ("2", "churned")
    assert run.data.metrics["test/auc"] == pytest.approx(figures()["metrics"]["auc"]["value"])
    assert "leaderboard/gradient boosting/auc" in run.data.metrics
    name = next(name for name in run.data.metrics if name.endswith("/train_loss"))
    assert len(store.get_metric_history(run.info.run_id, name)) == 2


def test_mlflow_holds_recommenders_sequences_and_segments_in_one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    store = client()
    make_files(Path())
    generator = np.random.default_rng(0)
    owned = [(player, thing) for player in range(60) for thing in generator.choice(20, 6, replace=False)]
    pd.DataFrame(owned, columns=["player", "thing"]).to_csv("owned.csv", index=False)
    asked = {
        "next": ["train", "recommend", "--data", "owned.csv", "--user", "player", "--item", "thing", "--draws", "1"],
        "words": ["train", "sequence", "--task", "tag", "--data", "train.ctf", "--test", "test.ctf", "--hidden", "4"],
        "groups": ["segment", "--data", "game/players.csv", "--exclude", "player_id", "--method", "kmeans"],
    }
    asked["next"] += ["--members", "2", "--epochs", "2"]
    asked["words"] += ["--epochs", "3", "--accelerator", "cpu"]
    for out, words in asked.items():
        assert main([*words, "--out", out, "--logger", "mlflow"]) == 0
    found = store.search_runs([store.get_experiment_by_name("ludocast").experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(asked, "FINISHED")

    def steps(out: str, name: str) -> dict[int, float]:
        return {one.step: one.value for one in store.get_metric_history(runs[out].info.run_id, name)}

    of_items, of_words = runs["next"].data.metrics, runs["words"].data.metrics
    assert of_items["test/ndcg_at_10"] == pytest.approx(figures("next")["metrics"]["ndcg@10"]["value"])
    second = figures("next")["leaderboard"][1]
    assert of_items[f"leaderboard/{second['model']}/ndcg_at_10"] == pytest.approx(second["ndcg@10"])
    trained = [name for name in of_items if name.endswith("/train_loss")]
    assert sorted(trained) == sorted(f"network{number}/train_loss" for number in ("", " 2", " 3", " 4"))
    assert all(len(steps("next", name)) == 2 for name in trained)
    assert of_words["test/accuracy"] == pytest.approx(figures("words")["metrics"]["accuracy"])
    assert of_words["leaderboard/the usual tag of each word/accuracy"] == pytest.approx(
        figures("words")["baselines"]["the usual tag of each word"]["accuracy"]
    )
    assert len(steps("words", "network/train_loss")) == 3
    criteria = {one["k"]: one["stability"] for one in figures("groups")["candidates"]}
    assert steps("groups", "kmeans/stability") == pytest.approx(criteria)
    assert runs["groups"].data.metrics["segments/silhouette"] == pytest.approx(
        figures("groups")["metrics"]["silhouette"]
    )


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
