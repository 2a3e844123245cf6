"""Runs that were stopped are gone on with, to the bytes of a run that was not; bad rows go where they are asked to."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ludocast.serve.batch.answer import answer_rows
from ludocast.serve.batch.batch import Batch, Progress
from ludocast.serve.batch.run import run_batch
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.serve.logistic import by_hand, write_logistic
from tests.serve.made_shop import HISTORY, IDS, write_shop

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("bundles") / "demo")


def write_players(path: Path, rows: int) -> None:
    chosen = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        file.write("id,age,plan,active,last seen \n")
        for row in range(rows):
            plan = chosen.choice(["pro", "basic", "", "요금", '"a, b"'])
            file.write(
                f"{row},{chosen.randrange(100)},{plan},{chosen.choice(['true', 'false'])},2024-01-0{row % 9 + 1}\n"
            )


def score(bundle: Path, source: Path, output: Path, *words: str) -> int:
    return main(["score", "--bundle", str(bundle), "--input", str(source), "--output", str(output), *words])


def content(path: Path) -> dict[str, bytes]:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


class StopError(Exception):
    """Stands for whatever stops a run."""


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".xlsx", ".csv.gz"])
def test_a_run_that_goes_on_gives_the_same_bytes_and_asks_nothing_twice(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr("ludocast.serve.batch.run.CHUNK_ROWS", 700)
    write_players(tmp_path / "in.csv", 5_000)
    whole, other = tmp_path / f"whole{suffix}", tmp_path / f"other{suffix}"
    run_batch(Batch(bundle, tmp_path / "in.csv", whole), print)
    asked = []

    def counted(scorer: object, columns: object, first_row: int, *rest: object) -> object:
        asked.append(first_row)
        return answer_rows(scorer, columns, first_row, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("ludocast.serve.batch.rows.answer_rows", counted)
    seen = 0
    for stop in (1_000, 3_000, 10_000):

        def watch(progress: Progress, stop: int = stop) -> None:
            nonlocal seen
            seen = progress.rows
            if progress.rows > stop:
                raise StopError

        try:
            run_batch(Batch(bundle, tmp_path / "in.csv", other, resume=True), watch)
        except StopError:
            assert not other.exists()
    assert seen == 5_000
    assert asked == list(range(0, 5_000, 700))
    assert content(other) == content(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.csv", whole.name, other.name])


def test_suggestions_for_users_are_gone_on_with_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ludocast.serve.score_pairs.PART_BYTES", 2_000)
    monkeypatch.setattr("ludocast.serve.score_pairs.CHUNK_USERS", 7)
    shop = write_shop(tmp_path / "shop")
    lines = [f"p{user},{IDS[item]}" for user, row in enumerate(HISTORY.toarray()) for item in np.flatnonzero(row)]
    (tmp_path / "in.csv").write_text("\n".join(["player,thing", *lines]))
    whole, other = tmp_path / "whole.csv", tmp_path / "other.csv"
    run_batch(Batch(shop, tmp_path / "in.csv", whole), print)
    asked = 0
    predict = Scorer.predict_columns

    def counted(self: Scorer, columns: Any, *rest: Any, **more: Any) -> Any:
        nonlocal asked
        asked += len(next(iter(columns.values())))
        return predict(self, columns, *rest, **more)

    monkeypatch.setattr(Scorer, "predict_columns", counted)
    for stop in (30, 60, 1_000):

        def watch(progress: Progress, stop: int = stop) -> None:
            if progress.rows > stop:
                raise StopError

        with suppress(StopError):
            run_batch(Batch(shop, tmp_path / "in.csv", other, resume=True), watch)
    assert asked == len(np.flatnonzero(HISTORY.toarray().sum(1)))
    assert content(other) == content(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "other.csv", "shop", "whole.csv"]


def test_a_changed_input_is_not_gone_on_with(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    write_players(source, 100)

    def stop(progress: Progress) -> None:
        raise StopError

    with pytest.raises(StopError):
        run_batch(Batch(bundle, source, output), stop)
    assert score(bundle, source, output) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert score(bundle, source, output, "--resume", "--keep", "age") == 2
    assert "options changed since" in capsys.readouterr().err
    os.utime(source, (1, 1))
    assert score(bundle, source, output, "--resume") == 2
    assert "input changed since" in capsys.readouterr().err
    assert score(bundle, source, output, "--overwrite", "--resume") == 0
    with pytest.raises(StopError):
        run_batch(Batch(bundle, source, output, overwrite=True), stop)
    assert score(bundle, source, output, "--overwrite") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_answers_that_are_on_the_disk_are_kept_wherever_the_signal_comes(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    write_players(source, 100)
    unlink = Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if ".answers." in path.name:  # the hidden file, gone by then, of answers that were put in their place just now
            monkeypatch.undo()
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Path, "unlink", interrupted)
    assert score(bundle, source, output) == 130
    assert "go on with:" in capsys.readouterr().err
    assert [path.name for path in sorted((tmp_path / "out.csv.partial").glob("*.answers"))] == ["000000000.answers"]
    assert score(bundle, source, output, "--resume") == 0


def command(bundle: Path, source: Path, output: Path, *words: str) -> list[str]:
    words = ("--bundle", str(bundle), "--input", str(source), "--output", str(output), *words)
    return [sys.executable, "-m", "ludocast", "score", *words]


def test_ctrl_c_loses_nothing_and_says_how_to_go_on(bundle: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "my players.csv", tmp_path / "out.parquet"
    write_players(source, 300_000)
    process = subprocess.Popen(command(bundle, source, output), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("out.parquet.partial/*.answers")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    line = told.strip().splitlines()[-1].strip()
    assert "--resume" in line
    done = subprocess.run(
        ["bash", "-c", line.replace("ludocast", f"{sys.executable} -m ludocast", 1)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert score(bundle, source, tmp_path / "whole.parquet") == 0
    assert content(output) == content(tmp_path / "whole.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_a_job_killed_fifty_times_ends_bit_identical(bundle: Path, tmp_path: Path, kind: str) -> None:
    source, suffix = tmp_path / "in.csv", "" if kind == "folder" else f".{kind}"
    write_players(source, 1_500_000)
    if kind == "folder":
        source = tmp_path / "in"
        source.mkdir()
        for part in range(5):
            pq.write_table(
                pa.csv.read_csv(tmp_path / "in.csv").slice(part * 300_000, 300_000), source / f"{part}.parquet"
            )
    whole, output = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    begin = time.monotonic()
    assert subprocess.run(command(bundle, source, whole), cwd=ROOT, check=True, capture_output=True).returncode == 0
    seconds = time.monotonic() - begin
    chosen = random.Random(2)
    kills = ends = 0
    while kills < 50:
        process = subprocess.Popen(
            command(bundle, source, output, "--resume"), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            process.communicate(timeout=chosen.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        else:  # it was quicker: what it made is right, and the next one begins anew
            assert content(output) == content(whole)
            ends += 1
            subprocess.run(["rm", "-r", str(output)], check=True)
    while not output.exists():
        subprocess.run(command(bundle, source, output, "--resume"), cwd=ROOT, check=True, capture_output=True)
    assert content(output) == content(whole)
    print(f"{kind}: {kills} kills, {ends} runs that ended between them, all {ends + 1} outputs bit-identical")


BAD = 'id,age,plan,active,last seen \n1,30,pro,true,\n2,old,pro,true,\n3,1\n4,40,"a,b",maybe,\n5,50,basic,false,\n'


@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_bad_rows_are_left_out_or_get_nulls(
    bundle: Path, tmp_path: Path, on_error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = BAD if on_error == "skip" else BAD.replace("3,1\n", "3,,,,\n")
    (tmp_path / "in.csv").write_text(text)
    assert score(bundle, tmp_path / "in.csv", tmp_path / "out.csv", "--on-error", on_error) == 0
    told = capsys.readouterr().out
    with (tmp_path / "out.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    good = {"1": by_hand(30, "pro", "true", None), "5": by_hand(50, "basic", "false", None)}
    with (tmp_path / "out.csv.bad_rows.csv").open(newline="") as file:
        bad = list(csv.DictReader(file))
    if on_error == "skip":
        assert [row["id"] for row in found] == ["1", "5"]
        assert [(row["row"], row["column"]) for row in bad] == [("2", "age"), ("3", ""), ("4", "active")]
        assert bad[1]["values"] == "3,1"
        assert "3 bad rows left out" in told
    else:
        good["3"] = by_hand(None, "", "", None)
        assert [row["id"] for row in found] == ["1", "2", "3", "4", "5"]
        assert [row["id"] for row in found if not row["scored_label"]] == ["2", "4"]
        assert [(row["row"], row["column"]) for row in bad] == [("2", "age"), ("4", "active")]
        assert "2 bad rows without an answer" in told
    assert bad[0]["reason"] == 'expected a number, got "old"'
    assert bad[-1]["values"] == '{"id":"4","age":"40","plan":"a,b","active":"maybe","last seen ":""}'
    for row in found:
        if row["scored_label"]:
            assert float(row["scored_probability"]) == pytest.approx(good[row["id"]], abs=1e-6)


def test_bad_rows_of_several_chunks_keep_their_numbers(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ludocast.serve.batch.run.CHUNK_ROWS", 3)
    lines = [f"{n},{'x' if n % 4 == 0 else n},pro,true," if n % 5 else f"{n}" for n in range(1, 41)]
    (tmp_path / "in.csv").write_text("id,age,plan,active,last seen \n" + "\n".join(lines) + "\n")
    assert score(bundle, tmp_path / "in.csv", tmp_path / "out.parquet", "--on-error", "skip") == 0
    with (tmp_path / "out.parquet.bad_rows.csv").open(newline="") as file:
        bad = list(csv.DictReader(file))
    assert [int(row["row"]) for row in bad] == [n for n in range(1, 41) if n % 4 == 0 or n % 5 == 0]
    assert [row["column"] for row in bad] == ["" if int(row["row"]) % 5 == 0 else "age" for row in bad]
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [
        str(n) for n in range(1, 41) if n % 4 and n % 5
    ]
