"""Tables as people have them: encodings, delimiters, quotes, and what is wrong with a file, told in one sentence."""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import enum
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ludocast.datamodules.cells import parse_category
from ludocast.datamodules.read import from_frame, read_table

KOREAN = "나이,국가 \n007,한국\n"


def read(folder: Path, content: bytes, **options: Any) -> dict[str, list[str | None]]:
    (folder / "t.csv").write_bytes(content)
    table = read_table(folder / "t.csv", **options)
    assert set(table.schema.types) == {pa.string()}  # cells stay the text they are
    return {name: table[name].to_pylist() for name in table.column_names}


def refusal(folder: Path, content: bytes, **options: Any) -> str:
    (folder / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"file|csv|encoding|delimiter|row") as caught:
        read_table(folder / "t.csv", **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence.removeprefix(f"{folder / 't.csv'} ")


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("UTF8", b""),
        ("cp949", b""),
        ("euc_kr", b""),
        ("utf-16", b""),  # Python writes its mark itself
        ("utf-16-le", b""),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32", b""),
        ("gb18030", b""),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, mark: bytes) -> None:
    assert read(tmp_path, mark + KOREAN.encode(encoding), encoding=encoding) == {"나이": ["007"], "국가 ": ["한국"]}


def test_latin_1(tmp_path: Path) -> None:
    assert read(tmp_path, "âge;b\n1;é\n".encode("latin-1"), encoding="latin-1") == {"âge": ["1"], "b": ["é"]}


@pytest.mark.parametrize("rows", [1, 30_000])  # in the header's part of the file, and far behind it
def test_another_encoding_is_told(tmp_path: Path, rows: int) -> None:
    content = ("a,b\n" + "1,2\n" * rows).encode() + "1,한국\n".encode("cp949")
    assert refusal(tmp_path, content) == 'is not text in encoding "utf-8"; name its own with --encoding'


def test_utf_16_without_its_name_is_recognised(tmp_path: Path) -> None:
    assert refusal(tmp_path, KOREAN.encode("utf-16")) == "looks like text in UTF-16; read it with --encoding utf-16"


@pytest.mark.parametrize("encoding", ["utf-99", "hex", ""])
def test_unknown_encodings_are_told(tmp_path: Path, encoding: str) -> None:
    wanted = f'unknown encoding "{encoding}"; common ones are utf-8, cp1252, cp949, utf-16'
    assert refusal(tmp_path, b"a,b\n1,2\n", encoding=encoding) == wanted


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    content = f'a{delimiter}"b,;|\t""c"{delimiter}d\n1{delimiter}"x{delimiter}y"{delimiter}\n'.encode()
    assert read(tmp_path, content) == {"a": ["1"], 'b,;|\t"c': [f"x{delimiter}y"], "d": [""]}


def test_a_given_delimiter_is_followed(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,b:c\n1,2:3\n", delimiter=":") == {"a,b": ["1,2"], "c": ["3"]}
    assert read(tmp_path, b"a,b\tc\n1,2\t3\n", delimiter="\\t") == {"a,b": ["1,2"], "c": ["3"]}


@pytest.mark.parametrize("delimiter", ["", "::", "·", "\n", '"'])
def test_a_delimiter_that_is_none_is_told(tmp_path: Path, delimiter: str) -> None:
    wanted = f'--delimiter is one character such as ";", or tab, got {delimiter!r}'
    assert refusal(tmp_path, b"a,b\n1,2\n", delimiter=delimiter) == wanted


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"a\n1\n2\n", {"a": ["1", "2"]}),
        (b"a,b\r\n1,2\r\n", {"a": ["1"], "b": ["2"]}),
        (b"a,b\r1,2\r", {"a": ["1"], "b": ["2"]}),
        (b"a,b\n1,2", {"a": ["1"], "b": ["2"]}),
        (b"\n\r\na,b\n\n007,2\n\n", {"a": ["007"], "b": ["2"]}),  # empty lines are no rows
        (b'a,b\n1,"x\ny"\n2,"z\r\n"\n', {"a": ["1", "2"], "b": ["x\ny", "z\r\n"]}),
        (b'"a\nx",b\n1,2\n', {"a\nx": ["1"], "b": ["2"]}),
        (b' a ,"b"\n 1 ," 2"\n', {" a ": [" 1 "], "b": [" 2"]}),
        (b'a,b\n5" disk,"say ""hi"""\n', {"a": ['5" disk'], "b": ['say "hi"']}),
        (b"a,\n1,2\n", {"a": ["1"], "": ["2"]}),
        (b"a,b\n1,NA\n,nan\n", {"a": ["1", ""], "b": ["NA", "nan"]}),  # missing is for the schema to say
    ],
)
def test_lines_quotes_and_blanks(tmp_path: Path, content: bytes, wanted: dict[str, list[str]]) -> None:
    assert read(tmp_path, content) == wanted


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(CELL, min_size=1, max_size=4, unique=True).flatmap(
        lambda names: st.tuples(
            st.just(names), st.lists(st.lists(CELL, min_size=len(names), max_size=len(names)), min_size=1, max_size=4)
        )
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_pythons_csv_writes_is_read_cell_by_cell(
    tmp_path: Path, table: tuple[list[str], list[list[str]]], delimiter: str, end: str
) -> None:
    names, rows = table
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    found = read_table(tmp_path / "t.csv", delimiter=delimiter)
    assert found.column_names == names
    assert [list(row) for row in zip(*found.to_pydict().values(), strict=True)] == rows


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a,b\n1,2\n3\n4,5\n", "is broken CSV: Row #3: Expected 2 columns, got 1: 3; mend line 3 (line 1 is the header)"),
        (b"a,b\n1,2\n1,2,3\n", "is broken CSV: Row #3: Expected 2 columns, got 3: 1,2,3; mend line 3 (line 1 is the header)"),
        (b'a,b\n\n1,"x\ny"\n3\n', "is broken CSV: Row #3: Expected 2 columns, got 1: 3; mend line 5 (line 1 is the header)"),
        (b"a,b\n" + b"1,2\n" * 100_000 + b"3\n",
         "is broken CSV: Row #100002: Expected 2 columns, got 1: 3; mend line 100002 (line 1 is the header)"),
        (b'a,b\n1,"x\n3,4\n', 'is broken CSV: the quote before "x" is left open to the end of the file; close it'),
        (b"a,b,a\n1,2,3\n", "has the column name 'a' twice; rename one of them"),
        (b"a,b\n", "has a header but no rows; a table to learn from needs rows below it"),
        (b"a,b", "has a header but no rows; a table needs rows below it"),
        (b"\n\n", "holds empty lines alone; a table needs a header line and rows"),
        (codecs.BOM_UTF8, "holds empty lines alone; a table needs a header line and rows"),
        (b"", "is empty (0 bytes); a table needs a header line and rows"),
        (b"\x7fELF\0\1\2\3" * 9, "is a binary file, not CSV text; give a CSV or a .parquet file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(1, 256)), 'is not text in encoding "utf-8"; name its own with --encoding'),
        (b"a,b\n1," + b"x" * 10_000_000 + b"\n",
         'row 1, column "b": a cell of more than 1,000,000 characters; is a quote left open?'),
        (b"a,b\n1,2\n1," + b"x" * 40_000_000 + b"\n",  # longer than the reader's own block
         'row 2, column "b": a cell of more than 1,000,000 characters; is a quote left open?'),
        (b'a,b\n1,"2\n' + b"3,4\n" * 400_000,
         'row 1, column "b": a cell of more than 1,000,000 characters; is a quote left open?'),
        (b'a,"b\n' + b"3,4\n" * 400_000,
         "has no header line of column names (field larger than field limit (1000000)); is a quote left open in it?"),
    ],
    ids=["short", "long", "after lines of their own", "far", "open quote", "duplicate names", "header only",
         "header without its end", "empty lines", "mark only", "empty", "binary", "picture", "10 MB cell", "40 MB cell",
         "open quote in a long file", "open quote in the header"],
)  # fmt: skip
def test_broken_files_are_told_in_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    assert refusal(tmp_path, content) == sentence


def test_a_cell_of_a_million_characters_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,b\n1," + b"x" * 1_000_000 + b"\n")["b"] == ["x" * 1_000_000]


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*absent\.csv; give the path"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="is a folder; give the path of one"):
        read_table(tmp_path)


def test_parquet_keeps_types(tmp_path: Path) -> None:
    table = pa.table({"n": pa.array([1, None], pa.int16()), "국가 ": ["a", "b"], "t": [dt.date(2026, 1, 1)] * 2})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").equals(table)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pa.table([[1], [2]], names=["a", "a"]), "has the column name 'a' twice; rename one of them"),
        (pa.table({"a": pa.array([], pa.int64())}), "has a header but no rows"),
    ],
)
def test_parquet_that_does_not_serve_is_told(tmp_path: Path, table: pa.Table, sentence: str) -> None:
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=sentence):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("keep", [4, 100])
def test_damaged_parquet_is_told(tmp_path: Path, keep: int) -> None:
    pq.write_table(pa.table({"a": list(range(1000))}), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"t\.parquet is not a readable Parquet file: "):
        read_table(tmp_path / "t.parquet")


class Plan(str, enum.Enum):  # noqa: UP042 - a StrEnum would print itself as its text anyway
    PRO = "pro"


def test_a_frame_of_objects_means_the_same_as_in_scoring() -> None:
    cells = ["x", " 1", 1, 1.0, 1.5, np.float32(2), np.int8(3), True, np.False_, Decimal("2.50"), dt.date(2026, 1, 2),
             dt.datetime(2026, 1, 2, 3), Plan.PRO, None, math.nan, pd.NA, pd.NaT]  # fmt: skip
    found = from_frame(pd.DataFrame({"c": pd.Series(cells, dtype=object)}))["c"].to_pylist()
    assert found == ["x", " 1", "1", "1", "1.5", "2", "3", "true", "false", "2.5", "2026-01-02", "2026-01-02T03:00:00", "pro",
                     None, None, None, None]  # fmt: skip
    assert [parse_category(cell, frozenset()) for cell in cells] == ["" if cell is None else cell for cell in found]


def test_a_frames_infinite_numbers_stay_to_be_warned_of() -> None:
    assert from_frame(pd.DataFrame({"c": pd.Series([math.inf, "x"], dtype=object)}))["c"].to_pylist() == ["inf", "x"]


def test_a_frames_own_types_are_kept() -> None:
    frame = pd.DataFrame({"n": [1, 2], "f": [1.5, math.nan], "t": pd.to_datetime(["2026-01-01", "NaT"])}, index=[7, 3])
    frame["c"] = pd.Categorical(["a", None])
    found = from_frame(frame)
    assert found.column_names == ["n", "f", "t", "c"]
    assert found.to_pydict() == {
        "n": [1, 2], "f": [1.5, None], "t": [pd.Timestamp("2026-01-01"), None], "c": ["a", None],
    }  # fmt: skip
    with pytest.raises(ValueError, match="the frame has the column name 'n' twice"):
        from_frame(pd.DataFrame([[1, 2]], columns=["n", "n"]))


@pytest.mark.parametrize(
    ("name", "what"), [("rows.jsonl", "a JSON file"), ("t.XLSX", "a spreadsheet"), ("t.csv.gz", "a compressed file")]
)
def test_formats_that_training_does_not_read_are_told_by_name(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(b"a,b\n1,2\n")
    with pytest.raises(ValueError, match=f"is {what}; a table to learn from is CSV or Parquet"):
        read_table(tmp_path / name)
