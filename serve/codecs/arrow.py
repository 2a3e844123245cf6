"""Arrow IPC, as a stream or a file: a table in, a table of predictions out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa
from ludocast.serve.answers import answer_columns, answer_names
from ludocast.serve.codecs.arrow_limits import check_column, check_unpacked
from ludocast.serve.codecs.codec import Table, Written, check_count, check_names, table_of
from ludocast.serve.http.message import RefusedError
from ludocast.serve.manifest import Manifest
from ludocast.serve.scorer import Predictions
from ludocast.serve.suggest_options import OPTIONS

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
_MAGIC = b"ARROW1\0\0"


class ArrowStream:
    """A table in, a stream out; what is told beside predictions is in the metadata of the answer's schema."""

    content_type = STREAM

    def read(self, body: bytes, options: Mapping[str, str], manifest: Manifest) -> Table:  # noqa: ARG002
        """See `Codec.read`."""
        # Between its first and its last words a file holds a stream, which tells all that a table needs.
        table, size = _read(pa.py_buffer(body[len(_MAGIC) :] if body.startswith(_MAGIC) else body))
        check_count(table.num_rows)
        names = table.schema.names
        check_names(names)
        if not table.num_rows:
            raise RefusedError(422, "the table has no row; send one or more")
        read = {*(item.column for item in manifest.inputs), *(OPTIONS if manifest.task == "items" else ())}
        for name in names:
            if name in read:
                check_column(name, table[name], size)
        return table_of(dict(zip(names, table.columns, strict=True)), manifest)

    def write(self, manifest: Manifest, table: Table, found: Predictions) -> Written:  # noqa: ARG002
        """See `Codec.write`."""
        told = {"model": manifest.name, "version": manifest.version, "warnings": orjson.dumps(found.warnings)}
        arrays = answer_columns(manifest, found, is_text=False)
        answer = pa.table(arrays, names=answer_names(manifest)).replace_schema_metadata(told)
        sink = pa.BufferOutputStream()
        with self._writer(sink, answer.schema) as writer:
            writer.write_table(answer)
        return Written(sink.getvalue().to_pybytes(), self.content_type)

    def _writer(self, sink: Any, schema: pa.Schema) -> Any:
        return pa.ipc.new_stream(sink, schema)


class ArrowFile(ArrowStream):
    """The same, with a file out."""

    content_type = FILE

    def _writer(self, sink: Any, schema: pa.Schema) -> Any:
        return pa.ipc.new_file(sink, schema)


def _read(body: pa.Buffer) -> tuple[pa.Table, int]:
    try:
        size = check_unpacked(body)
        table = pa.ipc.open_stream(body).read_all()
        table.validate(full=True)  # what comes from a client may point outside of itself
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, pa.ArrowTypeError, OSError) as error:
        sentence = (str(error).splitlines() or ["it is cut off"])[0]
        raise RefusedError(400, f"the body is no Arrow IPC stream or file: {sentence[:200]}") from error
    return table, size
