"""A client of `ludocast serve`: records, Arrow tables, pandas or polars frames in, predictions of the same kind out."""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import orjson
from ludocast.serve.client_http import ClientError, InvalidRequestError, Transport

if TYPE_CHECKING:
    import pyarrow as pa

_ARROW = "application/vnd.apache.arrow.stream"
Found = TypeVar("Found")
_ROW = re.compile(r"row (\d+)")


@dataclass(frozen=True)
class Answer:
    """Predictions of all rows.

    Attributes:
        model: That predicted.
        version: Of the model.
        predictions: A list of records as the server gives them; of a table, a table of the same make.
        warnings: What the server tells beside them.
    """

    model: str
    version: str
    predictions: Any
    warnings: tuple[str, ...]


class Client:
    """Asks one server; may be used from several threads at once, and as a context manager.

    Args:
        url: Of the server, such as http://127.0.0.1:8080.
        key: That the server asks for, as `ludocast keys add` printed it.
        model: Name of the model; None for the first one of the server.
        deadline: Seconds that a call may take, all its tries together.
        retries: Tries after the first one, where no server answered or it was too busy.
        rows: Most rows of a request; more are sent in several requests.
        parallel: Requests of one call that are under way at once.
        context: Of TLS, for a certificate that the system does not trust.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        model: str | None = None,
        deadline: float = 30.0,
        retries: int = 6,
        rows: int = 1000,
        parallel: int = 4,
        context: ssl.SSLContext | None = None,
    ) -> None:
        if rows < 1 or parallel < 1 or retries < 0 or deadline <= 0:
            raise ValueError("rows and parallel are 1 or more, retries 0 or more, the deadline is above 0")
        self._transport = Transport(url, key, retries, context)
        self._path = "/predict" if model is None else f"/models/{quote(model, safe='')}/predict"
        self._deadline, self._rows, self._parallel = deadline, rows, parallel

    def predict(self, data: Any, deadline: float | None = None) -> Answer:
        """Predictions of rows.

        Args:
            data: A record, a list of records, an Arrow table, or a pandas or polars frame.
            deadline: Seconds, where they differ from the client's.

        Raises:
            ClientError: One of its kinds; of rows that do not fit `InvalidRequestError`, with the row's number in
                `data`.
        """
        seconds = self._deadline if deadline is None else deadline
        if isinstance(data, Mapping):
            return self._predict_records([data], seconds)
        if isinstance(data, (list, tuple)):
            return self._predict_records(data, seconds)
        table = _arrow_table(data)
        parts = self._in_parts(table.num_rows, lambda start: self._ask_table(table, start, seconds))
        import pyarrow as pa

        found = pa.concat_tables([part.predictions for part in parts])
        return _joined(parts, _like(found, data))

    def is_ready(self) -> bool:
        """Whether the server answers predictions."""
        try:
            self._transport.send("GET", "/v2/health/ready", None, "", self._deadline)
        except ClientError:
            return False
        return True

    def models(self) -> list[dict[str, Any]]:
        """Name, version and task of each model, the first one first.

        Raises:
            ClientError: One of its kinds.
        """
        reply = self._transport.send("GET", "/models", None, "", self._deadline)
        found: list[dict[str, Any]] = orjson.loads(reply.body)["models"]
        return found

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _predict_records(self, records: Sequence[Any], seconds: float) -> Answer:
        parts = self._in_parts(len(records), lambda start: self._ask_records(records, start, seconds))
        return _joined(parts, [one for part in parts for one in part.predictions])

    def _in_parts(self, rows: int, ask: Callable[[int], Answer]) -> list[Answer]:
        """Answers to the rows from each start on; the first error ends them all."""
        starts = range(0, rows, self._rows)
        if len(starts) < 2:
            return [ask(0)]
        with ThreadPoolExecutor(min(self._parallel, len(starts))) as pool:
            try:
                return list(pool.map(ask, starts))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _ask_records(self, records: Sequence[Any], start: int, seconds: float) -> Answer:
        body = orjson.dumps(
            records[start : start + self._rows], default=_plain, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z
        )
        reply = orjson.loads(self._post(body, "application/json", start, seconds)[0])
        return Answer(reply["model"], reply["version"], reply["predictions"], tuple(reply["warnings"]))

    def _ask_table(self, table: pa.Table, start: int, seconds: float) -> Answer:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.slice(start, self._rows))
        body, headers = self._post(sink.getvalue().to_pybytes(), _ARROW, start, seconds)
        if headers.get("content-type") != _ARROW:
            raise ClientError("the server answered a table with something else; it is older than this client")
        found = pa.ipc.open_stream(body).read_all()
        told = found.schema.metadata
        warnings = orjson.loads(told[b"warnings"])
        return Answer(told[b"model"].decode(), told[b"version"].decode(), found, tuple(warnings))

    def _post(self, body: bytes, kind: str, start: int, seconds: float) -> tuple[bytes, Mapping[str, str]]:
        try:
            reply = self._transport.send("POST", self._path, body, kind, seconds)
        except InvalidRequestError as error:
            if not start:
                raise
            sentence = _ROW.sub(lambda found: f"row {start + int(found[1])}", str(error), count=1)
            raise InvalidRequestError(sentence, error.status, error.request_id) from error
        return reply.body, reply.headers


class AsyncClient:
    """The same for asyncio; the requests run in threads of its own.

    Args:
        url: See `Client`, as all others.
        key: See `Client`.
        calls: That may be under way at once; more wait.
        options: Of `Client`, by name.
    """

    def __init__(self, url: str, key: str | None = None, *, calls: int = 16, **options: Any) -> None:
        self._client = Client(url, key, **options)
        self._pool = ThreadPoolExecutor(calls, thread_name_prefix="ludocast")

    async def predict(self, data: Any, deadline: float | None = None) -> Answer:
        """See `Client.predict`."""
        return await self._run(partial(self._client.predict, data, deadline))

    async def is_ready(self) -> bool:
        """See `Client.is_ready`."""
        return await self._run(self._client.is_ready)

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        return await self._run(self._client.models)

    async def close(self) -> None:
        """Wait for what is under way, and close all connections."""
        await asyncio.to_thread(self._pool.shutdown)
        self._client.close()

    async def __aenter__(self) -> AsyncClient:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def _run(self, function: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)


def _joined(parts: Sequence[Answer], predictions: Any) -> Answer:
    versions = tuple(dict.fromkeys(part.version for part in parts))
    warnings = tuple(dict.fromkeys(warning for part in parts for warning in part.warnings))
    if len(versions) > 1:
        warnings = (*warnings, f"versions {', '.join(versions)} answered, for another one was loaded meanwhile")
    return Answer(parts[0].model, versions[-1], predictions, warnings)


def _plain(value: Any) -> Any:
    """A cell that JSON has no word for, such as a number of NumPy or pandas' NA."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value) if type(value).__name__ == "Decimal" else _refuse(value)


def _refuse(value: Any) -> Any:
    raise TypeError(f"expected numbers, texts, booleans, times, lists of these or None, got {type(value).__name__}")


def _arrow_table(data: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data
    if _maker(data) == "pandas" and hasattr(data, "columns"):
        return pa.Table.from_pandas(data, preserve_index=False)
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise TypeError(f"expected a record, a list of records, an Arrow table or a frame, got {type(data).__name__}")


def _like(table: pa.Table, data: Any) -> Any:
    maker = _maker(data)
    if maker == "pandas":
        frame = table.to_pandas()
        frame.index = data.index
        return frame
    return sys.modules["polars"].from_arrow(table) if maker == "polars" else table


def _maker(data: Any) -> str:
    return type(data).__module__.partition(".")[0]
