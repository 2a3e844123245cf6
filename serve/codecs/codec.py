"""What a codec is: it reads a body of one protocol, and writes predictions in its terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
import pyarrow as pa
from ludocast.datamodules.cells import python_values
from ludocast.serve.codecs.limits import check_depth
from ludocast.serve.http.message import JSON, RefusedError
from ludocast.serve.manifest import Manifest
from ludocast.serve.raw_events import AT, EVENTS, FEATURES_FILE
from ludocast.serve.scorer import Predictions
from ludocast.serve.suggest_options import OPTIONS

MOST_ROWS = 10_000  # a request; files are for `ludocast score`, or jobs


@dataclass(frozen=True, slots=True)
class Table:
    """What was read: records, or columns.

    Attributes:
        rows: Records; None where there are columns.
        columns: By name, of one length; None where there are records.
        wanted: What the request asks of the answer, for the codec that read it.
    """

    rows: Sequence[Mapping[str, Any]] | None = None
    columns: Mapping[str, Any] | None = None
    wanted: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """An answer's body."""

    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Codec(Protocol):
    """Reads and writes one protocol; knows nothing of HTTP."""

    def read(self, body: bytes, options: Mapping[str, str], manifest: Manifest) -> Table:
        """What a body asks to be predicted.

        Raises:
            RefusedError: 400 if it is none of this protocol, 413 if it is too much, 422 if a row does not fit.
        """

    def write(self, manifest: Manifest, table: Table, found: Predictions) -> Written:
        """The answer to what was read."""


def table_of(columns: Mapping[str, Any], manifest: Manifest, wanted: Mapping[str, Any] | None = None) -> Table:
    """Columns (Arrow arrays, numpy arrays, lists) as what is scored best.

    One row is a record, which shares a run with those of other requests. Options of a recommender and raw events are
    read of records alone, beside the columns of the model.
    """
    wanted = {} if wanted is None else wanted
    lengths = {len(cells) for cells in columns.values()}
    has_events = isinstance(columns.get(EVENTS), list) and FEATURES_FILE in manifest.files
    has_records = has_events or manifest.task == "items"
    if len(lengths) != 1 or (lengths != {1} and not has_records):
        return Table(columns=columns, wanted=wanted)
    (rows,) = lengths
    read = {*OPTIONS, EVENTS, AT, *(item.column for item in manifest.inputs)}
    lists = [_python_cells(cells) if name in read else [None] * rows for name, cells in columns.items()]
    return Table(rows=[dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)], wanted=wanted)


def _python_cells(cells: Any) -> Sequence[Any]:
    if isinstance(cells, (pa.Array, pa.ChunkedArray)):
        kind = cells.type.value_type if pa.types.is_list(cells.type) else cells.type
        if pa.types.is_timestamp(kind) and kind.unit == "ns":  # of which Arrow would make pandas' own
            coarser = pa.timestamp("us", kind.tz)
            cells = cells.cast(pa.list_(coarser) if pa.types.is_list(cells.type) else coarser, safe=False)
        return python_values(cells)
    found: Sequence[Any] = cells.tolist() if hasattr(cells, "tolist") else cells
    return found


def read_json(body: bytes) -> Any:
    """A JSON document.

    Raises:
        RefusedError: 400 if it is none, or one of lists in lists in lists.
    """
    check_depth(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "NaN and Infinity are none, missing is null"
        if body.lstrip()[:1] not in (b"{", b"["):
            hint = "send records; a table such as a CSV file is for POST /jobs or `ludocast score`"
        raise RefusedError(400, f"the body is no JSON ({error}); {hint}") from error


def check_count(rows: int) -> None:
    """Refuse more rows than a request may have.

    Raises:
        RefusedError: 413.
    """
    if rows > MOST_ROWS:
        raise RefusedError(413, f"{rows:,} records in one request; send at most {MOST_ROWS:,}")


def check_names(names: Sequence[str]) -> None:
    """Refuse two columns of one name.

    Raises:
        RefusedError: 422.
    """
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise RefusedError(422, f'column "{twice[:100]}" is there twice; send it once')
