"""How the server and its workers speak: frames of a JSON header and bodies, each with its length before it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from ludocast.serve.calls import Answer, Call
from ludocast.serve.observe.inputs import InputCounts

_LENGTHS = struct.Struct("<IQ")  # bytes of the header, bytes of the payload

Header = dict[str, Any]


def pack(header: Header, bodies: Sequence[bytes] = ()) -> bytes:
    """One frame."""
    text = orjson.dumps(header)
    return b"".join((_LENGTHS.pack(len(text), sum(map(len, bodies))), text, *bodies))


class Frames:
    """Cuts what comes out of a socket into frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Header, bytes]]:
        """The frames that are whole now: header and payload of each."""
        held = self._held
        held += data
        while len(held) >= _LENGTHS.size:
            header, payload = _LENGTHS.unpack_from(held)
            begin = _LENGTHS.size + header
            if len(held) < begin + payload:
                return
            frame = orjson.loads(held[_LENGTHS.size : begin]), bytes(held[begin : begin + payload])
            del held[: begin + payload]
            yield frame


def pack_calls(calls: Sequence[Call]) -> bytes:
    """Calls that are to be scored."""
    listed = [(call.model, call.codec, len(call.body), call.options) for call in calls]
    return pack({"calls": listed}, [call.body for call in calls])


def unpack_calls(header: Header, payload: bytes) -> list[Call]:
    """The calls of `pack_calls`."""
    bodies = _cut(payload, [entry[2] for entry in header["calls"]])
    return [
        Call(model, codec, body, options)
        for (model, codec, _, options), body in zip(header["calls"], bodies, strict=True)
    ]


def pack_answers(answers: Sequence[Answer], inputs: InputCounts | None = None) -> bytes:
    """Answers to calls, and what was counted of their inputs and those before."""
    listed = [(one.status, len(one.body), one.content_type, one.headers, one.rows, one.error) for one in answers]
    counted = {} if inputs is None else {"inputs": _listed(inputs)}
    return pack({"answers": listed, **counted}, [one.body for one in answers])


def unpack_answers(header: Header, payload: bytes) -> list[Answer]:
    """The answers of `pack_answers`."""
    bodies = _cut(payload, [entry[1] for entry in header["answers"]])
    return [
        Answer(status, body, content_type, headers, rows, error)
        for (status, _, content_type, headers, rows, error), body in zip(header["answers"], bodies, strict=True)
    ]


def pack_inputs(inputs: InputCounts) -> bytes:
    """What was counted of inputs."""
    return pack({"inputs": _listed(inputs)})


def unpack_inputs(header: Header) -> InputCounts:
    """The counts of `pack_inputs` or `pack_answers`; none where none were sent."""
    return {(model, version, column): counts for model, version, column, counts in header.get("inputs", ())}


def _listed(inputs: InputCounts) -> list[tuple[str, str, str, list[int]]]:
    return [(*of, counts) for of, counts in inputs.items()]


def _cut(payload: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    begin = 0
    for size in sizes:
        yield payload[begin : begin + size]  # the whole of it is not copied
        begin += size
