"""The Open Inference Protocol: a tensor for each column of the bundle in, a tensor for each part of the answer out."""

# N rows, T entries of each

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from ludocast.serve.codecs.codec import Table, Written, check_count, check_names, read_json, table_of
from ludocast.serve.codecs.tensors import Tensor, read_tensors, written
from ludocast.serve.http.message import JSON, RefusedError
from ludocast.serve.manifest import Manifest
from ludocast.serve.scorer import Predictions

LENGTH_HEADER = "Inference-Header-Content-Length"
HEADER_LENGTH = "header_length"  # option of the codec: what that header of a request says
_DATATYPES = {"number": "FP32", "timestamp": "FP64", "category": "BYTES", "boolean": "BYTES"}
_BINARY = "application/octet-stream"


class Inference:
    """Tensors [N] or [N, 1]; a column of lists is a tensor [N, T], or [N] of texts, each a JSON array."""

    def read(self, body: bytes, options: Mapping[str, str], manifest: Manifest) -> Table:
        """See `Codec.read`."""
        length = _header_length(options.get(HEADER_LENGTH), len(body))
        document = read_json(body[:length])
        if not isinstance(document, dict):
            raise RefusedError(400, 'expected {"inputs": […]}')
        tensors = read_tensors(document.get("inputs"), memoryview(body)[length:])
        check_names([tensor.name for tensor in tensors])
        rows = tensors[0].shape[0]
        if not rows:
            raise RefusedError(422, f'input "{tensors[0].name}" has no row; send one or more')
        check_count(rows)
        forms = {item.column: item.form for item in manifest.inputs}
        columns = {tensor.name: _column(tensor, rows, forms.get(tensor.name, "list")) for tensor in tensors}
        return table_of(columns, manifest, _wanted(document, manifest))

    def write(self, manifest: Manifest, table: Table, found: Predictions) -> Written:
        """See `Codec.write`."""
        outputs = answer_tensors(manifest, found)
        parts = [written(name, outputs[name], as_binary) for name, as_binary in table.wanted["outputs"].items()]
        answer: dict[str, Any] = {"model_name": manifest.name, "model_version": manifest.version}
        if table.wanted["id"] is not None:
            answer["id"] = table.wanted["id"]
        if found.warnings:
            answer["parameters"] = {"warnings": "; ".join(found.warnings)}
        head = orjson.dumps({**answer, "outputs": [entry for entry, _ in parts]})
        if not any(table.wanted["outputs"].values()):
            return Written(head, JSON)
        data = b"".join(data for _, data in parts)
        return Written(head + data, _BINARY, {LENGTH_HEADER: str(len(head))})


def metadata(manifest: Manifest) -> dict[str, Any]:
    """What the protocol tells of a model."""
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": "ludocast",
        "inputs": [
            {"name": item.column, "datatype": _DATATYPES[item.kind], "shape": [-1, 1 if item.form == "cell" else -1]}
            for item in manifest.inputs
        ],
        "outputs": _outputs(manifest),
        "parameters": {"classes": orjson.dumps(manifest.classes).decode()}
        if manifest.kind.answer in ("class", "segment", "labels")
        else {},
    }


def _outputs(manifest: Manifest) -> list[dict[str, Any]]:
    first, second = manifest.outputs
    if manifest.has_lists:
        kinds = {first: ("BYTES", [-1, -1]), second: ("FP32", [-1, -1])}
    elif manifest.has_numbers:
        kinds = dict.fromkeys(("value", "lower", "upper"), ("FP32", [-1]))
    elif manifest.measures is not None:
        measure, *more = manifest.measures
        kinds = {first: ("BYTES", [-1]), measure: ("FP32", [-1, len(manifest.classes)])}
        kinds |= dict.fromkeys(more, ("FP32", [-1]))
    elif manifest.labels is not None:
        width = len(manifest.classes)
        kinds = {first: ("BOOL", [-1, width]), second: ("FP32", [-1, width])}
    else:
        kinds = {
            first: ("BYTES", [-1]), "probability": ("FP32", [-1]), second: ("FP32", [-1, len(manifest.classes)]),
        }  # fmt: skip
    return [{"name": name, "datatype": kind, "shape": shape} for name, (kind, shape) in kinds.items()]


def answer_tensors(manifest: Manifest, found: Predictions) -> dict[str, np.ndarray]:
    """Names to texts, float32 or bool: [N], [N, classes], or [N, T] with "" and 0 behind the end of a shorter list."""
    first, second = manifest.outputs
    if manifest.has_numbers:
        lower, upper = found.probabilities.T.copy()
        return {"value": found.labels, "lower": lower, "upper": upper}
    if manifest.measures is not None:
        measure, *more = manifest.measures
        p, size = found.probabilities, len(manifest.classes)
        return {first: found.labels, measure: p[:, :size], **dict(zip(more, p.T[size:], strict=True))}
    if manifest.labels is not None:
        return {first: found.labels, second: found.probabilities}
    if not manifest.has_lists:
        positive = manifest.positive_index
        p = found.probabilities
        probability = p.max(axis=1) if positive is None else p[:, positive]
        return {first: found.labels, "probability": probability, second: p}
    longest = max(map(len, found.labels), default=0)
    labels = np.full((len(found.labels), longest), "", object)
    numbers = np.zeros(labels.shape, np.float32)
    for row, (names, p) in enumerate(zip(found.labels, found.probabilities, strict=True)):
        labels[row, : len(names)], numbers[row, : len(names)] = names, p
    return {first: labels, second: numbers}


def _header_length(text: str | None, size: int) -> int:
    if text is None:
        return size
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or int(text) > size:
        raise RefusedError(400, f'{LENGTH_HEADER}: expected a number up to the {size:,} bytes sent, got "{text[:40]}"')
    return int(text)


def _column(tensor: Tensor, rows: int, form: str) -> Any:
    if tensor.shape[0] != rows:
        raise RefusedError(400, f'input "{tensor.name[:100]}" has {tensor.shape[0]:,} rows, the first one {rows:,}')
    if len(tensor.shape) == 1 or (form == "cell" and tensor.shape[1] == 1):
        return tensor.values
    if form == "cell":
        raise RefusedError(400, f'input "{tensor.name[:100]}": expected shape [{rows}] or [{rows}, 1]')
    values = tensor.values.tolist() if isinstance(tensor.values, np.ndarray) else tensor.values
    width = tensor.shape[1]
    return [values[start : start + width] for start in range(0, rows * width, width)] if width else [[]] * rows


def _wanted(document: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    name = document.get("id")
    if name is not None and not isinstance(name, str):
        raise RefusedError(400, '"id": expected text')
    usual = _is_set(document, "binary_data_output")
    known = [output["name"] for output in _outputs(manifest)]
    asked = document.get("outputs")
    if not asked:
        return {"id": name, "outputs": dict.fromkeys(known, usual)}
    if not isinstance(asked, list) or not all(isinstance(entry, dict) for entry in asked):
        raise RefusedError(400, '"outputs": expected a list such as [{"name": "label"}]')
    for entry in asked:
        if entry.get("name") not in known:
            names = ", ".join(known)
            raise RefusedError(400, f"outputs: there is no {str(entry.get('name'))[:100]!r}; there are {names}")
    return {"id": name, "outputs": {entry["name"]: _is_set(entry, "binary_data", usual) for entry in asked}}


def _is_set(entry: Mapping[str, Any], name: str, usual: bool = False) -> bool:
    parameters = entry.get("parameters")
    value = parameters.get(name, usual) if isinstance(parameters, dict) else usual
    if type(value) is not bool:
        raise RefusedError(400, f'"{name}": expected true or false')
    return value
