"""From an event log to a bundle by one command."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.recipes.labelled_table import read_labelled_table
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.datamodules.etl.logs import random_events, write_log
from tests.serve.listening import listening

WINDOWS = ["--observe=28d", "--horizon=14d", "--active-within=7d", "--step=7d"]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(random_events(4, players=160, days=150), tmp_path_factory.mktemp("log") / "log.parquet")


def test_one_command_from_log_to_scores(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", "churn", "--log", str(log), "--out", str(run), "--model=boosting", *WINDOWS]) == 0
    assert f"ludocast snapshots --log LOG --like {run / 'snapshots'} --at end --out today\n" in capsys.readouterr().out
    frame = pd.read_parquet(run / "snapshots")
    schema = {column["name"]: column for column in json.loads((run / "schema.json").read_text())["columns"]}
    for name in ("player", "snapshot_time", "split"):
        assert schema[name]["kind"] == "ignored"
    parts = pd.read_csv(run / "split.csv")
    assert (parts.part.to_numpy() == frame.split.to_numpy()[parts.row - 1]).all()
    assert len(parts) == (frame.split != "none").sum() < len(frame)
    report = (run / "report.html").read_text()
    assert "by the time of the snapshots (train 2024-01-06 to" in report
    assert "observed 28 days, gap 0, left if not seen for 14, active within 7, every 7" in report
    assert json.loads((run / "metrics.json").read_text())["metrics"]["auc"]["value"] > 0.55
    # Today's players, by the same definitions.
    now = ["snapshots", "--log", str(log), "--like", str(run / "snapshots"), "--at=end", "--out", str(tmp_path / "now")]
    assert main(now) == 0
    assert " at 1 time in " in capsys.readouterr().out
    rows, scored = tmp_path / "now", tmp_path / "scored.parquet"
    assert main(["score", "--bundle", str(run / "bundle"), "--input", str(rows), "--output", str(scored)]) == 0
    answers = pd.read_parquet(scored)
    assert len(answers) == len(pd.read_parquet(rows)) > 10
    # Raw events of the same players, scored by the bundle alone.
    events = pd.read_parquet(log)
    at = f"{answers.snapshot_time[0]:%Y-%m-%d}"
    records = []
    for player in answers.player:
        own = events[events.player == player].sample(frac=1, random_state=1)
        own = own.assign(
            time=own.time.astype("int64") // 10**6 if own.time.dtype == "M8[ns]" else own.time.astype("int64")
        )
        columns = own.drop(columns="player").astype(object)
        records.append({"events": columns.where(columns.notna(), None).to_dict("records"), "at": at})
    scorer = Scorer.load(run / "bundle")
    found = scorer.predict_rows(records)
    assert not found.warnings
    np.testing.assert_array_equal(found.probabilities[:, 1], answers.scored_probability)
    with listening(run / "bundle") as url:
        request = urllib.request.Request(f"{url}/predict", json.dumps(records[0]).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.loads(response.read())["predictions"]
    assert answer[0]["probability"] == pytest.approx(answers.scored_probability[0], rel=1e-6)


def test_a_folder_of_snapshots_is_a_table(log: Path, tmp_path: Path) -> None:
    snaps = tmp_path / "snaps"
    assert main(["snapshots", "--log", str(log), "--out", str(snaps), *WINDOWS]) == 0
    table = read_labelled_table(snaps, None, None, [], None, None, None, 0, "utf-8", None, None)
    frame = pd.read_parquet(snaps)
    assert (table.label == frame.churned).all()
    assert table.schema.positive == "true"
    for name in ("train", "validation", "test"):
        assert getattr(table.split, name).tolist() == np.flatnonzero(frame.split == name).tolist()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label=churned"], "give either --data, a player table or a folder of snapshots, or --log"),
        (["--log=absent.parquet"], "there is no file absent.parquet"),
        (["--log={log}", "--split-time=time"], "snapshots have their own split"),
        (["--log={log}", "--label=left"], 'the label of snapshots is "churned"'),
        (["--log={log}", "--observe=500d"], "the log spans 150 days; a snapshot needs 528"),
        (["--log={log}", "--devices=2"], "call `ludocast snapshots` first"),
        (["--data={log}"], "--label names the column"),
        (["--data={folder}"], "no readable _schema.json"),
    ],
)
def test_what_does_not_serve_leaves_nothing(
    words: list[str], said: str, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(log=log, folder=tmp_path) for word in words]
    assert main(["train", "churn", "--out", str(tmp_path / "run"), *given]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
