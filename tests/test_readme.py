"""Every command block of the README and of the guides in docs runs, in order."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ludocast.serve.scorer import Scorer

from tests.warm.start import warm_python

ROOT = Path(__file__).parent.parent


def served(text: str, folder: Path, environment: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """Runs a block of `$ ludocast serve …` and `$ curl …`; the body sent, and the answer."""
    serve, curl = (line[2:] for line in text.splitlines() if line.startswith("$ "))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [word.replace("8080", port) for word in shlex.split(curl)]
    at = words.index("-d") + 1
    command = ["sh", "-c", f"exec {serve.replace('8080', port)}"]
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        done = subprocess.run([words[0], "-sS", *words[1:]], capture_output=True, text=True, check=True)
    finally:
        server.terminate()
        assert server.wait(20) == 0
    return json.loads(words[at]), json.loads(done.stdout)


def names(document: Any) -> list[str]:
    """The names in a JSON document, in their order; those of classes left out."""
    found = []
    for name, value in document.items() if isinstance(document, dict) else ():
        found += [name] if name == "probabilities" else [name, *names(value)]
    for value in document if isinstance(document, list) else ():
        found += names(value)
    return found


def run_blocks(document: str, folder: Path, fewest: int = 4) -> tuple[str, dict[str, str]]:
    """Runs the blocks of sh and python; the one with a request, and the environment in which to run it."""
    text, environment = run_commands(document, folder, fewest)
    return next(
        block for block in re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL) if "$ curl" in block
    ), environment


def run_commands(document: str, folder: Path, fewest: int) -> tuple[str, dict[str, str]]:
    """Runs the blocks of sh and python; the document, and the environment in which they ran."""
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "ludocast").write_text(f'#!/bin/sh\nexec {warm_python()} -m ludocast "$@"\n')
    (folder / "ludocast").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= fewest
    for kind, block in blocks:
        command = ["sh", "-ec", block] if kind == "sh" else [warm_python(), "-c", block]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return text, environment


def test_the_command_blocks_run(tmp_path: Path) -> None:
    block, environment = run_blocks("README.md", tmp_path)
    assert len((tmp_path / "game" / "scored.csv").read_text().splitlines()) == 2001
    assert (tmp_path / "game" / "core" / "preprocessing.json").is_file()
    if shutil.which("curl") is None:
        pytest.skip("the README's request needs curl")
    (record,), answer = served(block, tmp_path, environment)
    # The answer has the names that the README shows, in that order, and what the scorer says of the same record.
    assert names(answer) == re.findall(r'"(\w+)":', block.splitlines()[-1])
    wanted = Scorer.load(tmp_path / "game" / "run" / "bundle").predict([record])
    assert answer["model"] == "run"
    assert answer["warnings"] == []
    assert answer["predictions"][0]["label"] == wanted.labels[0]
    assert answer["predictions"][0]["probability"] == pytest.approx(float(wanted.probabilities[0, 1]), abs=1e-6)


def test_the_blocks_on_sequences_run(tmp_path: Path) -> None:
    block, environment = run_blocks("docs/sequences.md", tmp_path)
    leaving = (tmp_path / "leaving.csv").read_text().splitlines()
    assert leaving[0] == "player_id,scored_label,scored_probability"
    assert len(leaving) == 1 + 120
    if shutil.which("curl") is None:
        pytest.skip("the request needs curl")
    record, answer = served(block, tmp_path, environment)
    assert names(answer) == re.findall(r'"(\w+)":', block.splitlines()[-1])
    assert answer["warnings"] == []
    (found,) = answer["predictions"]
    wanted = Scorer.load(tmp_path / "run" / "bundle").predict(record)
    assert found["labels"] == wanted.labels[0]
    assert found["probabilities"] == pytest.approx(wanted.probabilities[0].tolist(), abs=1e-6)
    assert found["labels"][0] == "buy", "login, play and buy follow each other in the log"


def test_the_blocks_on_item_suggestion_run(tmp_path: Path) -> None:
    block, environment = run_blocks("docs/recommend.md", tmp_path)
    found = pq.read_table(tmp_path / "suggestions.parquet")
    assert found.column_names == ["user_id", "item_id", "rank", "score"]
    assert not {"i3", "i4"} & set(found["item_id"].to_pylist())
    bought = csv.DictReader((tmp_path / "purchases.csv").read_text().splitlines())
    owned = {(row["user_id"], row["item_id"]) for row in bought}
    shown = set(zip(found["user_id"].to_pylist(), found["item_id"].to_pylist(), strict=True))
    assert {item for _, item in shown & owned} <= {"gems"}  # what is bought again
    everyone = pq.read_table(tmp_path / "everyone.parquet").to_pylist()
    of_new = [row["item_id"] for row in everyone if row["user_id"] == "p201" and row["rank"] <= 5]
    assert all(int(item[1:]) % 2 for item in of_new if item != "gems")  # DE, as of odd numbers
    if shutil.which("curl") is None:
        pytest.skip("the request needs curl")
    (record,), answer = served(block, tmp_path, environment)
    shapes = re.findall(r'"(\w+)":', block.splitlines()[-1])
    assert list(dict.fromkeys(names(answer))) == list(dict.fromkeys(shapes))
    assert answer["warnings"] == []
    wanted = Scorer.load(tmp_path / "run" / "bundle").predict([record])
    shown_items = [one["item"] for one in answer["predictions"][0]["items"]]
    assert shown_items == wanted.labels[0]
    assert len(shown_items) == 3
    assert all(int(item[1:]) % 2 for item in shown_items)  # swords
    assert not {"i1", "i5", "i7"} & set(shown_items)


@pytest.mark.slow
def test_the_blocks_on_runs_run(tmp_path: Path) -> None:
    run_commands("docs/runs.md", tmp_path, fewest=4)
    models = {
        json.loads((tmp_path / "runs" / run / "bundle" / "bundle.json").read_text())["files"]["model.onnx"]
        for run in ("network", "again")
    }
    assert len(models) == 1
    assert (tmp_path / "runs" / "june" / "report.html").is_file()


@pytest.mark.slow
def test_the_blocks_on_learners_run(tmp_path: Path) -> None:
    run_commands("docs/table.md", tmp_path, fewest=1)
    tasks = {"leaves": "classification", "store": "classification", "minutes": "regression", "purchases": "regression"}
    tasks["both"] = "labels"
    for run, task in tasks.items():
        assert json.loads((tmp_path / run / "bundle" / "bundle.json").read_text())["task"] == task
    assert (tmp_path / "minutes_now" / "report.html").is_file()
    assert (tmp_path / "core" / "preprocessing.json").is_file()


@pytest.mark.slow
def test_the_blocks_on_segments_run(tmp_path: Path) -> None:
    block, environment = run_blocks("docs/segments.md", tmp_path)
    scored = list(csv.DictReader((tmp_path / "scored.csv").read_text().splitlines()))
    assert len(scored) == 1000
    known = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {row["scored_segment"] for row in scored} == {one["name"] for one in known["segments"]}
    july = json.loads((tmp_path / "run_july" / "metrics.json").read_text())
    assert july["drift"]["rows"] == [1000, 1000]
    if shutil.which("curl") is None:
        pytest.skip("the request needs curl")
    record, answer = served(block, tmp_path, environment)
    wanted = Scorer.load(tmp_path / "run" / "bundle").predict(record)
    (found,) = answer["predictions"]
    assert list(found) == ["segment", known_measure(block), "anomaly"]
    assert found["segment"] == wanted.labels[0]
    assert found["anomaly"] == pytest.approx(float(wanted.probabilities[0, -1]), abs=1e-6)


def known_measure(block: str) -> str:
    """What the document's answer tells of each segment."""
    return "probabilities" if '"probabilities"' in block else "distances"


@pytest.mark.slow
def test_the_blocks_on_event_logs_run(tmp_path: Path) -> None:
    block, environment = run_blocks("docs/event_log.md", tmp_path)
    if shutil.which("curl") is None:
        pytest.skip("the request needs curl")
    record, answer = served(block, tmp_path, environment)
    assert names(answer) == re.findall(r'"(\w+)":', block.splitlines()[-1])
    assert answer["warnings"] == []
    wanted = Scorer.load(tmp_path / "run" / "bundle").predict(record)
    assert answer["predictions"][0]["probability"] == pytest.approx(float(wanted.probabilities[0, 1]), abs=1e-6)
    frame, today = pq.read_table(tmp_path / "snaps"), pq.read_table(tmp_path / "today")
    features = set(frame.column_names) - {"churned", "split"}
    assert set(today.column_names) == features
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == 1 + today.num_rows
    leaving = (tmp_path / "leaving.csv").read_text().splitlines()
    assert len(leaving) == len((tmp_path / "scored.csv").read_text().splitlines())
    liked = pq.read_table(tmp_path / "likes" / "suggestions.parquet")
    assert liked.column_names == ["player_id", "item", "rank", "score"]
    told = {entry["name"] for entry in json.loads((tmp_path / "snaps" / "_features.json").read_text())}
    assert told == features - {"player_id", "snapshot_time"}


def test_the_blocks_on_tuning_run(tmp_path: Path) -> None:
    run_commands("docs/tuning.md", tmp_path, fewest=1)
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == 601
    assert len(json.loads((tmp_path / "tuned" / "metrics.json").read_text())["search"]["trials"]) == 12


def test_the_blocks_on_any_table_run(tmp_path: Path) -> None:
    """On the first customers of the real table where it lies beside the project, else on the made ones."""
    real = ROOT.parent / "shared" / "data" / "telco_churn" / "telco.csv"
    if real.is_file():
        (tmp_path / "telco.csv").write_text("".join(real.open(encoding="utf-8").readlines()[:251]), encoding="utf-8")
    block, environment = run_blocks("docs/telco.md", tmp_path, fewest=3)
    assert (tmp_path / "scored.csv").read_text().splitlines()[0] == "customerID,scored_label,scored_probability"
    for page in ("run", "charges"):
        text = (tmp_path / page / "report.html").read_text(encoding="utf-8").lower()
        assert not re.search(r"\b(player|game)s?\b", text)
    assert "which customer has churn = yes?" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8").lower()
    if shutil.which("curl") is None:
        pytest.skip("the request needs curl")
    (record,), answer = served(block, tmp_path, environment)
    assert names(answer) == re.findall(r'"(\w+)":', block.splitlines()[-1])
    wanted = Scorer.load(tmp_path / "charges" / "bundle").predict([record])
    assert answer["predictions"][0]["value"] == pytest.approx(float(wanted.labels[0]), rel=1e-6)


@pytest.mark.slow
def test_the_blocks_on_values_run(tmp_path: Path) -> None:
    block, environment = run_blocks("docs/value.md", tmp_path, fewest=2)
    scored = list(csv.DictReader((tmp_path / "scored.csv").read_text().splitlines()))
    assert list(scored[0]) == ["player_id", "scored_value", "scored_lower", "scored_upper"]
    assert len(scored) == 4_000
    assert (tmp_path / "again" / "report.html").is_file()
    learners = json.loads((tmp_path / "run" / "metrics.json").read_text())["learners"]
    assert [row["learner"] for row in learners if row["failed"]] == []
    assert "network" in {row["learner"] for row in learners}
    if shutil.which("curl") is None:
        pytest.skip("the request needs curl")
    (record,), answer = served(block, tmp_path, environment)
    assert names(answer) == re.findall(r'"(\w+)":', block.splitlines()[-1])
    wanted = Scorer.load(tmp_path / "run" / "bundle").predict([record])
    assert answer["predictions"][0]["value"] == pytest.approx(float(wanted.labels[0]), rel=1e-6)
