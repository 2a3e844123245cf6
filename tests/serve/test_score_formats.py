"""Tables of every format, in and out, and what is no table."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ludocast.__main__ import main
from tests.serve.logistic import by_hand, write_logistic

ROOT = Path(__file__).parent.parent.parent
ROWS: list[dict[str, Any]] = [
    {"age": 30, "plan": "pro", "active": "true", "last seen ": None, "note": '=1+1, "a"'},
    {"age": None, "plan": "요금", "active": "false", "last seen ": None, "note": None},
    {"age": 12.5, "plan": None, "active": None, "last seen ": None, "note": "x"},
]
WANTED = [by_hand(30, "pro", "true", None), by_hand(None, "요금", "false", None), by_hand(12.5, "", "", None)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("bundles") / "demo")


def score(bundle: Path, source: Path, output: Path, *words: str) -> int:
    return main(["score", "--bundle", str(bundle), "--input", str(source), "--output", str(output), *words])


def write_input(path: Path) -> None:
    if ".jsonl" in path.name:
        text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    elif ".csv" in path.name:
        lines = [",".join(ROWS[0])]
        for row in ROWS:
            cells = ["" if value is None else str(value).replace('"', '""') for value in row.values()]
            lines.append(",".join(f'"{cell}"' for cell in cells))
        text = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        book = openpyxl.Workbook()
        sheet = book.active
        sheet.append(list(ROWS[0]))
        for row in ROWS:
            sheet.append([None if value is None else value for value in row.values()])
        sheet["E2"].data_type = "s"
        book.save(path)


def read_output(path: Path) -> list[tuple[str, float]]:
    """Notes and probabilities."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    elif ".jsonl" in path.name:
        rows = [json.loads(line) for line in data.splitlines()]
    elif ".csv" in path.name:
        import csv

        rows = list(csv.DictReader(io.StringIO(data.decode())))
    else:
        values = list(openpyxl.load_workbook(path).active.values)
        rows = [dict(zip(values[0], row, strict=True)) for row in values[1:]]
    return [(row["note"] or "", float(row["scored_probability"])) for row in rows]


NAMES = ("t.csv", "t.parquet", "t.jsonl", "t.xlsx", "t.csv.gz", "t.jsonl.gz")


@pytest.mark.parametrize(("source", "output"), [*zip(NAMES, NAMES[1:] + NAMES[:1], strict=True), ("t.xlsx", "t.xlsx")])
def test_every_format_goes_in_and_out(bundle: Path, tmp_path: Path, source: str, output: str) -> None:
    write_input(tmp_path / source)
    output = f"scored_{output}"
    assert score(bundle, tmp_path / source, tmp_path / output) == 0
    found = read_output(tmp_path / output)
    assert [note for note, _ in found] == [row["note"] or "" for row in ROWS]
    assert [p for _, p in found] == pytest.approx(WANTED, abs=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({source, output})


def test_a_formula_of_a_player_stays_text_in_a_spreadsheet(bundle: Path, tmp_path: Path) -> None:
    write_input(tmp_path / "t.jsonl")
    assert score(bundle, tmp_path / "t.jsonl", tmp_path / "out.xlsx") == 0
    assert openpyxl.load_workbook(tmp_path / "out.xlsx").active["E2"].data_type != "f"


@pytest.mark.parametrize("kind", ["parquet", "xlsx"])  # the pickiest ones
def test_standard_input_and_output(bundle: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"t.{kind}"
    write_input(source)
    words = ["--bundle", str(bundle), "--input", "-", "--output", "-", "--format", kind]
    done = subprocess.run(
        [sys.executable, "-m", "ludocast", "score", *words],
        cwd=ROOT, input=source.read_bytes(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    output = tmp_path / f"out.{kind}"
    output.write_bytes(done.stdout)
    assert [p for _, p in read_output(output)] == pytest.approx(WANTED, abs=1e-6)
    assert b"3 rows scored" in done.stderr


def test_a_data_set_keeps_its_folders(bundle: Path, tmp_path: Path) -> None:
    for plan, ages in (("pro", [30, 31]), ("basic", [None])):
        folder = tmp_path / "in" / f"plan={plan}"
        folder.mkdir(parents=True)
        rows = {"age": pa.array(ages, pa.float64()), "active": ["true"] * len(ages)}
        pq.write_table(pa.table({**rows, "last seen ": pa.nulls(len(ages), pa.string())}), folder / "part-0.parquet")
    (tmp_path / "in" / "_SUCCESS").touch()
    assert score(bundle, tmp_path / "in", tmp_path / "out") == 0
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.parquet"))
    assert files == ["plan=basic/part-0.parquet", "plan=pro/part-0.parquet"]
    found = pq.read_table(tmp_path / "out" / "plan=pro" / "part-0.parquet", partitioning=None)
    assert found.column_names == ["age", "active", "last seen ", "scored_label", "scored_probability"]
    wanted = [by_hand(age, "pro", "true", None) for age in (30, 31)]
    assert found["scored_probability"].to_pylist() == pytest.approx(wanted, abs=1e-6)
    assert score(bundle, tmp_path / "in", tmp_path / "one.parquet") == 0
    one = pq.read_table(tmp_path / "one.parquet")
    assert one["plan"].to_pylist() == ["basic", "pro", "pro"]
    assert score(bundle, tmp_path / "in", tmp_path / "out", "--overwrite", "--keep", "age") == 0
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_columns_of_json_have_one_type_in_all_chunks(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ludocast.serve.batch.run.CHUNK_ROWS", 1)
    rows = [{**ROWS[0], "a": 1, "b": [1]}, {**ROWS[0], "a": "x", "b": [2.5, None]}, {**ROWS[0], "c": {"d": True}}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert score(bundle, tmp_path / "t.jsonl", tmp_path / "out.parquet") == 0
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["a"], row["b"], row["c"]) for row in found] == [
        ("1", [1.0], None), ("x", [2.5, None], None), (None, None, '{"d":true}'),
    ]  # fmt: skip


def bomb(path: Path, member: str, megabytes: int) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(member, "w", force_zip64=True) as file,
    ):
        for _ in range(megabytes):
            file.write(b" " * (1 << 20))


def sheet(path: Path, rows: str) -> None:
    """A spreadsheet with these rows of XML, which its library did not write."""
    book = openpyxl.Workbook()
    book.active.append(["age"])
    book.save(path.with_suffix(".made"))
    with zipfile.ZipFile(path.with_suffix(".made")) as made, zipfile.ZipFile(path, "w") as archive:
        for name in made.namelist():
            content = made.read(name)
            if name == "xl/worksheets/sheet1.xml":
                content = content.replace(b"</sheetData>", rows.encode() + b"</sheetData>")
            archive.writestr(name, content)
    path.with_suffix(".made").unlink()


def test_spreadsheets_that_are_bombs_are_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ludocast.serve.tables.excel_read.LARGEST_OTHERS", 20 << 20)
    bomb(tmp_path / "shared.xlsx", "xl/sharedStrings.xml", 21)
    sheet(tmp_path / "far.xlsx", '<row r="999999999999"><c r="A2"><v>1</v></c></row>')
    sheet(tmp_path / "wide.xlsx", '<row r="2"><c r="XFD2"><v>1</v></c></row>')
    (tmp_path / "none.xlsx").write_bytes(b"PK\x03\x04 no archive")
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    sheet(tmp_path / "laughs.xlsx", '<row r="2"><c r="A2" t="inlineStr"><is><t>&l9;</t></is></c></row>')
    with zipfile.ZipFile(tmp_path / "laughs.xlsx") as made:
        content = {name: made.read(name) for name in made.namelist()}
    with zipfile.ZipFile(tmp_path / "laughs.xlsx", "w") as archive:
        content["xl/worksheets/sheet1.xml"] = (
            f'<!DOCTYPE w [<!ENTITY l0 "ha">{laughs}]>'.encode() + content["xl/worksheets/sheet1.xml"]
        )
        for name, data in content.items():
            archive.writestr(name, data)
    for name, sentence in (
        ("shared", "unpacks into"), ("far", "more cells than a spreadsheet"), ("wide", "to the right of the last"),
        ("none", "not an XLSX file"), ("laughs", "not a readable XLSX"),
    ):  # fmt: skip
        assert score(bundle, tmp_path / f"{name}.xlsx", tmp_path / "out.csv") == 2, name
        assert sentence in capsys.readouterr().err, name
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".xlsx"] * 5


def test_a_gzip_bomb_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ludocast.serve.tables.plain.SURELY_FINE", 1 << 20)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"age\n" + b"1\n" * 8_000_000))
    assert score(bundle, tmp_path / "t.csv.gz", tmp_path / "out.csv") == 2
    assert "unpacks into more than" in capsys.readouterr().err
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"age\n1\n")[:-4])
    assert score(bundle, tmp_path / "t.csv.gz", tmp_path / "out.csv") == 2
    assert "not a whole gzip file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.jsonl", b'{"age": 1}\n{"age"\n', "row 2: no JSON"),
        ("t.jsonl", b"[1]\n", "no object of names and values"),
        ("t.jsonl", b"\n\n", "holds no record"),
        ("t.parquet", b"PAR1 is not enough", "not a readable Parquet file"),
    ],
)
def test_broken_files_are_told_of(
    bundle: Path, tmp_path: Path, name: str, content: bytes, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert score(bundle, tmp_path / name, tmp_path / "out.csv") == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_json_that_is_nested_or_has_endless_columns_is_a_sentence(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep.jsonl").write_text(json.dumps({**ROWS[0], "x": 1})[:-2] + "[" * 900 + "]" * 900 + "}\n")
    (tmp_path / "wide.jsonl").write_text("".join(f'{{"{n}": 1}}\n' for n in range(10_001)))
    for name, sentence in (("deep", "nested too deeply"), ("wide", "more than 10,000 columns")):
        assert score(bundle, tmp_path / f"{name}.jsonl", tmp_path / "out.csv") == 2
        assert sentence in capsys.readouterr().err
