"""The command, from files in every form to a data set, and what it says of logs that do not serve."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ludocast.__main__ import main
from tests.datamodules.etl.logs import START, random_events, write_log
from tests.datamodules.etl.reference import DAY

WINDOWS = ["--observe=28d", "--horizon=14d", "--active-within=1w", "--step=7d"]
EVENTS = random_events(2, players=25, days=130)


def run(*words: object) -> int:
    return main(["snapshots", *map(str, words), *WINDOWS])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, pd.DataFrame, Path]:
    """The log as a table, and its snapshots."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_log(EVENTS, folder / "log.parquet")
    assert run("--log", path, "--out", folder / "snaps") == 0
    return pq.read_table(path), pd.read_parquet(folder / "snaps"), folder / "snaps"


def check_same(out: Path, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(out), wanted, check_dtype=False, check_exact=True)


def test_the_data_set_is_whole_sorted_and_described(whole: tuple[pa.Table, pd.DataFrame, Path]) -> None:
    _, frame, out = whole
    assert [*frame.columns[:2], *frame.columns[-2:]] == ["player", "snapshot_time", "churned", "split"]
    order = frame.sort_values(["snapshot_time", "player"], ignore_index=True)
    pd.testing.assert_frame_equal(frame, order)
    assert all(path.name.startswith("_") for path in out.iterdir() if path.suffix != ".parquet")
    dictionary = {entry["name"]: entry for entry in json.loads((out / "_features.json").read_text())}
    assert list(dictionary) == list(frame.columns[2:-2])
    for name, entry in dictionary.items():
        assert entry["description"], name
        assert (entry["missing"] == "never missing") <= frame[name].notna().all(), name
        assert (entry["type"] == "whole number") <= (frame[name].dropna() % 1 == 0).all(), name
    document = json.loads((out / "_schema.json").read_text())
    assert document["rows"] == len(frame)
    assert document["churned"] == frame.churned.sum()
    assert not list(out.parent.glob(".*"))


def test_no_label_of_a_part_reaches_into_the_next(whole: tuple[pa.Table, pd.DataFrame, Path]) -> None:
    frame = whole[1]
    day = frame.snapshot_time.to_numpy().astype("datetime64[D]").astype(np.int64)
    for part, following in (("train", "validation"), ("validation", "test")):
        assert day[frame.split == part].max() + 14 <= day[frame.split == following].min()
    assert day.min() == START + 28
    assert set(frame.split) == {"train", "validation", "test", "none"}


def test_the_same_input_gives_the_same_bytes(whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path) -> None:
    table, _, out = whole
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    pq.write_table(shuffled.slice(100), tmp_path / "0.parquet")
    pq.write_table(shuffled.slice(0, 100), tmp_path / "1.parquet")
    assert run("--log", tmp_path / "*.parquet", "--out", tmp_path / "snaps") == 0
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in (out, tmp_path / "snaps")
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("form", ["csv", "jsonl", pytest.param("duckdb", marks=pytest.mark.slow)])
def test_other_forms_give_the_same(form: str, whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path) -> None:
    table, wanted, _ = whole
    frame = table.to_pandas()
    path = tmp_path / f"log.{form}"
    if form == "csv":
        frame.assign(time=frame.time.dt.tz_localize("UTC").dt.tz_convert("Asia/Seoul")).to_csv(path, index=False)
    elif form == "jsonl":
        frame.assign(time=frame.time.astype("int64")).to_json(path, orient="records", lines=True)
    else:
        with duckdb.connect(str(path)) as con:
            con.register("frame", table)
            con.execute("CREATE TABLE events AS SELECT * FROM frame")
    assert run("--log", path, "--out", tmp_path / "snaps") == 0
    check_same(tmp_path / "snaps", wanted)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-3), pytest.param("ns", 1e6, marks=pytest.mark.slow)])
def test_units_of_numbers_are_found_and_told(
    unit: str,
    factor: float,
    whole: tuple[pa.Table, pd.DataFrame, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table, wanted, _ = whole
    number = table["time"].cast(pa.int64()).to_numpy()
    times = number / 1000 if unit == "s" else number * int(factor)
    pq.write_table(table.set_column(1, "time", pa.array(times)), tmp_path / "log.parquet")
    assert run("--log", tmp_path / "log.parquet", "--out", tmp_path / "snaps") == 0
    check_same(tmp_path / "snaps", wanted)
    words = {"s": "seconds", "ns": "nanoseconds"}[unit]
    assert f'times in column "time" are {words} since 1970' in capsys.readouterr().out


def test_scoring_at_a_time_gives_the_features_of_the_snapshot(
    whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path
) -> None:
    table, wanted, out = whole
    pq.write_table(table, tmp_path / "log.parquet")
    moment = sorted(set(wanted.snapshot_time))[3]
    words = ("--log", tmp_path / "log.parquet", "--like", out, "--at", moment.date(), "--out", tmp_path / "now")
    assert main(["snapshots", *map(str, words)]) == 0
    rows = wanted[wanted.snapshot_time == moment].drop(columns=["churned", "split"]).reset_index(drop=True)
    check_same(tmp_path / "now", rows)


def test_players_apart(whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path) -> None:
    pq.write_table(whole[0], tmp_path / "log.parquet")
    assert run("--log", tmp_path / "log.parquet", "--players-apart", "--out", tmp_path / "snaps") == 0
    frame = pd.read_parquet(tmp_path / "snaps")
    players = frame.groupby("split").player.agg(set)
    assert players["test"]
    assert players["train"]
    assert not players["test"] & (players["train"] | players["validation"])


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: object) -> str:
    """The sentence of a run that is refused; nothing is left of it."""
    capsys.readouterr()
    before = set(tmp_path.iterdir())
    assert run(*words, "--out", tmp_path / "snaps") == 2
    said = capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    return said


def written(tmp_path: Path, table: pa.Table, name: str = "log.parquet") -> Path:
    pq.write_table(table, tmp_path / name)
    return tmp_path / name


def with_times(table: pa.Table, times: pa.Array) -> pa.Table:
    return table.set_column(1, "time", times)


def test_columns_that_are_not_there(
    whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, whole[0].rename_columns(["who", "time", "event", "amount", "level"]))
    assert "no column of the log is obviously the player" in refused(capsys, tmp_path, "--log", path)
    assert 'no column "amont" (--amount); did you mean "amount"?' in refused(
        capsys, tmp_path, "--log", path, "--player=who", "--amount=amont"
    )
    clash = written(tmp_path, whole[0].rename_columns(["streak", "time", "event", "amount", "level"]))
    assert 'column "streak" has the name of one that is written' in refused(
        capsys, tmp_path, "--log", clash, "--player=streak"
    )
    assert "is to be player and event" in refused(capsys, tmp_path, "--log", path, "--player=event", "--event=event")


def test_times_that_are_none(
    whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = whole[0]
    iso = table["time"].cast(pa.string()).to_pylist()
    numbers = table["time"].cast(pa.int64()).to_numpy()
    rows = len(numbers)
    mixed = with_times(table, pa.array([*iso[:-1], "1704067200"]))
    assert "mixes forms of time" in refused(capsys, tmp_path, "--log", written(tmp_path, mixed))
    strange = with_times(table, pa.array([*iso[:-1], "yesterday"]))
    assert 'no time, such as "yesterday"' in refused(capsys, tmp_path, "--log", written(tmp_path, strange))
    units = with_times(table, pa.array(np.where(np.arange(rows) < 9, numbers // 1000, numbers)))
    assert "mixes units of time: 9 in s" in refused(capsys, tmp_path, "--log", written(tmp_path, units))
    tiny = with_times(table, pa.array(np.arange(rows)))
    assert "no number in column" in refused(capsys, tmp_path, "--log", written(tmp_path, tiny))
    old = with_times(table, pa.array(numbers - 30 * 366 * DAY, pa.timestamp("ms")))
    assert "from before the year 2000" in refused(capsys, tmp_path, "--log", written(tmp_path, old))
    future = with_times(table, pa.array(numbers + 30 * 366 * DAY, pa.timestamp("ms")))
    assert "from the future" in refused(capsys, tmp_path, "--log", written(tmp_path, future))
    flags = with_times(table, pa.array(np.arange(rows) > 5))
    assert "holds boolean, which is no time" in refused(capsys, tmp_path, "--log", written(tmp_path, flags))


def test_a_few_bad_rows_are_left_out_and_told(
    whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, wanted, _ = whole
    ahead = (dt.datetime.now(dt.UTC) + dt.timedelta(days=40)).replace(tzinfo=None)
    bad = pa.table(
        {
            "player": ["p1", "p1", "p1", None, "NA"],
            "time": pa.array([None, dt.datetime(1970, 1, 1), ahead, dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1)], pa.timestamp("ms")),
            "event": ["login"] * 5,
            "amount": pa.array([None, float("nan"), float("inf"), 1.0, 2.0]),
            "level": pa.array([1] * 5, pa.int32()),
        }
    )  # fmt: skip
    path = written(tmp_path, pa.concat_tables([bad, table]))
    (tmp_path / "nothing.parquet").touch()
    assert run("--log", f"{path},{tmp_path / 'nothing.parquet'}", "--out", tmp_path / "snaps") == 0
    said = capsys.readouterr().out
    assert '2 without a "player", 1 without a "time", 1 from before the year 2000, 1 from the future' in said
    assert "1 values of amount are no number" in said
    assert "nothing.parquet is empty and left out" in said
    check_same(tmp_path / "snaps", wanted)


def test_files_that_do_not_serve(
    whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = whole[0]
    assert "there is no file" in refused(capsys, tmp_path, "--log", tmp_path / "absent*.parquet")
    logs = tmp_path / "logs"
    logs.mkdir()
    assert "holds no file" in refused(capsys, tmp_path, "--log", logs)
    (logs / "a.parquet").touch()
    assert "names no file with anything in it" in refused(capsys, tmp_path, "--log", logs)
    good = written(logs, table, "a.parquet").read_bytes()
    (logs / "b.parquet").write_bytes(good[: len(good) // 2])
    assert "b.parquet is not a readable Parquet file" in refused(capsys, tmp_path, "--log", logs)
    written(logs, table.drop_columns(["time"]), "b.parquet")
    assert 'b.parquet has no column "time", other files' in refused(capsys, tmp_path, "--log", logs)
    written(logs, with_times(table, table["time"].cast(pa.string())), "b.parquet")
    assert "holds times in" in refused(capsys, tmp_path, "--log", logs)
    (logs / "b.parquet").unlink()
    (logs / "c.csv").write_text("player,time\np1,2024-01-01\n")
    assert "files of several formats" in refused(capsys, tmp_path, "--log", logs)
    # A broken page, behind a footer that is whole.
    (logs / "c.csv").unlink()
    damaged = bytearray(good)
    damaged[len(good) // 8 : len(good) // 3] = b"\xff" * (len(good) // 3 - len(good) // 8)
    (logs / "a.parquet").write_bytes(bytes(damaged))
    assert "the log cannot be worked on" in refused(capsys, tmp_path, "--log", logs)


def test_logs_that_do_not_suffice(
    whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = whole[0]
    days = table["time"].to_pandas().to_numpy().astype("datetime64[ms]").astype(np.int64) // DAY - START
    short = table.filter(pa.array(days < 30))
    assert "the log spans 30 days; a snapshot needs 42" in refused(capsys, tmp_path, "--log", written(tmp_path, short))
    barely = table.filter(pa.array(days < 60))
    said = refused(capsys, tmp_path, "--log", written(tmp_path, barely))
    assert "the log is 60 days long; three parts" in said
    assert "need 70 days" in said
    assert "the log has no rows" in refused(capsys, tmp_path, "--log", written(tmp_path, table.slice(0, 0)))
    hours = pa.array([START * DAY, (START + 90) * DAY], pa.timestamp("ms"))
    lonely = pa.table({"player": ["only"] * 2, "time": hours})
    assert "no player was active" in refused(capsys, tmp_path, "--log", written(tmp_path, lonely))
    always = pa.array([(START + day) * DAY for day in range(140)], pa.timestamp("ms"))
    stays = pa.table({"player": ["only"] * 140, "time": always})
    assert "none of the" in refused(capsys, tmp_path, "--log", written(tmp_path, stays))
    times = [(START + 27) * DAY] * 3 + [(START + 130) * DAY]
    gone = pa.table({"player": ["a", "b", "a", "c"], "time": pa.array([START * DAY, *times[1:]], pa.timestamp("ms"))})
    assert "all of the" in refused(capsys, tmp_path, "--log", written(tmp_path, gone))
    assert "nothing is known on 2020-01-01" in refused(
        capsys, tmp_path, "--log", written(tmp_path, table), "--at", "2020-01-01", "--active-within=7d"
    )
    assert "no player was active in the 7 days before" in refused(
        capsys, tmp_path, "--log", written(tmp_path, table), "--at", "now"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--observe=2h"], "a whole number of days"), (["--observe=soon"], "a duration such as"),
        (["--active-within=99d"], "0 < active_within <= observe"), (["--memory=lots"], "a size such as 4GB"),
        (["--time-zone=Mars/Base"], 'no time zone "Mars/Base"'), (["--engine=oracle"], "--engine is duckdb"),
        (["--engine=postgres://nobody@127.0.0.1:1/none"], "does not answer"), (["--like=absent"], "no readable _schema"),
    ],
)  # fmt: skip
def test_options_that_do_not_serve(
    words: list[str], said: str, whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = written(tmp_path, whole[0])
    given = [word for word in WINDOWS if word.partition("=")[0] not in {word.partition("=")[0] for word in words}]
    assert main(["snapshots", "--log", str(path), "--out", str(tmp_path / "snaps"), *given, *words]) == 2
    assert said in capsys.readouterr().err
    assert {entry.name for entry in tmp_path.iterdir()} == {"log.parquet"}


def test_windows_are_suggested(
    whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, whole[0])
    capsys.readouterr()
    assert main(["snapshots", "--log", str(path), "--suggest"]) == 0
    words = capsys.readouterr().out.rpartition("suggested: ")[2].split()
    assert main(["snapshots", "--log", str(path), "--out", str(tmp_path / "snaps"), *words]) == 0
    assert len(pd.read_parquet(tmp_path / "snaps")) > 30


def test_a_full_disk_is_told_and_leaves_nothing(whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path) -> None:
    path = written(tmp_path, whole[0])
    command = f"ulimit -f 8; exec {sys.executable} -m ludocast snapshots --log {path} --out {tmp_path / 'snaps'}"
    done = subprocess.run(["bash", "-c", f"{command} {' '.join(WINDOWS)}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: the disk is full: "), done.stderr
    assert done.stderr.count("\n") == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"log.parquet"}


def test_killed_runs_leave_nothing_half_written(whole: tuple[pa.Table, pd.DataFrame, Path], tmp_path: Path) -> None:
    path = written(tmp_path, whole[0])
    command = [sys.executable, "-m", "ludocast", "snapshots", "--log", str(path), "--out", str(tmp_path / "snaps")]
    generator = np.random.default_rng(0)
    partial = tmp_path / ".snaps.partial"
    for _ in range(2):
        process = subprocess.Popen([*command, *WINDOWS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not partial.exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(generator.random() * 0.5)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "snaps").exists()
        assert partial.exists()
    assert run("--log", path, "--out", tmp_path / "snaps") == 0
    check_same(tmp_path / "snaps", whole[1])
    assert {entry.name for entry in tmp_path.iterdir()} == {"log.parquet", "snaps"}
