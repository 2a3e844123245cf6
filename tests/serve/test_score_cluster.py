"""The same rows here, on Dask and on Spark: the same bytes, the same bits."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ludocast.__main__ import main
from tests.serve.logistic import write_logistic

ROOT = Path(__file__).parent.parent.parent
ROWS = 200_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("bundles") / "demo")


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = random.Random(4)
    path = tmp_path_factory.mktemp("players") / "in.parquet"
    table = {
        "id": range(ROWS),
        "age": [chosen.choice([None, chosen.uniform(0, 90)]) for _ in range(ROWS)],
        "plan": [chosen.choice([None, "pro", "basic", "요금"]) for _ in range(ROWS)],
        "active": [chosen.choice([None, True, False]) for _ in range(ROWS)],
        "last seen ": [f"2024-01-{chosen.randrange(1, 29):02d}" for _ in range(ROWS)],
    }
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture(scope="module")
def local(bundle: Path, players: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("local") / "out.parquet"
    assert main(["score", "--bundle", str(bundle), "--input", str(players), "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Of a cluster of two workers, in this process for they start quicker there; what they get comes through sockets."""
    from distributed import LocalCluster

    options = {"processes": False, "protocol": "tcp://", "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(n_workers=2, **options) as cluster:
        yield cluster.scheduler_address


def score(bundle: Path, source: Path, output: Path, *words: str) -> int:
    return main(["score", "--bundle", str(bundle), "--input", str(source), "--output", str(output), *words])


def test_dask_gives_the_same_bytes(bundle: Path, players: Path, local: Path, scheduler: str, tmp_path: Path) -> None:
    assert score(bundle, players, tmp_path / "out.parquet", "--dask", scheduler) == 0
    assert (tmp_path / "out.parquet").read_bytes() == local.read_bytes()


def test_a_bad_row_on_dask_is_told_of_as_here(
    bundle: Path, scheduler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("age,plan,active,last seen \n1,pro,true,\nold,pro,true,\n")
    assert score(bundle, tmp_path / "in.csv", tmp_path / "out.csv", "--dask", scheduler) == 2
    assert 'row 2, column "age": expected a number, got "old"' in capsys.readouterr().err
    for name, words in (("here.csv", []), ("there.csv", ["--dask", scheduler])):
        assert score(bundle, tmp_path / "in.csv", tmp_path / name, "--on-error", "null", *words) == 0
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()


def test_no_cluster_is_a_sentence(
    bundle: Path, players: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(bundle, players, tmp_path / "out.csv", "--dask", "nowhere") == 2
    assert "no scheduler answers there" in capsys.readouterr().err


@pytest.mark.slow
def test_local_processes_give_the_same_bytes(bundle: Path, players: Path, local: Path, tmp_path: Path) -> None:
    words = ["--bundle", str(bundle), "--input", str(players), "--output", str(tmp_path / "out.parquet")]
    command = [sys.executable, "-m", "ludocast", "score", *words, "--dask", "local:2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.parquet").read_bytes() == local.read_bytes()


SPARK = """
import sys
from pyspark.sql import SparkSession
{function}
bundle, source, output = sys.argv[1:]
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
players = spark.read.parquet(source).repartition(3)
columns = "id long, age double, plan string, active boolean, `last seen ` string"
scored = players.mapInArrow(scoring(bundle), columns + ", scored_label string, scored_probability float")
scored.write.mode("overwrite").parquet(output)
"""


def documented_function() -> str:
    """The block of docs/serving.md that its readers copy."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    return next(block.partition("```")[0] for block in text.split("```python\n")[1:] if "def scoring" in block)


@pytest.mark.slow
def test_spark_gives_the_same_bits(bundle: Path, players: Path, local: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="pip install 'ludocast[spark]' brings Spark")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java 17: apt-get install openjdk-17-jre-headless")
    script = tmp_path / "spark.py"
    script.write_text(SPARK.format(function=documented_function()))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, str(script), str(bundle), str(players), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = pq.read_table(tmp_path / "out").sort_by("id")
    wanted = pq.read_table(local)
    assert found.column_names == wanted.column_names
    for name in ("scored_label", "scored_probability"):
        assert found[name].to_pylist() == wanted[name].to_pylist()
