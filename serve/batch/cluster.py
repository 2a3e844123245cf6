"""Chunks answered by a Dask cluster.

They are read, kept and written here, and each is answered as it would be here: the output has the same bytes, a run
can be gone on with, and the workers need neither the files nor the bundle.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from ludocast.serve.batch.answer import answer_rows
from ludocast.serve.batch.answered import Answered
from ludocast.serve.scorer import Scorer

if TYPE_CHECKING:
    from ludocast.serve.batch.rows import Chunk, RowRun

MISSING_PART = "a cluster needs one more package: pip install 'ludocast[dask]'"
_AHEAD = 3  # chunks a worker that are read before they are needed
_LOCAL = re.compile(r"local(?::(\d+))?")
_scorers: dict[str, Scorer] = {}
_loading = threading.Lock()


@dataclass(frozen=True)
class ShippedBundle:
    """A bundle on its way to other machines.

    Attributes:
        digest: Of its manifest, which has those of all files.
        files: By path below the bundle's folder.
    """

    digest: str
    files: Mapping[str, bytes]

    @staticmethod
    def of(folder: Path) -> ShippedBundle:
        """A bundle's folder."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        return ShippedBundle(hashlib.sha256(files["bundle.json"]).hexdigest(), files)

    def scorer(self) -> Scorer:
        """Of this process, loaded once."""
        with _loading:
            if self.digest not in _scorers:
                with tempfile.TemporaryDirectory(prefix="ludocast") as folder:
                    for name, content in self.files.items():
                        path = Path(folder) / name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(content)
                    _scorers[self.digest] = Scorer.load(folder)
            return _scorers[self.digest]


def answer_on_cluster(run: RowRun, address: str) -> Iterator[tuple[Chunk, Answered]]:
    """Chunks with their answers, in order.

    Args:
        run: Whose chunks are answered, but for those that are known.
        address: Of a scheduler, or "local" or "local:N" for processes of this machine.

    Raises:
        ValueError: If there is no such cluster, or a row cannot be asked about.
    """
    with _client(address) as client:
        bundle = client.scatter(ShippedBundle.of(run.batch.bundle), broadcast=True)
        most = _AHEAD * max(1, sum(client.nthreads().values()))
        waiting: deque[tuple[Chunk, Any]] = deque()
        for chunk in run.chunks():
            known = run.known(chunk)
            if known is None:
                table = client.scatter(_to_bytes(run.asked(chunk)))
                known = client.submit(
                    _answer, bundle, table, chunk.first_row, run.batch.on_error, run.is_text, pure=False
                )
            waiting.append((chunk, known))
            if len(waiting) > most:
                yield _taken(run, *waiting.popleft())
        while waiting:
            yield _taken(run, *waiting.popleft())


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise ValueError(MISSING_PART) from error
    local = _LOCAL.fullmatch(address)
    if local is not None:
        count = int(local[1]) if local[1] is not None else os.cpu_count()
        with (
            LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"--dask {address}: no scheduler answers there, nor is it local or local:N") from error
    with client:
        yield client


def _taken(run: RowRun, chunk: Chunk, found: Any) -> tuple[Chunk, Answered]:
    if not isinstance(found, Answered):
        found = Answered.from_buffer(found.result())
        run.keep(chunk, found)
    return chunk, found


def _to_bytes(columns: Mapping[str, pa.Array]) -> bytes:
    table = pa.table(dict(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _answer(bundle: ShippedBundle, content: bytes, first_row: int, on_error: str, is_text: bool) -> bytes:
    table = pa.ipc.open_stream(content).read_all().combine_chunks()
    columns = dict(zip(table.column_names, table.columns, strict=True))
    found = answer_rows(bundle.scorer(), columns, first_row, on_error, is_text)
    return bytes(found.to_buffer().to_pybytes())
