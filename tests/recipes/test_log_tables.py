"""`ludocast sequences` and `ludocast interactions`: what they write, who reads it, what they say of bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ludocast.datamodules.event_sources import ChurnInputs, ChurnSource, LogColumns
from ludocast.datamodules.sequence import SequenceParts
from ludocast.datamodules.sequence_folder import SequenceFolderSource
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.user_item_splits import split_by_time
from ludocast.datamodules.user_items import read_user_items
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.datamodules.etl.logs import random_events, write_log

WINDOWS = ["--observe=28d", "--horizon=14d", "--active-within=1w", "--step=7d"]
EVENTS = random_events(2, players=60, days=130)
WRITTEN = {"snapshots": "snaps", "sequences": "seqs", "interactions": "pairs.parquet"}
ITEMS = ["--item=event", "--event=none"]  # kinds of events do for items


def run(command: str, *words: object) -> int:
    return main([command, *map(str, words), *(ITEMS if command == "interactions" else WINDOWS)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with log.parquet, snaps, seqs and pairs.parquet."""
    folder = tmp_path_factory.mktemp("made")
    log = write_log(EVENTS, folder / "log.parquet")
    for command, out in WRITTEN.items():
        assert run(command, "--log", log, "--out", folder / out) == 0
    return folder


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_sequences_are_of_the_snapshots(made: Path) -> None:
    snaps, seqs = pd.read_parquet(made / "snaps"), pd.read_parquet(made / "seqs")
    assert list(seqs.columns) == ["player", "now", "time", "event", "amount", "level", "churned", "split"]
    shared = ["player", "snapshot_time", "churned", "split"]
    pd.testing.assert_frame_equal(seqs.rename(columns={"now": "snapshot_time"})[shared], snaps[shared])
    np.testing.assert_array_equal(seqs["time"].map(len), snaps["events_28d"])
    spent = [float(np.nansum(amounts)) for amounts in seqs["amount"]]
    np.testing.assert_allclose(spent, snaps["spent_28d"], rtol=1e-9)
    document = json.loads((made / "seqs" / "_schema.json").read_text())
    assert document["events"] == snaps["events_28d"].sum()
    assert not list(made.glob(".*"))


@pytest.mark.parametrize("command", ["sequences", "interactions"])
def test_the_same_input_gives_the_same_bytes(command: str, made: Path, tmp_path: Path) -> None:
    table = pq.read_table(made / "log.parquet")
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    pq.write_table(shuffled.slice(100), tmp_path / "0.parquet")
    pq.write_table(shuffled.slice(0, 100), tmp_path / "1.parquet")
    wanted = made / WRITTEN[command]
    out = tmp_path / "out" / wanted.name
    assert run(command, "--log", tmp_path / "*.parquet", "--out", out) == 0
    if wanted.is_file():
        assert out.read_bytes() == wanted.read_bytes()
        return
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (out, wanted)]
    assert files[0] == files[1]


@pytest.mark.parametrize("inputs", ["days", "events"])
def test_a_folder_of_sequences_teaches_what_the_log_does(inputs: ChurnInputs, made: Path) -> None:
    columns = [LogColumns(made / name, "player", "time", "event", ("level",)) for name in ("log.parquet", "seqs")]
    of_log = ChurnSource(columns[0], inputs, observe=28, gap=0, horizon=14, active_within=7, step=7).read()
    folder = SequenceFolderSource(columns[1], inputs, "", 512, observe=28, gap=0, horizon=14, active_within=7)
    of_folder = folder.read()
    for part in ("train", "validation", "test"):
        found, wanted = _in_order(of_folder, part), _in_order(of_log, part)
        for name in ("label", "time"):
            np.testing.assert_array_equal(found.static[name], wanted.static[name])
        np.testing.assert_array_equal(found.lengths, wanted.lengths)
        own = slice(None) if inputs == "days" else slice(0, 2)  # gaps and ages, not what is scaled
        np.testing.assert_array_equal(found.steps["numbers"][:, own], wanted.steps["numbers"][:, own])
        if of_folder.vocabulary is not None and of_log.vocabulary is not None:
            names = of_folder.vocabulary.decode(found.steps["token"]), of_log.vocabulary.decode(wanted.steps["token"])
            # Events at one time have an order of their own in each.
            for begin, end in zip(found.begin, found.end, strict=True):
                assert sorted(names[0][begin:end]) == sorted(names[1][begin:end])


def _in_order(parts: SequenceParts, part: str) -> Sequences:
    """By the players' names, then time: their numbers differ between sources."""
    rows: Sequences = getattr(parts, part)
    assert parts.players is not None
    names = parts.players[rows.static["player"]].astype(str)
    return rows.rows(np.lexsort((rows.static["time"], names))).compact()


def test_from_log_to_answers(made: Path, tmp_path: Path) -> None:
    assert main([
        "train", "sequence", "--task=churn", "--inputs=events", "--numbers=level", "--epochs=1", "--hidden=8",
        "--data", str(made / "seqs"), "--out", str(tmp_path / "run"),
    ]) == 0  # fmt: skip
    today, bundle, scored = (tmp_path / name for name in ("today", "run/bundle", "scored.csv"))
    like = ["--like", str(made / "seqs"), "--at=end"]
    assert main(["sequences", "--log", str(made / "log.parquet"), *like, "--out", str(today)]) == 0
    words = ["--input", str(today), "--output", str(scored), "--keep=player"]
    assert main(["score", "--bundle", str(bundle), *words]) == 0
    rows = pq.read_table(today).to_pylist()
    assert "churned" not in rows[0]
    # A record of a request says the same as the row of the file.
    scorer = Scorer.load(bundle)
    assert scorer.manifest.sequence is not None
    assert scorer.manifest.sequence.longest == 512
    answers = scorer.predict([{name: row[name] for name in ("event", "time", "level", "now")} for row in rows])
    found = pd.read_csv(scored)["scored_probability"].to_numpy()
    np.testing.assert_allclose(found, answers.probabilities[:, 1], atol=1e-6)


def test_pairs_are_read_by_the_recommender(made: Path) -> None:
    data = read_user_items(made / "pairs.parquet", "player", "event", value="events", time="first_time")
    kinds = pd.DataFrame([(e.player, e.event, e.time // 1000) for e in EVENTS], columns=["player", "event", "time"])
    counts = kinds.groupby(["player", "event"]).time.agg(["size", "min"]).reset_index()
    user, item = data.pairs()
    assert list(zip(data.users[user], data.items[item], strict=True)) == list(
        zip(counts.player, counts.event, strict=True)
    )
    np.testing.assert_array_equal(data.matrix.data, counts["size"])
    assert data.time is not None
    np.testing.assert_array_equal(np.floor(data.time), counts["min"])
    split = split_by_time(data)
    assert split.hidden.nnz > 5


def test_pairs_of_some_events_until_a_date(made: Path, tmp_path: Path) -> None:
    table = pq.read_table(made / "log.parquet")
    item = pa.array([f"i{level}" if level and kind != "login" else None for level, kind in
                     zip(table["level"].to_pylist(), table["event"].to_pylist(), strict=True)])  # fmt: skip
    pq.write_table(table.append_column("sku", item), tmp_path / "log.parquet")
    words = ["interactions", "--log", str(tmp_path / "log.parquet"), "--until=2024-02-01", "--events=shop,trade"]
    assert main([*words, "--out", str(tmp_path / "pairs.parquet")]) == 0
    found = pd.read_parquet(tmp_path / "pairs.parquet")
    assert list(found.columns) == ["player", "sku", "events", "value", "first_time", "last_time"]
    until = pd.Timestamp("2024-02-01").value // 1_000_000
    wanted = [e for e in EVENTS if e.event in ("shop", "trade") and e.time < until and e.level is not None]
    assert found["events"].sum() == len(wanted)
    amounts = sum(e.amount for e in wanted if e.amount is not None)
    assert found["value"].sum() == pytest.approx(amounts)
    assert found["last_time"].max() < pd.Timestamp("2024-02-01")


def test_bad_input_is_told(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = made / "log.parquet", tmp_path / "out"
    pairs, seqs = ["interactions", "--log", log, "--out", f"{out}.parquet"], ["sequences", "--log", log, "--out", out]
    assert "no column of the log is obviously the item; name it with --item" in refused(capsys, *pairs)
    assert 'no column "evnt" (--item); did you mean "event"?' in refused(capsys, *pairs, "--item=evnt")
    assert 'no column "none" (--item)' in refused(capsys, *pairs, "--item=none")
    assert "is to be event and item" in refused(capsys, *pairs, "--item=event", "--event=event")
    by_level = [*pairs, "--item=level"]
    assert 'no event "shp" of the log has an item; did you mean "shop"?' in refused(capsys, *by_level, "--events=shp")
    assert "the log has no column of them" in refused(capsys, *by_level, "--events=shop", "--event=none")
    assert "--until is a date such as" in refused(capsys, *by_level, "--until=soon")
    assert "the log has no event before it" in refused(capsys, *by_level, "--until=2020-01-01")
    table = pq.read_table(log)
    empty = tmp_path / "empty.parquet"
    pq.write_table(table.append_column("item", pa.array([None] * table.num_rows, pa.string())), empty)
    assert 'no event of the log has a "item"' in refused(capsys, *pairs[:2], empty, *pairs[3:])
    renamed = tmp_path / "renamed.parquet"
    pq.write_table(table.rename_columns(["events", "time", "item", "now", "split"]), renamed)
    clash = [renamed, "--player=events"]
    assert 'column "events" has the name of one that is written' in refused(capsys, *pairs[:2], *clash, *pairs[3:])
    assert '"now" has the name' in refused(capsys, *seqs[:2], *clash, *seqs[3:], "--amount=now", *WINDOWS)
    assert "--newest is 1 event or more" in refused(capsys, *seqs, "--newest=0")
    assert "holds snapshots; sequences are wanted" in refused(capsys, *seqs, "--like", made / "snaps")
    assert "the log spans 130 days" in refused(capsys, *seqs, "--observe=120d")
    assert "--out names a file such as" in refused(capsys, *pairs[:-1], made / "seqs", "--item=level", "--overwrite")
    train = ["train", "sequence", "--out", out, "--data", made / "seqs"]
    assert "holds snapshots; sequences are wanted" in refused(capsys, *train[:-1], made / "snaps", "--task=churn")
    assert "--task next reads an event log" in refused(capsys, *train, "--task=next")
    assert "--inputs stream learns from all events" in refused(capsys, *train, "--task=churn", "--inputs=stream")
    assert "--observe of the sequences in" in refused(capsys, *train, "--task=churn", "--observe=14")
    assert "--player of the sequences in" in refused(capsys, *train, "--task=churn", "--player=who")
    assert 'has no column "coins"' in refused(capsys, *train, "--task=churn", "--inputs=events", "--numbers=coins")
    assert "holds sequences; snapshots are wanted" in refused(
        capsys, "train", "churn", "--out", out, "--data", made / "seqs"
    )
    assert {entry.name for entry in tmp_path.iterdir()} == {"empty.parquet", "renamed.parquet"}


def test_a_full_disk_is_told_and_leaves_nothing(made: Path, tmp_path: Path) -> None:
    words = ["sequences", "--log", str(made / "log.parquet"), "--out", str(tmp_path / "seqs"), *WINDOWS]
    command = f"ulimit -f 8; exec {sys.executable} -m ludocast {' '.join(words)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "too large" in done.stderr or "the disk is full" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["sequences", "interactions"])
def test_killed_runs_leave_nothing_half_written(command: str, made: Path, tmp_path: Path) -> None:
    wanted = made / WRITTEN[command]
    out = tmp_path / wanted.name
    words = ["--log", str(made / "log.parquet"), "--out", str(out)]
    options = ITEMS if command == "interactions" else WINDOWS
    process = subprocess.Popen(
        [sys.executable, "-m", "ludocast", command, *words, *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (tmp_path / f".{out.name}.partial").exists() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(np.random.default_rng(0).random() * 0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert run(command, *words) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(wanted))
    assert {entry.name for entry in tmp_path.iterdir()} == {out.name}
