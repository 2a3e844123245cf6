"""What TorchServe's workers run: the same answers as everywhere else. A copy of this file lies in each archive.

TorchServe takes the one class that a handler's module defines, so there is no other here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from ludocast.serve.answering import Answering
from ludocast.serve.backends.frames import Frames, pack_answers, unpack_calls
from ludocast.serve.calls import Answer, Call
from ludocast.serve.observe.inputs import InputCounts

FRAME = "application/vnd.ludocast.calls"  # of the server before TorchServe: many calls in one request


class LudocastHandler:
    """Scores by the bundle of its archive."""

    def initialize(self, context: Any) -> None:
        """Load the bundle, with its checks; a failure ends the worker, and TorchServe tells why."""
        self._name = context.model_name
        self._answering = Answering()
        self._told = 0.0
        self._answering.load(self._name, Path(context.system_properties["model_dir"]))

    def handle(self, data: Sequence[dict[str, Any]], context: Any) -> list[bytes]:
        """Answers to a batch of requests.

        Args:
            data: Of each request its body, raw or, by TorchServe's default, decoded JSON.
            context: Of TorchServe; takes status and content type of each answer.
        """
        bodies = [_body(one) for one in data]
        answers: dict[int, Answer] = {}
        plain = [place for place in range(len(data)) if context.get_request_header(place, "Content-Type") != FRAME]
        calls = [Call(self._name, "records", bodies[place]) for place in plain]
        answers |= zip(plain, self._answering.answer(calls), strict=True)
        for place in set(range(len(data))) - set(plain):
            ((header, payload),) = Frames().feed(bodies[place])
            found = self._answering.answer(unpack_calls(header, payload))
            answers[place] = Answer(200, pack_answers(found, self._inputs()), FRAME)
        written = []
        for place in range(len(data)):
            answer = answers[place]
            context.set_response_content_type(place, answer.content_type)
            context.set_response_status(code=answer.status, idx=place)
            written.append(answer.body if answer.status == 200 else orjson.dumps({"error": answer.error}))
        return written

    def _inputs(self) -> InputCounts | None:
        """What was counted, once a second: TorchServe lets no worker be asked."""
        now = time.monotonic()
        if now - self._told < 1:
            return None
        self._told = now
        return self._answering.take_inputs()


def _body(request: dict[str, Any]) -> bytes:
    body = request.get("body", request.get("data", b""))
    return bytes(body) if isinstance(body, (bytes, bytearray)) else orjson.dumps(body)
