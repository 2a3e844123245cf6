"""Bodies of Arrow, the Open Inference Protocol and the classic service, broken byte by byte, in this process.

    python -m benchmarks.codec_fuzz --bodies 100000 [--seed 1]

Each body is cut, or has bytes or bits of it changed, or a length in it made huge; then it is read and answered as by a
server. Prints how many got which status, what got a 500, and how much more memory was taken. A crash would end it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from ludocast.serve.answering import Answering
from ludocast.serve.calls import Call

from tests.serve.logistic import write_logistic
from tests.serve.made_shop import write_shop

TABLE = pa.table(
    {
        "age": pa.array([1.0, 2.0, None], pa.float32()),
        "plan": pa.array(["pro", "basic", None]).dictionary_encode(),
        "active": pa.array([True, False, None]),
        "last seen ": pa.array([1, 2, None], pa.timestamp("ns")),
    }
)
VIEWS = pa.table(
    {"age": [1, 2, 3], "plan": pa.array(["pro"] * 3, pa.string_view()), "active": [1] * 3, "last seen ": [0] * 3}
)
LISTS = pa.table({"history": pa.array([["i01", "i02"], [], None], pa.list_(pa.string_view())), "k": [1, 2, 3]})


@dataclass(frozen=True)
class Body:
    """Of a request that is right, for a codec and its options."""

    codec: str
    body: bytes
    model: str = "demo"
    options: dict[str, str] = field(default_factory=dict)


def stream(table: pa.Table, compression: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def bodies() -> list[Body]:
    sizes = {"age": ("FP32", 12), "plan": ("BYTES", 21), "active": ("BOOL", 3), "last seen ": ("FP64", 24)}
    inputs = [
        {"name": name, "shape": [3, 1], "datatype": kind, "parameters": {"binary_data_size": size}}
        for name, (kind, size) in sizes.items()
    ]
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    data = np.arange(3, dtype="<f4").tobytes() + b"\3\0\0\0pro" * 3 + b"\0\1\0" + np.arange(3.0).tobytes()
    values = [["1", "pro", "true", "2023-11-15"], ["2", "x", "0", None]]
    table = {"ColumnNames": list(sizes), "Values": values}
    return [
        *(Body("arrow_stream", stream(TABLE, how)) for how in (None, "lz4", "zstd")),
        Body("arrow_stream", stream(VIEWS, None)),
        *(Body("arrow_stream", stream(LISTS, how), "shop") for how in (None, "lz4")),
        Body("inference", head + data, options={"header_length": str(len(head))}),
        Body(
            "classic", orjson.dumps({"Inputs": {"input1": table}, "GlobalParameters": {}}), options={"details": "true"}
        ),
    ]


def broken(body: bytes, generator: np.random.Generator) -> bytes:
    found = bytearray(body)
    if generator.random() < 0.2:
        found = found[: int(generator.integers(1, len(found) + 1))]
    for at in generator.integers(0, len(found), generator.integers(0, 6)):
        found[at] = (
            generator.integers(0, 256) if generator.random() < 0.5 else found[at] ^ (1 << generator.integers(0, 8))
        )
    if generator.random() < 0.1 and len(found) > 8:
        at = int(generator.integers(0, len(found) - 4))
        found[at : at + 4] = (2**31 - 1).to_bytes(4, "little")
    return bytes(found)


def most_memory() -> float:
    """Megabytes, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    answering = Answering()
    with tempfile.TemporaryDirectory() as folder:
        answering.load("demo", write_logistic(Path(folder, "demo")))
        answering.load("shop", write_shop(Path(folder, "shop")))
    generator = np.random.default_rng(arguments.seed)
    whole, counts = bodies(), Counter[str]()
    for one in whole:
        assert answering.answer([Call(one.model, one.codec, one.body, one.options)])[0].status == 200, one
    before = most_memory()
    for _ in range(arguments.bodies):
        one = whole[generator.integers(0, len(whole))]
        body = broken(one.body, generator)
        answer = answering.answer([Call(one.model, one.codec, body, one.options)])[0]
        counts[f"{one.codec} {answer.status}"] += 1
        if answer.status >= 500:
            print(one.codec, body.hex())
    print(", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())))
    print(f"{most_memory() - before:.0f} MB at most above the {before:.0f} MB before")


if __name__ == "__main__":
    main()
