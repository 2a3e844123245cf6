"""Training on more snapshots than are held in memory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.recipes.labelled_table import LabelledTable, read_labelled_table
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.datamodules.data_sets import spoil, write_parts
from tests.datamodules.etl.logs import random_events, write_log
from tests.recipes.test_torchrun import ENVIRONMENT, TORCHRUN, run

WINDOWS = ["--observe=28d", "--horizon=14d", "--active-within=7d", "--step=7d"]
NETWORK = ["train", "churn", "--model=network", "--members=2", "--epochs=3", "--accelerator=cpu", "--name=n"]


def read(folder: Path, most_rows: int) -> LabelledTable:
    return read_labelled_table(folder, None, None, [], None, None, None, 0, "utf-8", None, None, most_rows=most_rows)


@pytest.fixture(scope="module")
def snaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snapshots in 3 files and 15 or so row groups."""
    folder = tmp_path_factory.mktemp("log")
    log = write_log(random_events(4, players=160, days=150), folder / "log.parquet")
    assert main(["snapshots", "--log", str(log), "--out", str(folder / "whole"), *WINDOWS]) == 0
    frame = pd.read_parquet(folder / "whole")
    write_parts(frame, folder / "snaps", group_rows=-(-len(frame) // 15))
    for name in ("_schema.json", "_features.json"):
        shutil.copy(folder / "whole" / name, folder / "snaps")
    return folder / "snaps"


def test_all_rows_train_and_test_a_sample_describes(snaps: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(snaps)
    sizes = frame.split.value_counts()
    hashes = []
    for name in ("a", "b"):
        out = tmp_path / name
        assert main([*NETWORK, "--data", str(snaps), "--out", str(out), "--most-rows=150"]) == 0
        hashes.append(json.loads((out / "bundle" / "bundle.json").read_text())["files"]["model.onnx"])
    assert hashes[0] == hashes[1]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["rows"] == {"training": sizes["train"], "test": sizes["test"], "validation": sizes["validation"]}
    assert f"come from 150 of {sizes['train']:,} of them drawn at random (seed 0)" in metrics["warnings"][-1]
    assert not (out / "split.csv").exists()
    assert "more training rows than --most-rows" in (out / "report.html").read_text()
    # What is reported is true of all test rows: AUC as its definition says, the share of pairs in the right order.
    test = frame[frame.split == "test"]
    p = Scorer.load(out / "bundle").predict(test).probabilities[:, 1]
    hit = test.churned.to_numpy()
    pairs = (p[hit][:, None] > p[~hit][None]).mean() + 0.5 * (p[hit][:, None] == p[~hit][None]).mean()
    assert pairs == pytest.approx(metrics["metrics"]["auc"]["value"], abs=1e-5)


def test_what_fits_is_read_as_before(snaps: Path) -> None:
    frame = pd.read_parquet(snaps)
    rows = int((frame.split == "train").sum())
    whole, part = read(snaps, rows), read(snaps, rows - 1)
    assert whole.stream is None
    assert whole.shown is None
    assert (whole.label == frame.churned).all()
    assert part.stream is not None
    assert part.rows == whole.rows
    assert len(part.split.train) == rows - 1
    assert part.shown is not None
    np.testing.assert_array_equal(
        part.label[part.split.test], frame.churned[frame.split == "test"].to_numpy()[part.shown]
    )
    for (columns, label), (expected, known) in zip([_joined(part)], whole.test_pieces(), strict=True):
        np.testing.assert_array_equal(label, known)
        for name in columns:
            np.testing.assert_array_equal(columns[name], expected[name])


def _joined(table: LabelledTable) -> tuple[dict[str, np.ndarray], np.ndarray]:
    pieces = list(table.test_pieces())
    assert len(pieces) > 1
    columns = {name: np.concatenate([found[name] for found, _ in pieces]) for name in pieces[0][0]}
    return columns, np.concatenate([label for _, label in pieces])


@pytest.mark.parametrize("most_rows", [150, 1_000_000])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("corrupt", "part-00001.parquet, row group 3 of 5 cannot be read"),
        ("schema", "in {bad}/part-00002.parquet and"),
        ("no rows", "the validation part (0 rows"),
        ("one class", 'the label "churned" is always "false"'),
        ("one class in test", 'has no row with "churned" = "true"'),
        ("no file", "holds no Parquet file"),
    ],
)
def test_what_cannot_be_used_is_said(
    snaps: Path, tmp_path: Path, most_rows: int, change: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = shutil.copytree(snaps, tmp_path / "bad")
    last = bad / "part-00002.parquet"
    frame = pd.read_parquet(snaps)
    if change == "corrupt":
        spoil(bad / "part-00001.parquet", 2, "days_since_last")
    elif change == "schema":
        pd.read_parquet(last).rename(columns={"streak": "strike"}).to_parquet(last)
    elif change == "no rows":
        write_parts(frame[frame.split != "validation"], bad)
    elif change == "one class":
        write_parts(frame.assign(churned=False), bad)
    elif change == "one class in test":
        write_parts(frame.assign(churned=frame.churned & (frame.split != "test")), bad)
    else:
        for file in bad.glob("*.parquet"):
            file.unlink()
    assert main([*NETWORK, "--data", str(bad), "--out", str(tmp_path / "run"), f"--most-rows={most_rows}"]) == 2
    error = capsys.readouterr().err
    assert said.format(bad=bad) in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("run*"))


def test_text_of_many_values_does_not_stream(snaps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_parquet(snaps)
    own = [f"n{number % 40}" for number in range(len(frame))]
    shutil.copytree(snaps, tmp_path / "text")
    write_parts(frame.assign(clan=own), tmp_path / "text")
    assert main([*NETWORK, "--data", str(tmp_path / "text"), "--out", str(tmp_path / "run"), "--most-rows=150"]) == 2
    assert 'column "clan" is text with so many values' in capsys.readouterr().err
    assert main([*NETWORK, "--data", str(snaps), "--out", str(tmp_path / "other"), "--most-rows=9"]) == 2
    assert "--most-rows is 100 or more" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_killed_and_resumed_make_the_unbroken_run(snaps: Path, tmp_path: Path) -> None:
    words = [*TORCHRUN, *NETWORK, "--data", str(snaps), "--most-rows=150", "--compression=none"]
    whole = run([*words, "--out", "whole"], tmp_path)
    assert whole.returncode == 0, whole.stderr
    launcher = subprocess.Popen(
        [*words, "--out", "cut"], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoint = tmp_path / "cut.partial" / "checkpoints" / "network" / "last.ckpt"
    while not checkpoint.exists() and launcher.poll() is None:
        time.sleep(0.01)
    workers = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    assert launcher.wait(timeout=60) != 0
    resumed = run([*words, "--out", "cut", "--resume"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    hashes = {
        json.loads((tmp_path / name / "bundle" / "bundle.json").read_text())["files"]["model.onnx"]
        for name in ("whole", "cut")
    }
    assert len(hashes) == 1
