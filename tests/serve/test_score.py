from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ludocast.serve.manifest import Input

from ludocast.__main__ import main

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """P(yes) = sigmoid(age / 10 + 1 if plan is pro), 0 for a missing age; "yes" from 0.7 on."""
    from ludocast.serve.bundle import write_bundle
    from ludocast.serve.graph import GraphBuilder
    from onnx import TensorProto, helper

    graph = GraphBuilder()
    age, plan = graph.input("x0", TensorProto.FLOAT, 1), graph.input("x1", TensorProto.STRING, 1)
    known = graph.op("Where", graph.op("IsNaN", age), graph.floats(0.0), age)
    pro = graph.op("LabelEncoder", plan, keys_strings=["pro"], values_floats=[1.0], default_float=0.0)
    p = graph.op("Sigmoid", graph.op("Add", graph.op("Mul", known, graph.floats(0.1)), pro))
    both = graph.op("Concat", graph.op("Sub", graph.floats(1.0), p), p, axis=1)
    import numpy as np

    high = graph.op("GreaterOrEqual", graph.op("Gather", both, graph.constant(np.array(1)), axis=1), graph.floats(0.7))
    index = graph.op("Cast", high, to=TensorProto.INT64)
    names = graph.constant(np.array(["no", "yes"], dtype=object))
    graph.output(graph.op("Gather", names, index, axis=0), "label", TensorProto.STRING, ["N"])
    graph.output(both, "probabilities", TensorProto.FLOAT, ["N", 2])
    folder = tmp_path_factory.mktemp("bundles") / "b"
    inputs = [Input("age", "x0", "number", None, (10, 60)), Input("plan", "x1", "category", ("basic", "pro"))]
    model = graph.model("", {}).SerializeToString()
    write_bundle(folder, model, name="b", inputs=inputs, classes=["no", "yes"], positive="yes", threshold=0.7)
    assert helper is not None
    return folder


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def score(bundle: Path, source: Path, output: Path, *words: str) -> int:
    return main(["score", "--bundle", str(bundle), "--input", str(source), "--output", str(output), *words])


def test_csv_keeps_rows_columns_and_text_verbatim(bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text('id,plan,age,note\n007,pro,30,"a, ""b"""\n008,basic,,\n009,new,1e1,x\n', encoding="utf-8")
    assert score(bundle, source, tmp_path / "out.csv") == 0
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["007", "008", "009"]
    assert rows[0]["note"] == 'a, "b"'
    assert [row["scored_label"] for row in rows] == ["yes", "no", "yes"]
    wanted = [sigmoid(3 + 1), sigmoid(0), sigmoid(1)]
    assert [float(row["scored_probability"]) for row in rows] == pytest.approx(wanted, abs=1e-6)
    assert list(rows[0]) == ["id", "plan", "age", "note", "scored_label", "scored_probability"]


def test_many_chunks_stay_in_order_and_keep_chooses_columns(bundle: Path, tmp_path: Path) -> None:
    rows = 150_000
    table = pa.table({"age": [float(i % 50) for i in range(rows)], "plan": ["pro"] * rows, "id": list(range(rows))})
    pq.write_table(table, tmp_path / "in.parquet")
    assert score(bundle, tmp_path / "in.parquet", tmp_path / "out.parquet", "--keep", "id") == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["id", "scored_label", "scored_probability"]
    assert found["id"].to_pylist() == list(range(rows))
    assert found["scored_probability"][149_999].as_py() == pytest.approx(sigmoid(4.9 + 1), abs=1e-6)


def test_the_same_table_as_csv_and_as_parquet_is_scored_alike(bundle: Path, tmp_path: Path) -> None:
    ages = [30.5, None, -7.0, 1e30, 0.1] * 300  # more rows than the model takes at once
    plans = ["pro", "basic", None, "pro", "new"] * 300
    pq.write_table(pa.table({"age": ages, "plan": plans}), tmp_path / "in.parquet")
    text = "".join(
        f"{'' if age is None else age},{'NA' if plan is None else plan}\n"
        for age, plan in zip(ages, plans, strict=True)
    )
    (tmp_path / "in.csv").write_text("age,plan\n" + text)
    for name in ("csv", "parquet"):
        assert score(bundle, tmp_path / f"in.{name}", tmp_path / f"out_{name}.parquet", "--keep", "age") == 0
    found = [pq.read_table(tmp_path / f"out_{name}.parquet") for name in ("csv", "parquet")]
    assert found[0]["scored_label"].equals(found[1]["scored_label"])
    assert found[0]["scored_probability"].equals(found[1]["scored_probability"])
    wanted = [sigmoid(3.05 + 1), sigmoid(0), sigmoid(-0.7), 1.0, sigmoid(0.01)] * 300
    assert found[0]["scored_probability"].to_pylist() == pytest.approx(wanted, abs=1e-6)


def test_what_is_taken_as_missing_is_told_once_for_the_whole_file(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"age": [1.0, math.inf] * 50_000, "plan": ["pro"] * 100_000}), tmp_path / "in.parquet")
    assert score(bundle, tmp_path / "in.parquet", tmp_path / "out.csv") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert told == ['note: column "age": 50,000 infinite or too large numbers were taken as missing']


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        ("age,plan\n1,pro\nabc,pro\n", [], 'row 2, column "age": expected a number, got "abc"'),
        ("age\n1\n", [], '"plan"'),
        ("age,plan\n", [], "header but no rows"),
        ("age,plan\n1,pro\n2\n", [], "Row #3"),
        ("age,plan,scored_label\n1,pro,x\n", [], "scored_label"),
        ("age,plan\n1,pro\n", ["--keep", "id"], '"id" to keep'),
        ("age,age\n1,pro\n", [], "twice"),
        ("age,plan\n1," + "x" * 2_000_000 + "\n", [], "cell of more than"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    bundle: Path, tmp_path: Path, text: str, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text(text)
    assert score(bundle, tmp_path / "in.csv", tmp_path / "out.csv", *words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_an_existing_output_is_kept(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.csv").write_text("age,plan\n1,pro\n")
    (tmp_path / "out.csv").write_text("mine")
    assert score(bundle, tmp_path / "in.csv", tmp_path / "out.csv") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert score(bundle, tmp_path / "in.csv", tmp_path / "out.csv", "--overwrite") == 0


def test_a_full_disk_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("age,plan\n" + "1,pro\n" * 50_000)
    # A limit on the size of files stands for the full disk: the same error path, without filling one.
    limited = (
        f"ulimit -f 100; exec {sys.executable} -m ludocast score --bundle {bundle} --input in.csv --output out.csv"
    )
    done = subprocess.run(
        ["bash", "-c", limited], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_loading_predicting_and_serving_load_no_training_library(bundle: Path) -> None:
    code = (
        "import sys\nimport ludocast.serve.server\nfrom ludocast.serve.scorer import Scorer\n"
        f"found = Scorer.load({str(bundle)!r}).predict([{{'age': 30, 'plan': 'pro'}}])\n"
        "assert found.labels.tolist() == ['yes']\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'onnx', 'pytorch_lightning', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scoring_a_file_needs_no_training_library(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("age,plan\n1,pro\n")
    # Absent rather than unloaded: pyarrow itself looks for pandas.
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pandas", "sklearn", "onnx", "pytorch_lightning", "scipy"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from ludocast.__main__ import main
sys.exit(main(["score", "--bundle", {str(bundle)!r}, "--input", "in.csv", "--output", "out.csv"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('age,plan\n1,pro\n2,"basic\n3,pro\n', 'the quote before "basic" is left open to the end of the file'),
        ('age,plan\n1,"a\nb"\n2\n', "mend line 4"),
        ("\n\n", "empty lines alone"),
        ("age,plan", "header but no rows"),
    ],
)
def test_broken_files_leave_no_rows_out_in_silence(
    bundle: Path, tmp_path: Path, text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text(text)
    assert score(bundle, tmp_path / "in.csv", tmp_path / "out.csv") == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
