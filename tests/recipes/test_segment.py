"""`ludocast segment` from a table to answers, and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv as csv
import pytest
from ludocast.datamodules.simulate_segments import simulate_segments
from ludocast.serve.client import Client
from ludocast.serve.manifest import parse_manifest
from ludocast.serve.scorer import Scorer
from ludocast.serve.taker import ManifestError
from sklearn.metrics import adjusted_rand_score

from ludocast.__main__ import main
from tests.serve.listening import ask, served
from tests.warm.start import warm_python

ROW = {
    "level": 60, "days_played": 27, "night_share": 0.3, "spent": 700, "subscribed": True, "country": "KR",
    "device": "computer", "joined": "2026-03-01",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segments")
    table, truth = simulate_segments(1500, 5)
    csv.write_csv(table, folder / "players.csv")
    np.save(folder / "truth.npy", truth)
    words = ["--method", "kmeans", "--k", "5", "--exclude", "player_id", "--anomalies", "--entity", "customer"]
    assert main(["segment", "--data", str(folder / "players.csv"), *words, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder / "run" / "bundle") as found:
        yield found


def test_the_report_speaks_of_what_a_row_is(folder: Path) -> None:
    page = (folder / "run" / "report.html").read_text()
    assert "Odd customers" in page
    assert "A typical customer of each" in page
    text = re.sub(r"<[^>]*>", " ", page)
    assert not re.findall(r"\b(?:players?|rows?)\b", text.partition("How many segments")[0])


def test_every_row_of_a_file_gets_its_segment(folder: Path, tmp_path: Path) -> None:
    scored = tmp_path / "scored.csv"
    asked = ["--bundle", str(folder / "run" / "bundle"), "--input", str(folder / "players.csv"), "--keep", "player_id"]
    assert main(["score", *asked, "--output", str(scored)]) == 0
    frame = pd.read_csv(scored)
    distances = [f"scored_distance_{k}" for k in range(1, 6)]
    assert list(frame.columns) == ["player_id", "scored_segment", *distances, "scored_anomaly"]
    assert (frame[distances].to_numpy().argmin(axis=1) + 1 == frame["scored_segment"]).all()
    assert adjusted_rand_score(np.load(folder / "truth.npy"), frame["scored_segment"]) >= 0.95
    sizes = frame["scored_segment"].value_counts().sort_index()
    assert sizes.is_monotonic_decreasing  # segment 1 is the largest
    assert frame["scored_anomaly"].between(0.3, 0.9).all()
    bot = {**ROW, "days_played": 30, "level": 79, "spent": 0.01, "night_share": 0.99, "device": "phone"}
    score = Scorer.load(folder / "run" / "bundle").predict([bot]).probabilities[0, -1]
    assert score > np.quantile(frame["scored_anomaly"], 0.99)


def test_every_protocol_gives_the_same_answer(folder: Path, url: str) -> None:
    found = Scorer.load(folder / "run" / "bundle").predict([ROW])
    answer = ask(f"{url}/predict", [ROW])[1]["predictions"][0]
    assert answer["segment"] == found.labels[0]
    assert [*answer["distances"].values(), answer["anomaly"]] == found.probabilities[0].tolist()
    outputs = ask(f"{url}/v2/models/run")[1]["outputs"]
    assert [(one["name"], one["shape"]) for one in outputs] == [
        ("segment", [-1]),
        ("distances", [-1, 5]),
        ("anomaly", [-1]),
    ]
    assert Client(url).predict([ROW]).predictions[0] == answer


def test_the_classic_service_answers_as_its_clustering_did(folder: Path, url: str) -> None:
    names = [*ROW, "player_id"]
    asked = {"Inputs": {"input1": {"ColumnNames": names, "Values": [[str(value) for value in ROW.values()] + ["p1"]]}}}
    place = f"{url}/workspaces/w/services/run/execute?api-version=2.0&details=true"
    value = ask(place, {**asked, "GlobalParameters": {}})[1]["Results"]["output1"]["value"]
    assert value["ColumnNames"] == [*names, "Assignments", *(f"DistancesToClusterCenter no.{k}" for k in range(5))]
    assert value["ColumnTypes"][-6:] == ["String", *["Double"] * 5]
    found = Scorer.load(folder / "run" / "bundle").predict([ROW])
    assert value["Values"][0][-6] == found.labels[0]
    assert [float(text) for text in value["Values"][0][-5:]] == pytest.approx(found.probabilities[0, :5].tolist())


def test_the_openapi_document_describes_the_answer(url: str) -> None:
    schema = ask(f"{url}/openapi.json")[1]["components"]["schemas"]["Prediction"]
    answer = ask(f"{url}/predict", [ROW])[1]["predictions"][0]
    assert schema["required"] == list(schema["properties"]) == list(answer)
    assert schema["properties"]["segment"] == {"type": "string", "enum": ["1", "2", "3", "4", "5"]}
    assert list(schema["properties"]["distances"]["properties"]) == list(answer["distances"])
    assert schema["properties"]["anomaly"]["type"] == "number"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"measures": []}, '"measures" has to be one of distances, probabilities'),
        ({"measures": ["distances", "odd"]}, '"measures" has to be one of distances, probabilities'),
        ({"measures": ["distances"]}, '"check_rows.probabilities" has to hold one number a class'),
        ({"format": 2}, '"task" has to be'),
    ],
)
def test_what_a_manifest_says_is_checked(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    document = json.loads((folder / "run" / "bundle" / "bundle.json").read_text())
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps({**document, **changes}))
    assert sentence in str(caught.value)


def refused(capsys: Any, *words: str) -> str:
    assert main(["segment", *words]) == 2
    return str(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        ("a,b\n1,2\n", [], "has one row; segments need two or more"),
        ("a,b\n1,x\n1,x\n1,x\n", [], "no column is left to tell rows apart (\"a\": constant: always '1'"),
        (
            "a,b\n1,x\n2,y\n3,x\n",
            ["--exclude", "a,b"],
            'no column is left to tell rows apart ("a": excluded; "b": excluded)',
        ),
        ("a\n1\n2\n3\n", ["--k", "4"], "--k 4 is more than the 3 different rows of the table"),
        ("a\n1\n2\n1\n2\n", ["--k", "3"], "--k 3 is more than the 2 different rows of the table"),
        ("a\n1\n2\n", ["--k", "1"], '--k is auto or a number from 2 to 100, got "1"'),
        ("a\n1\n2\n", ["--method", "kmean"], 'did you mean "kmeans"?'),
        ("a\n1\n2\n", ["--exclude", "A"], 'the table has no column "A"'),
    ],
)
def test_input_that_cannot_be_used_is_refused(
    tmp_path: Path, capsys: Any, text: str, words: list[str], sentence: str
) -> None:
    table = tmp_path / "players.csv"
    table.write_text(text)
    said = refused(
        capsys, "--data", str(table), "--out", str(tmp_path / "run"), "--method", "kmeans", "--k", "2", *words
    )
    assert sentence in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["players.csv"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--like", "nothing"], "there is no such folder"),
        (["--compare", "nothing"], "there is no file nothing"),
        (["--compare", "few.csv"], 'few.csv: the table has no column "b"'),
        (["--compare", "none.csv"], "none.csv has"),
    ],
)
def test_what_is_compared_is_refused_before_segments_are_sought(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("all.csv").write_text("a,b\n1,2\n3,4\n8,9\n")
    Path("few.csv").write_text("a\n1\n")
    Path("none.csv").write_text("a,b\n")
    assert main(["segment", "--data", "all.csv", "--k", "2", *words]) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert "trying segments" not in told.out
    assert not Path("run").exists()


def test_a_run_of_other_columns_gives_no_names(folder: Path, tmp_path: Path, capsys: Any) -> None:
    table = tmp_path / "few.csv"
    table.write_text("level,b\n1,2\n3,4\n8,9\n")
    asked = ["--data", str(table), "--method", "kmeans", "--k", "2", "--out", str(tmp_path / "out")]
    assert main(["segment", *asked, "--like", str(folder / "run")]) == 2
    assert "--like, the run run: column" in capsys.readouterr().err


def test_infinite_values_count_as_missing(tmp_path: Path, capsys: Any) -> None:
    table = tmp_path / "players.csv"
    table.write_text("a,b\n" + "".join(f"{'inf' if i == 3 else i % 2 * 10 + i / 100},{i % 2}\n" for i in range(20)))
    assert (
        main(["segment", "--data", str(table), "--out", str(tmp_path / "run"), "--method", "kmeans", "--k", "2"]) == 0
    )
    assert 'column "a": 1 infinite or too large numbers count as missing' in capsys.readouterr().out


def test_equal_seeds_give_equal_bundles_and_an_earlier_run_gives_the_names(folder: Path, tmp_path: Path) -> None:
    words = [
        "segment",
        "--data",
        str(folder / "players.csv"),
        "--exclude",
        "player_id",
        "--method",
        "mixture",
        "--k",
        "5",
    ]
    assert main([*words, "--name", "m", "--out", str(tmp_path / "a")]) == 0
    assert main([*words, "--name", "m", "--out", str(tmp_path / "b")]) == 0
    model = [(tmp_path / run / "bundle" / "model.onnx").read_bytes() for run in "ab"]
    assert model[0] == model[1]
    found = Scorer.load(tmp_path / "a" / "bundle").predict(pd.read_csv(folder / "players.csv"))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    # An earlier run with other names: the same groups keep them.
    manifest = json.loads((tmp_path / "a" / "bundle" / "bundle.json").read_text())
    assert manifest["classes"] == ["1", "2", "3", "4", "5"]
    assert manifest["measures"] == ["probabilities"]
    march, march_groups = simulate_segments(1500, 9, (1, 2, 3, 4, 5))  # other sizes, so another order
    csv.write_csv(march, tmp_path / "march.csv")
    words[2] = str(tmp_path / "march.csv")
    like = ["--like", str(tmp_path / "a"), "--compare", str(folder / "players.csv"), "--out", str(tmp_path / "march")]
    assert main([*words, *like]) == 0
    after = Scorer.load(tmp_path / "march" / "bundle").predict(march)
    before = Scorer.load(tmp_path / "a" / "bundle").predict(march)
    assert (after.labels == before.labels).mean() > 0.95
    assert adjusted_rand_score(march_groups, after.labels) >= 0.95
    names = [one["name"] for one in json.loads((tmp_path / "march" / "metrics.json").read_text())["segments"]]
    assert sorted(names) == ["1", "2", "3", "4", "5"]
    assert names != sorted(names)
    page = (tmp_path / "march" / "report.html").read_text()
    assert "Drift to players.csv" in page
    assert "much drift" in page


def evaluated(folder: Path, data: Path, out: Path, *words: str) -> tuple[int, dict[str, Any]]:
    asked = ["--bundle", str(folder / "run" / "bundle"), "--data", str(data), "--out", str(out)]
    code = main(["evaluate", *asked, *words])
    return code, json.loads((out / "metrics.json").read_text())


def test_an_old_bundle_tells_how_far_segments_have_moved(folder: Path, tmp_path: Path, capsys: Any) -> None:
    table, _ = simulate_segments(1500, 9, (1, 2, 3, 4, 5))
    csv.write_csv(table, tmp_path / "march.csv")
    code, same = evaluated(folder, folder / "players.csv", tmp_path / "same", "--fail-above", "drift=0.1")
    assert code == 0
    assert {one["level"] for one in same["drift"]} == {"none"}
    told = json.loads((folder / "run" / "metrics.json").read_text())["segments"]
    for now, then in zip(same["segments"], told, strict=True):
        assert now["name"] == then["name"]
        assert now["then"] == pytest.approx(then["share"])
        assert now["now"] == pytest.approx(then["share"])
    code, moved = evaluated(folder, tmp_path / "march.csv", tmp_path / "moved", "--fail-above", "drift=0.1")
    assert code == 1
    assert 'columns have moved: "segment"' in capsys.readouterr().out
    labels = Scorer.load(folder / "run" / "bundle").predict(table).labels
    for one in moved["segments"]:
        assert one["now"] == pytest.approx((labels == one["name"]).mean())
    p, q = (np.array([one[when] for one in moved["segments"]]) * 1500 + 0.5 for when in ("then", "now"))
    p, q = p / p.sum(), q / q.sum()
    drift = next(one for one in moved["drift"] if one["kind"] == "segment")
    assert drift["psi"] == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert "Segments, then and now" in (tmp_path / "moved" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--label", "device"], "segments have no labels to be measured by"),
        (["--fail-below", "auc=0.8"], "auc is no measure of the bundle's task, segments"),
    ],
)
def test_segments_have_no_labels(folder: Path, tmp_path: Path, capsys: Any, words: list[str], sentence: str) -> None:
    asked = ["--bundle", str(folder / "run" / "bundle"), "--data", str(folder / "players.csv")]
    assert main(["evaluate", *asked, "--out", str(tmp_path / "out"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_ctrl_c_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    words = ["segment", "--data", str(folder / "players.csv"), "--exclude", "player_id", "--out", "run"]
    run = subprocess.Popen([warm_python(), "-m", "ludocast", *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert any("trying segments" in line for line in run.stdout)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "nothing was kept" in said
    assert list(tmp_path.iterdir()) == []
