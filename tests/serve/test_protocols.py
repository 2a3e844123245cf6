"""Arrow, lines, the Open Inference Protocol by a public client, and Azure ML Studio (classic): the same answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ludocast.serve.scorer import Scorer

from tests.serve.listening import ask, listening, served
from tests.serve.logistic import write_logistic, write_softmax
from tests.serve.made_sequences import made, write
from tests.serve.made_shop import IDS, write_shop

ROWS: list[dict[str, Any]] = [
    {"age": 20, "plan": "pro", "active": True, "last seen ": 1_700_086_400},
    {"age": None, "plan": "요금", "active": "false", "last seen ": "2023-11-15T22:13:20Z"},
    {"age": 60.5, "plan": "basic", "active": None, "last seen ": None},
]
STREAM, FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protocols")
    write_logistic(folder / "demo")
    write_softmax(folder / "three")
    write_shop(folder / "shop")
    write(made("tags"), folder / "tags", name="tags")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder / "demo", folder / "three", folder / "shop", folder / "tags") as found:
        yield found


def send(url: str, body: bytes, kind: str) -> tuple[int, str, bytes]:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def probabilities(folder: Path) -> list[float]:
    return [float(p) for p in Scorer.load(folder / "demo").predict(ROWS).probabilities[:, 1]]


def arrow(rows: list[dict[str, Any]], schema: pa.Schema | None = None, **options: Any) -> bytes:
    table = pa.Table.from_pylist(rows, schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


TYPED = pa.schema([("age", pa.float32()), ("plan", pa.string()), ("active", pa.bool_()), ("last seen ", pa.float64())])
ARROW_ROWS = [
    {**row, "active": a, "last seen ": t}
    for row, a, t in zip(ROWS, (True, False, None), (1_700_086_400, 1_700_086_400, None), strict=True)
]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_arrow_in_and_out(folder: Path, url: str, compression: str | None) -> None:
    body = arrow(ARROW_ROWS, TYPED, compression=compression)
    status, kind, answer = send(f"{url}/predict", body, STREAM)
    assert (status, kind) == (200, STREAM)
    table = pa.ipc.open_stream(answer).read_all()
    assert table.column_names == ["scored_label", "scored_probability"]
    assert table["scored_probability"].to_pylist() == probabilities(folder)
    assert table.schema.metadata[b"model"] == b"demo"
    assert json.loads(table.schema.metadata[b"warnings"]) == []
    status, kind, answer = send(f"{url}/predict", body, FILE)
    assert (status, kind) == (200, FILE)
    assert pa.ipc.open_file(answer).read_all().equals(table)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, TYPED) as writer:
        writer.write_table(pa.Table.from_pylist(ARROW_ROWS, TYPED))
    assert pa.ipc.open_file(send(f"{url}/predict", bytes(sink.getvalue()), FILE)[2]).read_all().equals(table)


def test_arrow_of_lists_and_of_texts_that_are_views(folder: Path, url: str) -> None:
    wanted = ask(f"{url}/models/shop/predict", [{"history": IDS[:3].tolist(), "k": 2}, {"history": [], "k": 2}])[1]
    schema = pa.schema([("history", pa.list_(pa.string_view())), ("k", pa.int64()), ("player", pa.string())])
    body = arrow(
        [{"history": IDS[:3].tolist(), "k": 2, "player": "a"}, {"history": None, "k": 2, "player": "b"}], schema
    )
    table = pa.ipc.open_stream(send(f"{url}/models/shop/predict", body, STREAM)[2]).read_all()
    assert table["scored_items"].to_pylist() == [[one["item"] for one in row["items"]] for row in wanted["predictions"]]
    assert 'column "player"' in json.loads(table.schema.metadata[b"warnings"])[0]


def nulls(count: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), pa.nulls(count))


HUGE = pa.table({"age": pa.array(np.zeros(1 << 25, np.float32)), "plan": pa.nulls(1 << 25)})


@pytest.mark.parametrize(
    ("table", "compression", "status", "sentence"),
    [
        (HUGE, "zstd", 413, "unpacks to more than 64 MB"),
        (pa.table({"age": pa.nulls(10_001)}), None, 413, "at most 10,000"),
        (pa.table({"age": nulls(1 << 24)}), None, 413, "entries of lists"),
        (
            pa.table({"age": pa.DictionaryArray.from_arrays(np.zeros(9_000, np.int8), pa.array(["1" * 100_000]))}),
            None, 413, "64 MB of text",
        ),
        (pa.table({"age": pa.array([{"a": 1}])}), None, 422, 'column "age": expected numbers'),
        (pa.table([pa.array([1]), pa.array([1])], names=["age", "age"]), None, 422, "is there twice"),
        (pa.table({"age": pa.array([], pa.float32())}), None, 422, "no row"),
    ],
)  # fmt: skip
def test_arrow_that_is_too_much(url: str, table: pa.Table, compression: str | None, status: int, sentence: str) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    found, kind, answer = send(f"{url}/predict", bytes(sink.getvalue()), STREAM)
    assert found == status, answer
    assert kind == "application/json"
    assert sentence in json.loads(answer)["error"]


def test_damaged_arrow_is_refused(url: str) -> None:
    """No cut and no changed byte makes the server fail; what is still a table may be answered."""
    whole = arrow(ARROW_ROWS, TYPED, compression="lz4")
    generator = np.random.default_rng(0)
    for trial in range(300):
        body = bytearray(whole[: generator.integers(1, len(whole))] if trial % 3 == 0 else whole)
        for at in generator.integers(0, len(body), 4):
            body[at] = generator.integers(0, 256)
        assert send(f"{url}/predict", bytes(body), STREAM)[0] in (200, 400, 413, 422)


def test_compressed_bodies_are_refused(url: str) -> None:
    for path in ("/predict", "/v2/models/demo/infer", "/workspaces/0f/services/demo/execute"):
        status, answer = ask(url + path, b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
        assert status == 415
        assert "Content-Encoding" in json.dumps(answer)


def test_lines_are_records(url: str) -> None:
    lines = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"
    status, _, answer = send(f"{url}/predict", lines.encode(), "application/x-ndjson")
    assert status == 200
    assert json.loads(answer) == ask(f"{url}/predict", ROWS)[1]
    status, _, answer = send(f"{url}/predict", b'{"age": 1}\n{', "application/x-ndjson")
    assert (status, json.loads(answer)["error"][:7]) == (400, "line 2:")


def test_columns_are_records(url: str) -> None:
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    for rows in (ROWS, ROWS[:1]):
        found = ask(f"{url}/predict", {"columns": {name: cells[: len(rows)] for name, cells in columns.items()}})
        assert found == ask(f"{url}/predict", rows)
    asked = [{"history": IDS[:2].tolist(), "k": 1}, {"history": IDS[5:6].tolist(), "k": 3}]
    wanted = ask(f"{url}/models/shop/predict", asked)
    assert wanted == ask(
        f"{url}/models/shop/predict", {"columns": {"history": [row["history"] for row in asked], "k": [1, 3]}}
    )
    words = [{"words": ["a", "b"]}, {"words": ["b"]}]
    wanted = ask(f"{url}/models/tags/predict", words)
    assert wanted == ask(f"{url}/models/tags/predict", {"columns": {"words": [row["words"] for row in words]}})
    assert ask(f"{url}/predict", {"columns": {**columns, "age": [1]}})[0] == 422


def test_a_public_client_of_the_open_inference_protocol(folder: Path, url: str) -> None:
    http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    client = http.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("demo")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    told = client.get_model_metadata("demo")
    assert [entry["name"] for entry in told["inputs"]] == ["age", "plan", "active", "last seen "]
    assert [entry["datatype"] for entry in told["inputs"]] == ["FP32", "BYTES", "BYTES", "FP64"]
    version = told["versions"][0]
    assert client.is_model_ready("demo", version)
    cells = {
        "age": np.array([[20], [np.nan], [60.5]], np.float32),
        "plan": np.array([["pro"], ["요금"], ["basic"]], object),
        "active": np.array([["true"], ["false"], [""]], object),
        "last seen ": np.array([[1_700_086_400], [1_700_086_400], [np.nan]]),
    }
    for is_binary in (True, False):
        rows = slice(0, 3) if is_binary else slice(0, 1)  # JSON has no NaN
        inputs = [
            http.InferInput(
                entry["name"], list(cells[entry["name"]][rows].shape), entry["datatype"]
            ).set_data_from_numpy(cells[entry["name"]][rows], binary_data=is_binary)
            for entry in told["inputs"]
        ]
        result = client.infer("demo", inputs, version, request_id="7")
        assert result.as_numpy("probability").tolist() == probabilities(folder)[rows]
        assert result.as_numpy("label").tolist() == [b"Y" if p >= 0.5 else b"N" for p in probabilities(folder)[rows]]
        assert result.as_numpy("probabilities").shape == (rows.stop, 2)
        assert result.get_response()["id"] == "7"
        outputs = [http.InferRequestedOutput("label", binary_data=False), http.InferRequestedOutput("probability")]
        result = client.infer("demo", inputs, outputs=outputs)
        assert [entry["name"] for entry in result.get_response()["outputs"]] == ["label", "probability"]
        assert result.as_numpy("probability").tolist() == probabilities(folder)[rows]
    with pytest.raises(http.InferenceServerException, match="no model"):
        client.infer("nobody", inputs)
    with pytest.raises(http.InferenceServerException, match='column "age" is absent'):
        client.infer("demo", inputs[1:])


def test_tensors_of_lists(url: str) -> None:
    http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    client = http.InferenceServerClient(url.removeprefix("http://"))
    wanted = ask(
        f"{url}/models/shop/predict", [{"history": IDS[:2].tolist(), "k": 3}, {"history": IDS[2:4].tolist(), "k": 3}]
    )[1]
    rows = IDS[:4].reshape(2, 2)
    k = http.InferInput("k", [2], "INT64").set_data_from_numpy(np.array([3, 3]))
    texts = np.array([json.dumps(row.tolist()) for row in rows], object)
    for cells in (rows, texts):
        history = http.InferInput("history", list(cells.shape), "BYTES").set_data_from_numpy(cells)
        items = client.infer("shop", [history, k]).as_numpy("items")
        assert items.astype(str).tolist() == [[one["item"] for one in row["items"]] for row in wanted["predictions"]]
    words = http.InferInput("words", [2], "BYTES").set_data_from_numpy(np.array(['["a", "b"]', '["b"]'], object))
    found = client.infer("tags", [words])
    assert found.as_numpy("labels").shape == (2, 2)
    assert found.as_numpy("labels")[1, 1] == b""


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({}, 'expected "inputs"'),
        ({"inputs": [{"shape": [1]}]}, "inputs[0]"),
        ({"inputs": [{"name": "age", "shape": [2], "datatype": "FP32", "data": [1]}]}, "has 2 values, got 1"),
        ({"inputs": [{"name": "age", "shape": [1], "datatype": "FP9", "data": [1]}]}, "FP9"),
        ({"inputs": [{"name": "age", "shape": [-1], "datatype": "FP32", "data": []}]}, '"shape" [rows]'),
        (
            {"inputs": [{"name": "age", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]},
            "0 bytes",
        ),
        ({"inputs": [{"name": "age", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2]]}]}, "[1] or [1, 1]"),
        (
            {"inputs": [{"name": "age", "shape": [1], "datatype": "FP32", "data": [1]}], "outputs": [{"name": "x"}]},
            "no 'x'",
        ),
    ],
)
def test_wrong_tensors_are_told(url: str, document: Any, sentence: str) -> None:
    status, answer = ask(f"{url}/v2/models/demo/infer", document)
    assert status == 400
    assert sentence in answer["error"]
    for length in ("-1", "9999", "x"):
        headers = {"Inference-Header-Content-Length": length}
        assert ask(f"{url}/v2/models/demo/infer", document, headers=headers)[0] == 400


NAMES = ["age", "plan", "active", "last seen ", "churned"]
VALUES: list[list[str | None]] = [
    ["20", "pro", "true", "1700086400", "?"],
    [None, "요금", "false", "2023-11-15T22:13:20Z", "?"],
    ["60.5", "basic", "", "", "?"],
]


def classic(url: str, value: Any, model: str = "demo", query: str = "", parameters: Any = None) -> tuple[int, Any]:
    body = {"Inputs": {"input1": value}, "GlobalParameters": {} if parameters is None else parameters}
    return ask(f"{url}/workspaces/0f/services/{model}/execute?api-version=2.0{query}", body)


def test_a_table_of_the_classic_service(folder: Path, url: str) -> None:
    p = [str(value) for value in probabilities(folder)]
    labels = ["Y" if float(value) >= 0.5 else "N" for value in p]
    status, answer = classic(url, {"ColumnNames": NAMES, "Values": VALUES}, query="&details=true")
    value: dict[str, Any] = {
        "ColumnNames": [*NAMES, "Scored Labels", "Scored Probabilities"],
        "ColumnTypes": ["Double", "String", "Boolean", "DateTime", "String", "String", "Double"],
        "Values": [[*row, label, text] for row, label, text in zip(VALUES, labels, p, strict=True)],
    }
    assert (status, answer) == (200, {"Results": {"output1": {"type": "table", "value": value}}})
    del value["ColumnTypes"]
    assert classic(url, {"ColumnNames": NAMES, "Values": VALUES})[1]["Results"]["output1"]["value"] == value


def test_records_of_the_classic_service(folder: Path, url: str) -> None:
    records = [dict(zip(NAMES, row, strict=True)) for row in VALUES]
    status, answer = classic(url, records, query="&format=swagger")
    assert status == 200
    p = probabilities(folder)
    labels = ["Y" if value >= 0.5 else "N" for value in p]
    scored = [
        {"Scored Labels": label, "Scored Probabilities": str(value)} for label, value in zip(labels, p, strict=True)
    ]
    assert answer == {"Results": {"output1": [{**one, **two} for one, two in zip(records, scored, strict=True)]}}


def test_classes_and_items_of_the_classic_service(url: str) -> None:
    answer = classic(url, {"ColumnNames": ["age"], "Values": [["1"]]}, "three")[1]["Results"]["output1"]["value"]
    names = [f'Scored Probabilities for Class "{name}"' for name in "abc"]
    assert answer["ColumnNames"] == ["age", *names, "Scored Labels"]
    e = np.exp([0, 1, -1])
    np.testing.assert_allclose([float(value) for value in answer["Values"][0][1:4]], e / e.sum(), rtol=1e-6)
    table = {"ColumnNames": ["User", "history"], "Values": [["u1", json.dumps(IDS[:2].tolist())], ["u2", "[]"]]}
    answer = classic(url, table, "shop", parameters={"k": "2"})[1]["Results"]["output1"]["value"]
    assert answer["ColumnNames"] == ["User", "Item 1", "Item 2"]
    wanted = ask(f"{url}/models/shop/predict", [{"history": IDS[:2].tolist(), "k": 2}, {"history": [], "k": 2}])[1]
    assert answer["Values"] == [
        [name, *(one["item"] for one in row["items"])]
        for name, row in zip(("u1", "u2"), wanted["predictions"], strict=True)
    ]


def test_a_program_may_keep_the_id_of_its_service(folder: Path) -> None:
    with listening(folder / "demo", folder / "three", options=("--service_ids.5f1e0c7a", "three")) as url:
        status, answer = classic(url, [{"age": "1"}], "5f1e0c7a")
        assert (status, answer["Results"]["output1"][0]["Scored Labels"]) == (200, "b")
        assert classic(url, [{"age": "1"}], "5f1e")[0] == 404


@pytest.mark.parametrize(
    ("value", "query", "model", "parameters", "status", "code", "detail", "sentence"),
    [
        ({"ColumnNames": NAMES, "Values": [["x", *VALUES[0][1:]]]}, "", "demo", {}, 400, "BadUserArgument", "InputParseError", 'row 1, column "age"'),
        ({"ColumnNames": ["age"], "Values": [["1"]]}, "", "demo", {}, 400, "BadUserArgument", "InputParseError", 'column "plan" is absent'),
        ({"ColumnNames": ["age"], "Values": [["1", "2"]]}, "", "demo", {}, 400, "BadUserArgument", "InputParseError", "expected 1 values, got 2"),
        ({"ColumnNames": ["age"], "Values": []}, "", "demo", {}, 400, "BadArgument", "RequestBodyInvalid", '"Values"'),
        ([{"age": 1}, {}], "", "demo", {}, 400, "BadUserArgument", "InputParseError", "row 2"),
        ([{"age": 1}], "&api-version=9", "demo", {}, 400, "BadArgument", "RequestBodyInvalid", "2.0"),
        ([{"age": 1}], "", "demo", {"q": 1}, 400, "BadArgument", "RequestBodyInvalid", "GlobalParameters"),
        ([{"age": 1}], "", "nobody", {}, 404, "NotFound", "WebServiceNotFound", "nobody"),
        (None, "", "demo", {}, 400, "BadArgument", "RequestBodyInvalid", "ColumnNames"),
    ],
)  # fmt: skip
def test_errors_have_the_shape_of_the_classic_service(
    url: str, value: Any, query: str, model: str, parameters: Any, status: int, code: str, detail: str, sentence: str
) -> None:
    found, answer = classic(url, value, model, query, parameters)
    assert found == status
    assert answer["error"]["code"] == code
    assert answer["error"]["details"][0]["code"] == detail
    assert sentence in answer["error"]["details"][0]["message"]
