"""The same expression on DuckDB, PostgreSQL and Spark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.etl.engine import connect
from ludocast.datamodules.etl.rules import Rules

from ludocast.__main__ import main
from tests.datamodules.etl.engines import java, postgres_server
from tests.datamodules.etl.logs import random_events, snapshots_of, table_of, write_log

RULES = Rules(30, 2, 10, 6, 9, time_zone="Europe/Berlin")
EVENTS = random_events(5, players=20, days=150)


COMMAND = ["snapshots", "--observe=30d", "--gap=2d", "--horizon=10d", "--active-within=6d", "--step=9d"]


def _check_written(found: Path, wanted: Path) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(found), pd.read_parquet(wanted), rtol=1e-9, atol=0)
    documents = [json.loads((folder / "_schema.json").read_text()) for folder in (found, wanted)]
    assert documents[0] == documents[1]


def _check_equal(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert list(found.columns) == list(wanted.columns)
    assert len(wanted) > 50
    for name in ("player", "s", "churned"):
        assert found[name].tolist() == wanted[name].tolist(), name
    for name in wanted.columns.difference(["player"]):
        got, want = found[name].to_numpy(float), wanted[name].to_numpy(float)
        whole = bool(np.all(np.isnan(want) | (want == np.round(want))))
        np.testing.assert_allclose(got, want, rtol=0 if whole else 1e-9, atol=0, err_msg=name)


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
        assert main([*COMMAND, "--log=events", "--engine", url, "--out", str(tmp_path / "warehouse")]) == 0
    _check_equal(found, wanted)
    assert main([*COMMAND, "--log", str(tmp_path / "log.parquet"), "--out", str(tmp_path / "here")]) == 0
    _check_written(tmp_path / "warehouse", tmp_path / "here")


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
    for name, kind in (("cluster", "spark"), ("here", "duckdb")):
        assert main([*COMMAND, "--log", str(path), "--engine", kind, "--out", str(tmp_path / name)]) == 0
    _check_written(tmp_path / "cluster", tmp_path / "here")
