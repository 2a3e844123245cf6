"""What a codec is: it reads a body of one protocol, and writes predictions in its terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from ludocast.serve.codecs.limits import check_depth
from ludocast.serve.http.message import JSON, RefusedError
from ludocast.serve.manifest import Manifest
from ludocast.serve.scorer import Predictions

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


def read_json(body: bytes) -> Any:
    """A JSON document.

    Raises:
        RefusedError: 400 if it is none, or one of lists in lists in lists.
    """
    check_depth(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        sentence = f"the body is no JSON ({error}); NaN and Infinity are none, missing is null"
        raise RefusedError(400, sentence) from error


def check_count(rows: int) -> None:
    """Refuse more rows than a request may have.

    Raises:
        RefusedError: 413.
    """
    if rows > MOST_ROWS:
        raise RefusedError(413, f"{rows:,} records in one request; send at most {MOST_ROWS:,}")
