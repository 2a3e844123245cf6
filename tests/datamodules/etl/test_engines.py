"""The same expression on DuckDB, PostgreSQL and Spark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.etl.engine import connect
from ludocast.datamodules.etl.rules import Rules
from ludocast.datamodules.game.log import simulate_log

from ludocast.__main__ import main
from tests.datamodules.etl.engines import java, postgres_server
from tests.datamodules.etl.logs import random_events, snapshots_of, table_of, write_log

RULES = Rules(30, 2, 10, 6, 9, time_zone="Europe/Berlin")
EVENTS = random_events(5, players=20, days=150)


WINDOWS = ["--observe=30d", "--gap=2d", "--horizon=10d", "--active-within=6d", "--step=9d"]
COMMANDS = {
    "snapshots": WINDOWS,
    "sequences": [*WINDOWS, "--newest=20"],
    "interactions": ["--item=event", "--event=none", "--until=2024-04-01"],
}


def _check_commands(log: Sequence[str], here: Sequence[str], folder: Path) -> None:
    """Each command on an engine, and on DuckDB."""
    for command, options in COMMANDS.items():
        name = f"{command}.parquet"  # of a folder too
        found, wanted = folder / "there" / name, folder / "here" / name
        assert main([command, *options, *log, "--out", str(found)]) == 0
        assert main([command, *options, *here, "--out", str(wanted)]) == 0
        _check_written(found, wanted)


def _check_written(found: Path, wanted: Path) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(found), pd.read_parquet(wanted), rtol=1e-9, atol=0)
    if found.is_dir():
        documents = [json.loads((folder / "_schema.json").read_text()) for folder in (found, wanted)]
        assert documents[0] == documents[1]
        return
    assert found.read_bytes() == wanted.read_bytes()  # nothing there is a rounded fraction


def _check_equal(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert list(found.columns) == list(wanted.columns)
    assert len(wanted) > 50
    for name in ("player", "s", "churned"):
        assert found[name].tolist() == wanted[name].tolist(), name
    for name in wanted.columns.difference(["player"]):
        got, want = found[name].to_numpy(float), wanted[name].to_numpy(float)
        whole = bool(np.all(np.isnan(want) | (want == np.round(want))))
        np.testing.assert_allclose(got, want, rtol=0 if whole else 1e-9, atol=0, err_msg=name)


def _check_profiles(log: Path, words: list[str], folder: Path) -> None:
    """The numbers of a profile on an engine are those on DuckDB, but for the order of rows, which tables have not."""
    there, here = folder / "there.html", folder / "here.html"
    assert main(["profile", *words, "--out", str(there)]) == 0
    assert main(["profile", "--log", str(log), "--out", str(here)]) == 0
    found, wanted = (json.loads(page.with_suffix(".json").read_text()) for page in (there, here))
    assert {one["kind"] for one in wanted["warnings"]} == {"bots", "carries the future", "duplicates"}
    for name in ("rows_back_in_time", "of_the_same_player", "furthest_ms"):
        assert wanted["log"].pop(name) is not None
        assert found["log"].pop(name) is None
    _check_alike(found, wanted)


def _check_alike(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name in wanted:
            _check_alike(found[name], wanted[name])
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            _check_alike(one, other)
    else:
        assert found == (pytest.approx(wanted, rel=1e-9) if isinstance(wanted, float) else wanted)


def _game_log(folder: Path) -> Path:
    """A simulated game's log with a program, rows that are there twice, a column that knows of the last event."""
    simulate_log(150, 90, folder / "game", seed=13)
    frame = pd.read_parquet(folder / "game" / "events.parquet")
    moments = pd.Timestamp("2024-02-10", tz="UTC") + pd.to_timedelta(np.arange(300) * 45, unit="s")
    program = frame.iloc[[0] * 300].assign(player_id="program", time=moments.astype(frame.time.dtype))
    frame = pd.concat([frame, frame.head(40), program]).sort_values("time", kind="stable", ignore_index=True)
    frame["seen_last"] = frame.groupby("player_id").time.transform("max").dt.floor("D")
    frame.to_parquet(folder / "game.parquet", index=False)
    return folder / "game.parquet"


def test_a_profile_on_postgres_has_the_numbers_of_duckdb(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    log = _game_log(tmp_path)
    with postgres_server() as url:
        engine = connect(url, 500_000_000, tmp_path)
        try:
            engine.con.create_table("events", pq.read_table(log))
        finally:
            engine.close()
        _check_profiles(log, ["--log=events", "--engine", url], tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # of PySpark with pandas 3
def test_a_profile_on_spark_has_the_numbers_of_duckdb(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="no PySpark: pip install 'ludocast[spark]'")
    if not java():
        pytest.skip("no Java for Spark: apt-get install openjdk-17-jdk-headless")
    log = _game_log(tmp_path)
    _check_profiles(log, ["--log", str(log), "--engine", "spark"], tmp_path)


def test_postgres_gives_what_duckdb_gives(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    wanted, _ = snapshots_of(EVENTS, RULES)
    log = pq.read_table(write_log(EVENTS, tmp_path / "log.parquet"))
    with postgres_server() as url:
        engine = connect(url, 500_000_000, tmp_path)
        try:
            engine.con.create_table("events", log)
            found, _ = table_of(engine, ["events"], RULES)
        finally:
            engine.close()
        _check_commands(["--log=events", "--engine", url], ["--log", str(tmp_path / "log.parquet")], tmp_path)
    _check_equal(found, wanted)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # of PySpark with pandas 3
def test_spark_gives_what_duckdb_gives(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="no PySpark: pip install 'ludocast[spark]'")
    if not java():
        pytest.skip("no Java for Spark: apt-get install openjdk-17-jdk-headless")
    wanted, _ = snapshots_of(EVENTS, RULES)
    path = write_log(EVENTS, tmp_path / "log.parquet")
    engine = connect("spark", 500_000_000, tmp_path)
    try:
        found, _ = table_of(engine, [str(path)], RULES)
    finally:
        engine.close()
    _check_equal(found, wanted)
    _check_commands(["--log", str(path), "--engine=spark"], ["--log", str(path)], tmp_path)
