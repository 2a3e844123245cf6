"""JSON of this project: records, lines, or columns, in; `{"model", "version", "predictions", "warnings"}` out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from ludocast.serve.answers import answer_records
from ludocast.serve.codecs.codec import Table, Written, check_count, read_json, table_of
from ludocast.serve.feeds import uneven_columns
from ludocast.serve.http.message import RefusedError
from ludocast.serve.manifest import Manifest
from ludocast.serve.scorer import Predictions

COLUMNS = "columns"


class Records:
    """One record, a list of records, or {"columns": {name: [cells]}}."""

    def read(self, body: bytes, options: Mapping[str, str], manifest: Manifest) -> Table:  # noqa: ARG002
        """See `Codec.read`."""
        document = read_json(body)
        if isinstance(document, dict):
            columns = document.get(COLUMNS)
            if isinstance(columns, dict) and len(document) == 1:
                return table_of(_columns(columns), manifest)
            return Table(rows=[document])
        if not isinstance(document, list) or not document:
            raise RefusedError(422, 'expected one record such as {"level": 3}, or a list of one record or more')
        return Table(rows=_checked(document))

    def write(self, manifest: Manifest, table: Table, found: Predictions) -> Written:  # noqa: ARG002
        """See `Codec.write`."""
        answer = {
            "model": manifest.name,
            "version": manifest.version,
            "predictions": answer_records(manifest, found),
            "warnings": found.warnings,
        }
        return Written(orjson.dumps(answer))


class Lines(Records):
    """A record a line; the answer is that of `Records`."""

    def read(self, body: bytes, options: Mapping[str, str], manifest: Manifest) -> Table:  # noqa: ARG002
        """See `Codec.read`."""
        rows: list[Any] = []
        for number, line in enumerate(body.splitlines(), 1):
            if line.strip():
                check_count(len(rows) + 1)
                try:
                    rows.append(read_json(line))
                except RefusedError as error:
                    raise RefusedError(error.status, f"line {number}: {error}") from error
        if not rows:
            raise RefusedError(422, 'expected lines of one record each, such as {"level": 3}')
        return Table(rows=_checked(rows))


def _checked(rows: list[Any]) -> list[Mapping[str, Any]]:
    check_count(len(rows))
    for row, record in enumerate(rows):
        if not isinstance(record, dict):
            what = f'expected a record such as {{"level": 3}}, got {type(record).__name__}'
            raise RefusedError(422, f"row {row + 1}: {what}")
    return rows


def _columns(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, cells in columns.items():
        if not isinstance(cells, list):
            raise RefusedError(422, f'column "{name}": expected a list of cells, got {type(cells).__name__}')
        check_count(len(cells))
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        first, *others = lengths
        other = next(name for name in others if lengths[name] != lengths[first])
        raise uneven_columns(other, lengths[other], first, lengths[first])
    if not columns or not any(columns.values()):
        raise RefusedError(422, 'expected columns of one cell or more, such as {"columns": {"level": [3, 4]}}')
    return columns
