"""BentoML, one worker: `bentoml serve serving_peers.bentoml_app:Predict`."""

from __future__ import annotations

from typing import Any

import bentoml
from serving_peers.scoring import Model


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Predict:
    """A list of records a request."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(route="/predict")
    async def predict(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.model.answer(records)
