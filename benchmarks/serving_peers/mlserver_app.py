"""MLServer with a runtime of its own in the server's process, adaptive batches of up to 64 requests."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from serving_peers.scoring import Model


class Runtime(MLModel):
    """One tensor a column."""

    async def load(self) -> bool:
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        columns = {
            one.name: StringCodec.decode_input(one) if one.datatype == "BYTES" else list(one.data)
            for one in payload.inputs
        }
        names = list(columns)
        rows = [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        found = self.model.scorer.predict_rows(rows)
        p = ResponseOutput(
            name="probability", shape=[len(rows), 1], datatype="FP32", data=found.probabilities[:, -1].tolist()
        )
        return InferenceResponse(model_name=self.name, outputs=[p])
