"""A TorchServe handler as its documentation writes them: JSON by the server, one batch of requests a call."""

from __future__ import annotations

import json
from typing import Any

from ts.torch_handler.base_handler import BaseHandler


class Handler(BaseHandler):
    """A list of records, or one, a request."""

    def initialize(self, context: Any) -> None:
        from serving_peers.scoring import Model

        self.model = Model()
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        answers = []
        for one in data:
            body = one.get("body", one.get("data"))
            if isinstance(body, (bytes, bytearray)):
                body = json.loads(body)
            answers.append({"predictions": self.model.answer(body if isinstance(body, list) else [body])})
        return answers
