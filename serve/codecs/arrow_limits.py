"""What keeps an Arrow body of a few bytes from becoming gigabytes."""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.serve.http.message import RefusedError

MOST_UNPACKED = 64 << 20  # bytes of all buffers of a body once they are decompressed
MOST_VALUES = 8 << 20  # of one column of lists: about what a body of JSON can hold
MOST_TEXT = 64 << 20  # bytes of one column, a text that many rows point to counted for each

_UINT16, _INT32, _UINT32, _INT64, _BUFFER = (struct.Struct(kind) for kind in ("<H", "<i", "<I", "<q", "<qq"))
# Numbers of fields in Message.fbs of Arrow's format.
_HEADER, _BATCH_OF_DICTIONARY, _BUFFERS, _COMPRESSION = 2, 1, 2, 3


def check_unpacked(body: pa.Buffer) -> int:
    """Bytes of all buffers of a stream; refuse one whose compressed buffers become too large.

    Arrow allocates what the head of a buffer says before it decompresses, so this is asked first.

    Raises:
        RefusedError: 400, 413.
        ArrowInvalid: If it is no stream.
    """
    size = 0
    messages = pa.ipc.MessageReader.open_stream(body)
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            return size
        try:
            size += _unpacked_size(message)
        except (struct.error, IndexError) as error:
            raise RefusedError(400, "the body is no Arrow IPC stream: a message of it is damaged") from error
        if size > MOST_UNPACKED:
            raise RefusedError(413, f"the body unpacks to more than {MOST_UNPACKED >> 20} MB; send fewer rows")


def _unpacked_size(message: pa.ipc.Message) -> int:
    if message.type not in ("record batch", "dictionary"):
        return 0
    data, body = memoryview(message.metadata), memoryview(message.body)
    batch = _follow(data, _field(data, _follow(data, 0), _HEADER))
    if message.type == "dictionary":
        batch = _follow(data, _field(data, batch, _BATCH_OF_DICTIONARY))
    if not _field(data, batch, _COMPRESSION):
        return body.nbytes
    buffers = _follow(data, _field(data, batch, _BUFFERS))
    size = 0
    for number in range(_UINT32.unpack_from(data, buffers)[0]):
        offset, length = _BUFFER.unpack_from(data, buffers + 4 + number * _BUFFER.size)
        if length:
            size += max(length, _INT64.unpack_from(body, offset)[0])  # -1 stands before what is not compressed
    return size


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a flatbuffers table stands; 0 where it is not there."""
    fields = table - _INT32.unpack_from(data, table)[0]
    slot = 4 + 2 * number
    if slot >= _UINT16.unpack_from(data, fields)[0]:
        return 0
    offset: int = _UINT16.unpack_from(data, fields + slot)[0]
    return table + offset if offset else 0


def _follow(data: memoryview, position: int) -> int:
    found: int = position + _UINT32.unpack_from(data, position)[0]
    return found


def check_column(name: str, column: pa.ChunkedArray, size: int) -> None:
    """Refuse a column that no model reads, or that becomes too large once its cells stand alone.

    Args:
        name: Of the column.
        column: Of a table whose buffers were found right.
        size: Bytes of these buffers; no text is longer.

    Raises:
        RefusedError: 413, 422.
    """
    if not _is_read(column.type):
        what = "expected numbers, booleans, texts, times, or lists of these"
        raise RefusedError(422, f'column "{name}": {what}, got {str(column.type)[:60]}')
    is_list = _is_list(column.type)
    values = len(column)
    if is_list:
        values = sum(pc.sum(pc.list_value_length(chunk)).as_py() or 0 for chunk in column.chunks)
        if values > MOST_VALUES:
            raise RefusedError(413, f'column "{name}": more than {MOST_VALUES:,} entries of lists; send fewer rows')
    if values * size <= MOST_TEXT:
        return
    found = 0
    for chunk in column.chunks:
        found += _text_bytes(chunk.flatten() if is_list else chunk)
        if found > MOST_TEXT:
            raise RefusedError(413, f'column "{name}": more than {MOST_TEXT >> 20} MB of text; send fewer rows')


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


@lru_cache(maxsize=256)
def _is_read(kind: pa.DataType, is_inside: bool = False) -> bool:
    types = pa.types
    if _is_list(kind):
        return not is_inside and _is_read(kind.value_type, is_inside=True)
    if types.is_dictionary(kind):
        kind = kind.value_type
    plain = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    return _is_text(kind) or types.is_date(kind) or types.is_timestamp(kind) or any(test(kind) for test in plain)


def _text_bytes(array: pa.Array) -> int:
    """Of all cells, one by one."""
    if pa.types.is_dictionary(array.type):
        if not _is_text(array.type.value_type) or not len(array.dictionary):
            return 0
        numbers = array.indices.drop_null().to_numpy(zero_copy_only=False)
        return int(_lengths(array.dictionary)[numbers].sum())
    return int(_lengths(array).sum()) if _is_text(array.type) else 0


def _lengths(texts: pa.Array) -> np.ndarray:
    """int64 [len(texts)], bytes."""
    if not len(texts):
        return np.zeros(0, np.int64)
    if pa.types.is_string_view(texts.type):  # `binary_length` takes none; a view is 16 bytes, its length the first 4
        lengths = np.frombuffer(texts.buffers()[1], np.int32)[::4][texts.offset : texts.offset + len(texts)]
        return np.where(texts.is_valid().to_numpy(zero_copy_only=False), lengths, 0).astype(np.int64)
    return np.asarray(pc.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
