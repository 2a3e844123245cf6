"""`experiment.yaml` and `ludocast run`: the same numbers and the same model again, and what is said where not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ludocast.datamodules.simulate import simulate

from ludocast.__main__ import main

TRAIN = [
    "train", "churn", "--data", "game/players.csv", "--label", "churned", "--positive", "yes", "--exclude",
    'player_id,"a,b"', "--model", "network", "--members", "1", "--epochs", "1", "--seed", "5",
]  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def model_hash(run: str) -> str:
    return str(json.loads(Path(run, "bundle", "bundle.json").read_text())["files"]["model.onnx"])


def test_a_run_is_done_again_to_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    simulate(300, Path("game"), seed=1)
    text = Path("game/players.csv").read_text()
    head, *rows = text.splitlines()
    Path("game/players.csv").write_text("\n".join([f'{head},"a,b"', *(f"{row},1" for row in rows)]) + "\n")
    assert main([*TRAIN, "--out", "first"]) == 0
    document = yaml.safe_load(Path("first/experiment.yaml").read_text())
    assert document["command"] == "train churn"
    options = document["options"]
    assert (options["seed"], options["exclude"], options["name"]) == (5, ["player_id", "a,b"], "first")
    assert "out" not in options
    assert document["sha256"] == {"data": hashlib.sha256(Path("game/players.csv").read_bytes()).hexdigest()}
    assert document["libraries"]["torch"]
    capsys.readouterr()
    assert main(["run", "first/experiment.yaml", "--out", "again"]) == 0
    assert "is not what it was" not in capsys.readouterr().out
    assert model_hash("again") == model_hash("first")
    first, again = (json.loads(Path(run, "metrics.json").read_text()) for run in ("first", "again"))
    for row in (*first["learners"], *again["learners"]):
        del row["seconds"]
    assert again == first
    records = [yaml.safe_load(Path(run, "experiment.yaml").read_text()) for run in ("first", "again")]
    assert records[0] == records[1]
    assert main(["runs", "compare", "first", "again"]) == 0
    assert "again and first cannot be told apart" in capsys.readouterr().out
    assert main(["run", "first", "--out", "again"]) == 2
    assert "again exists" in capsys.readouterr().err
    Path("game/players.csv").write_text("player_id,churned\n1,yes\n")
    assert main(["run", "first", "--out", "third"]) == 2
    assert "note: --data game/players.csv is not what it was (another SHA-256)" in capsys.readouterr().out


def test_a_table_is_done_again_and_logged(capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"size": generator.normal(size=200), "kind": generator.choice(["a", "b"], 200)})
    frame.assign(price=3 * frame["size"] + generator.normal(size=200)).to_csv("houses.csv", index=False)
    asked = ["--data", "houses.csv", "--label", "price", "--learners", "linear,tree", "--logger", "csv"]
    assert main(["train", "table", *asked, "--out", "first"]) == 0
    (logged,) = Path("first").rglob("metrics.csv")
    assert "test/rmse" in pd.read_csv(logged).columns
    assert main(["run", "first", "--out", "again"]) == 0
    assert model_hash("again") == model_hash("first")
    assert not list(Path("again").rglob("metrics.csv"))
    capsys.readouterr()
    assert main(["runs", "list", "."]) == 0
    assert "rmse" in capsys.readouterr().out.splitlines()[0]


def test_segments_are_found_again() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"size": np.repeat([0, 9], 40) + generator.normal(size=80), "id": range(80)})
    frame.to_csv("things.csv", index=False)
    asked = ["--data", "things.csv", "--exclude", "id", "--method", "kmeans", "--k", "2", "--anomalies"]
    assert main(["segment", *asked, "--out", "first"]) == 0
    assert main(["run", "first", "--out", "again"]) == 0
    assert model_hash("again") == model_hash("first")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("command: [", "no YAML"),
        ("3", 'holds no "command" and "options"'),
        ("command: serve\noptions: {}", '"command" is one of train churn, '),
        ("command: train churn\noptions: [3]", '"options" holds options and their values'),
        ("command: train churn\noptions: {data: gone.csv, label: y}", "there is no file gone.csv"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
        ("a: " + "[" * 5000, "no YAML"),
    ],
)
def test_what_is_no_experiment_is_told(content: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("experiment.yaml").write_text(content)
    assert main(["run", "experiment.yaml"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["experiment.yaml"]


def test_a_missing_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "gone.yaml"]) == 2
    assert "gone.yaml cannot be read: No such file" in capsys.readouterr().err
