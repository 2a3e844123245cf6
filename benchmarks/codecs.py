"""What a protocol costs: `OMP_NUM_THREADS=1 python -m benchmarks.codecs --bundle run/bundle`.

A request of one row and one of --rows are read, predicted and written in this process by each codec, --turns turns of
each, one after the other. Figures are the least CPU time of a turn: µs a request of one row, µs a row of the larger
and bytes a row of its body. "Predicted alone" is the scorer without a codec, given records.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from ludocast.serve.answering import Answering
from ludocast.serve.calls import Call
from ludocast.serve.codecs.inference import metadata
from ludocast.serve.codecs.tensors import NUMPY, written
from ludocast.serve.manifest import Manifest
from ludocast.serve.scorer import Scorer

Row = dict[str, Any]


def requests(rows: list[Row], manifest: Manifest) -> dict[str, Call]:
    names = [item.column for item in manifest.inputs]
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    texts = [[None if row[name] is None else str(row[name]) for name in names] for row in rows]
    tensors = []
    for entry in metadata(manifest)["inputs"]:
        cells = [row[entry["name"]] for row in rows]
        kind = entry["datatype"]
        values = np.array(["" if cell is None else str(cell) for cell in cells], object)
        if kind != "BYTES" and all(cell is None or isinstance(cell, (int, float)) for cell in cells):
            values = np.array([np.nan if cell is None else cell for cell in cells], NUMPY["FP32"])
        tensors.append(written(entry["name"], values.reshape(-1, 1), as_binary=True))
    head = orjson.dumps({"inputs": [entry for entry, _ in tensors], "parameters": {"binary_data_output": True}})
    classic = {"Inputs": {"input1": {"ColumnNames": names, "Values": texts}}, "GlobalParameters": {}}
    return {
        "JSON records": Call("m", "records", orjson.dumps(rows)),
        "JSON columns": Call("m", "records", orjson.dumps({"columns": table.to_pydict()})),
        "Arrow": Call("m", "arrow_stream", sink.getvalue().to_pybytes()),
        "Open Inference Protocol, binary": Call(
            "m", "inference", head + b"".join(data for _, data in tensors), {"header_length": str(len(head))}
        ),
        "Azure ML Studio (classic)": Call("m", "classic", orjson.dumps(classic)),
    }


def seconds(function: Callable[[], Any], turn: float) -> float:
    function()
    start, count = time.process_time(), 0
    while time.process_time() - start < turn:
        function()
        count += 1
    return (time.process_time() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--turn", type=float, default=0.3, help="seconds")
    arguments = parser.parse_args()
    answering = Answering()
    manifest = answering.load("m", arguments.bundle)
    scorer = Scorer.load(arguments.bundle)
    checks = [dict(row) for row in manifest.check_rows.rows]
    many = [checks[k % len(checks)] for k in range(arguments.rows)]
    functions: dict[tuple[str, int], Callable[[], Any]] = {}
    for size, rows in ((1, checks[:1]), (arguments.rows, many)):
        functions["predicted alone", size] = partial(scorer.predict_rows, rows)
        for name, call in requests(rows, manifest).items():
            assert answering.answer([call])[0].status == 200, (name, answering.answer([call])[0].error)
            functions[name, size] = partial(answering.answer, [call])
    sizes = {name: len(call.body) for name, call in requests(many, manifest).items()}
    least = dict.fromkeys(functions, np.inf)
    for _ in range(arguments.turns):
        for key, function in functions.items():
            least[key] = min(least[key], seconds(function, arguments.turn))
    print(f"| protocol | µs, one row | µs a row of {arguments.rows:,} | bytes a row |\n| --- | --- | --- | --- |")
    for name in ("predicted alone", *sizes):
        size = f"{sizes[name] / arguments.rows:.0f}" if name in sizes else ""
        one, row = least[name, 1], least[name, arguments.rows] / arguments.rows
        print(f"| {name} | {1e6 * one:.0f} | {1e6 * row:.2f} | {size} |")


if __name__ == "__main__":
    main()
