"""Request and response of web services of Azure ML Studio (classic), so that their clients need a new address only.

Shapes: https://learn.microsoft.com/previous-versions/azure/machine-learning/classic/consume-web-services, and of scored
columns https://learn.microsoft.com/previous-versions/azure/machine-learning/classic/interpret-model-results
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from ludocast.serve.answers import classic_names
from ludocast.serve.codecs.codec import Table, Written, check_count, check_names, read_json
from ludocast.serve.http.message import RefusedError
from ludocast.serve.json_values import shown
from ludocast.serve.manifest import Manifest
from ludocast.serve.scorer import Predictions
from ludocast.serve.suggest_options import OPTIONS

DETAILS, FORMAT = "details", "format"  # options of the codec: parameters of the request's query
_LABELS, _PROBABILITIES = "Scored Labels", "Scored Probabilities"
_TYPES = {"number": "Double", "timestamp": "DateTime", "boolean": "Boolean", "category": "String"}


class Classic:
    """One input, as a table or as records; what was sent is in the answer, with what was predicted behind it."""

    def read(self, body: bytes, options: Mapping[str, str], manifest: Manifest) -> Table:
        """See `Codec.read`."""
        document = read_json(body)
        inputs = document.get("Inputs") if isinstance(document, dict) else None
        if not isinstance(inputs, dict) or len(inputs) != 1:
            raise RefusedError(400, 'expected {"Inputs": {"input1": …}, "GlobalParameters": {}} with one input')
        ((name, value),) = inputs.items()
        has_records = not isinstance(value, dict) or "ColumnNames" not in value
        names, rows = _records(name, value) if has_records else _table(name, value)
        check_names(names)
        given = _parameters(document.get("GlobalParameters"), manifest)
        wanted = {
            "names": names,
            "rows": rows,
            "has_types": options.get(DETAILS, "").lower() == "true",
            "has_records": has_records or options.get(FORMAT, "").lower() == "swagger",
        }
        return Table(rows=[{**given, **_record(names, row, manifest)} for row in rows], wanted=wanted)

    def write(self, manifest: Manifest, table: Table, found: Predictions) -> Written:
        """See `Codec.write`."""
        inputs = {item.column: item for item in manifest.inputs}
        lists = {name for name, item in inputs.items() if item.form != "cell"}
        # A recommender of the service gave a user's id and items.
        left_out = lists | set(OPTIONS) if manifest.task == "items" else set()
        kept = [(at, name) for at, name in enumerate(table.wanted["names"]) if name not in left_out]
        names, columns = scored_columns(manifest, found)
        values = [
            [_text(row[at]) for at, _ in kept] + [column[number] for column in columns]
            for number, row in enumerate(table.wanted["rows"])
        ]
        all_names = [*(name for _, name in kept), *names]
        answer: Any
        if table.wanted["has_records"]:
            answer = [dict(zip(all_names, row, strict=True)) for row in values]
        else:
            answer = {"ColumnNames": all_names}
            if table.wanted["has_types"]:
                kinds = [
                    _TYPES[inputs[name].kind] if name in inputs and name not in lists else "String" for _, name in kept
                ]
                is_number = [
                    manifest.has_numbers
                    or (name.startswith(_PROBABILITIES) and not manifest.has_lists)
                    or (manifest.measures is not None and name != names[0])
                    for name in names
                ]
                answer["ColumnTypes"] = [*kinds, *("Double" if yes else "String" for yes in is_number)]
            answer = {"type": "table", "value": {**answer, "Values": values}}
        return Written(orjson.dumps({"Results": {"output1": answer}}))


def scored_columns(manifest: Manifest, found: Predictions) -> tuple[list[str], list[list[str | None]]]:
    """Names and texts of what the service added to a table, by task."""
    labels, p = found.labels.tolist(), found.probabilities
    if manifest.task == "items":
        most = max(map(len, labels), default=0)
        columns = [[row[rank] if rank < len(row) else None for row in labels] for rank in range(most)]
        return [f"Item {rank + 1}" for rank in range(most)], columns
    if manifest.has_lists:
        lists = (labels, [row.tolist() for row in p])
        return [_LABELS, _PROBABILITIES], [[orjson.dumps(row).decode() for row in rows] for rows in lists]
    if manifest.has_numbers:
        return [_LABELS], [[str(value) for value in labels]]
    if manifest.measures is not None:
        measured = [[str(value) for value in column] for column in p.T.tolist()[: len(manifest.classes)]]
        return list(classic_names(manifest).values()), [labels, *measured]
    if manifest.labels is not None:
        columns = [[str(value) for value in column] for part in (found.labels, p) for column in part.T.tolist()]
        return list(classic_names(manifest).values()), columns
    positive = manifest.positive_index
    if positive is not None:
        return [_LABELS, _PROBABILITIES], [labels, [str(value) for value in p[:, positive].tolist()]]
    names = [f'{_PROBABILITIES} for Class "{name}"' for name in manifest.classes]
    return [*names, _LABELS], [*([str(value) for value in column] for column in p.T.tolist()), labels]


def _table(name: str, value: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    names, rows = value.get("ColumnNames"), value.get("Values")
    if not isinstance(names, list) or not names or not all(isinstance(column, str) for column in names):
        raise RefusedError(400, f'{name}: expected "ColumnNames", a list of texts')
    if not isinstance(rows, list) or not rows:
        raise RefusedError(400, f'{name}: expected "Values", a list of one row or more')
    check_count(len(rows))
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(names):
            found = len(row) if isinstance(row, list) else shown(row)
            raise RefusedError(422, f"row {number}: expected {len(names)} values, got {found}")
    return names, rows


def _records(name: str, value: Any) -> tuple[list[str], list[list[Any]]]:
    records = [value] if isinstance(value, dict) else value
    if not isinstance(records, list) or not records:
        raise RefusedError(400, f'{name}: expected "ColumnNames" and "Values", or a list of one record or more')
    check_count(len(records))
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise RefusedError(422, f"row {number}: expected a record, got {shown(record)}")
        if record.keys() != records[0].keys():
            other = min(record.keys() ^ records[0].keys())
            raise RefusedError(422, f'row {number}: column "{other[:100]}" is not in all records; give null there')
    names = list(records[0])
    return names, [[record[column] for column in names] for record in records]


def _record(names: Sequence[str], row: Sequence[Any], manifest: Manifest) -> dict[str, Any]:
    record = dict(zip(names, row, strict=True))
    if manifest.task == "items":
        record |= {name: _option(record[name]) for name in OPTIONS if name in record}
    return record


def _parameters(given: Any, manifest: Manifest) -> dict[str, Any]:
    """Of the web service; a recommender takes options of suggestions."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise RefusedError(400, f"GlobalParameters: expected an object, got {shown(given)}")
    known = OPTIONS if manifest.task == "items" else ()
    for name in given:
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "this model has none"
            raise RefusedError(400, f"GlobalParameters: unexpected {shown(name)}; {there}")
    return {name: _option(value) for name, value in given.items()}


def _option(value: Any) -> Any:
    """What a text says, for clients that send all as text."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _text(value: Any) -> str | None:
    """A cell as the service showed it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    return str(value)
