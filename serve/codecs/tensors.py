"""Tensors of the Open Inference Protocol: JSON or binary in, JSON or binary out.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, and for binary
data https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

# N rows, T entries of each

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.serve.http.message import RefusedError
from ludocast.serve.json_values import shown

BINARY_SIZE = "binary_data_size"
NUMPY = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Tensor:
    """An input.

    Attributes:
        name: Of a column.
        shape: [N], [N, 1], or of a column of lists [N, T].
        values: Of all rows, one after the other: a list or an array.
    """

    name: str
    shape: tuple[int, ...]
    values: Any


def read_tensors(entries: Any, binary: memoryview) -> list[Tensor]:
    """The inputs of a request.

    Args:
        entries: "inputs" of its JSON.
        binary: What follows the JSON.

    Raises:
        RefusedError: 400, with the name of the input.
    """
    if not isinstance(entries, list) or not entries:
        raise RefusedError(400, 'expected "inputs", a list of one tensor or more')
    tensors, start = [], 0
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise RefusedError(400, f'inputs[{number}]: expected a tensor with a "name"')
        parameters = entry.get("parameters")
        size = parameters.get(BINARY_SIZE) if isinstance(parameters, dict) else None
        try:
            if size is None:
                tensors.append(_of_json(entry))
                continue
            if type(size) is not int or not 0 <= size <= len(binary) - start:
                wanted = f'"{BINARY_SIZE}" within the {len(binary) - start:,} bytes that follow'
                raise ValueError(f"expected {wanted}, got {shown(size)}")
            tensors.append(_of_bytes(entry, binary[start : start + size]))
            start += size
        except ValueError as error:
            raise RefusedError(400, f'input "{entry["name"][:100]}": {error}') from error
    if start != len(binary):
        raise RefusedError(400, f"{len(binary) - start:,} bytes follow the JSON that no input's {BINARY_SIZE} tells of")
    return tensors


def _of_json(entry: Mapping[str, Any]) -> Tensor:
    shape, _ = _shape_and_type(entry)
    data = entry.get("data")
    if not isinstance(data, list):
        raise ValueError(f'expected "data", a list, or "parameters" with "{BINARY_SIZE}"')
    for _ in shape[1:]:  # nested as the shape is, or flat
        if data and all(isinstance(row, list) for row in data):
            data = [cell for row in data for cell in row]
    _check_count(shape, len(data))
    return Tensor(entry["name"], shape, data)


def _of_bytes(entry: Mapping[str, Any], data: memoryview) -> Tensor:
    shape, kind = _shape_and_type(entry)
    values: Any
    if kind == "BYTES":
        values = _texts(data)
        _check_count(shape, len(values))
    else:
        width = np.dtype(NUMPY[kind]).itemsize
        if len(data) != width * math.prod(shape):
            raise ValueError(f"{kind} of shape {list(shape)} is {width * math.prod(shape):,} bytes, got {len(data):,}")
        values = np.frombuffer(data, NUMPY[kind])
        if kind == "FP16":
            values = values.astype(np.float32)
    return Tensor(entry["name"], shape, values)


def _shape_and_type(entry: Mapping[str, Any]) -> tuple[tuple[int, ...], str]:
    kind, shape = entry.get("datatype"), entry.get("shape")
    if not isinstance(kind, str) or (kind != "BYTES" and kind not in NUMPY):
        raise ValueError(f'expected "datatype" BYTES, {", ".join(NUMPY)}, got {shown(kind)}')
    if not isinstance(shape, list) or len(shape) not in (1, 2) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f'expected "shape" [rows] or [rows, 1], got {shown(shape)}')
    return tuple(shape), kind


def _check_count(shape: Sequence[int], found: int) -> None:
    if math.prod(shape) != found:
        raise ValueError(f"shape {list(shape)} has {math.prod(shape):,} values, got {found:,}")


def _texts(data: memoryview) -> list[str]:
    """Each with its length before it, 4 bytes."""
    texts: list[str] = []
    start = 0
    while start < len(data):
        if start + _LENGTH.size > len(data):
            raise ValueError("the length of a text is cut off")
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if start + length > len(data):
            raise ValueError(f"text {len(texts) + 1} ends behind its data")
        try:
            texts.append(str(data[start : start + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"text {len(texts) + 1} is no UTF-8") from error
        start += length
    return texts


def written(name: str, values: np.ndarray, as_binary: bool) -> tuple[dict[str, Any], bytes]:
    """An output: its entry, and its bytes where it is binary.

    Args:
        name: Of the output.
        values: float32, bool, or objects of str.
        as_binary: Whether its data follows the JSON.
    """
    kind = "BYTES" if values.dtype == object else "BOOL" if values.dtype == np.bool_ else "FP32"
    entry: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(values.shape)}
    if not as_binary:
        return {**entry, "data": values.ravel().tolist()}, b""
    if kind == "BYTES":
        texts = [text.encode() for text in values.ravel().tolist()]
        data = b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    else:
        data = values.astype(NUMPY[kind]).tobytes()
    return {**entry, "parameters": {BINARY_SIZE: len(data)}}, data
