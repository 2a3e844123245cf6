"""What every peer does with a record: the bundle's own scorer, so that the servers alone differ."""

from __future__ import annotations

import os
from typing import Any

from ludocast.serve.answers import answer_records
from ludocast.serve.scorer import Scorer

BUNDLE = os.environ["BUNDLE"]


class Model:
    """The bundle named in the environment."""

    def __init__(self) -> None:
        self.scorer = Scorer.load(BUNDLE)

    def answer(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return answer_records(self.scorer.manifest, self.scorer.predict_rows(records))
