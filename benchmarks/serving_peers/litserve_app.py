"""LitServe with batches of up to 64 requests, one worker."""

import sys
from typing import Any

import litserve
from serving_peers.scoring import Model


class Api(litserve.LitAPI):
    """A list of records a request."""

    def setup(self, device: str) -> None:
        self.model = Model()

    def decode_request(self, request):  # noqa: ANN001, ANN201 - of annotations LitServe makes a route
        return request["records"]

    def predict(self, batch: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        found = iter(self.model.answer([record for records in batch for record in records]))
        return [[next(found) for _ in records] for records in batch]

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"predictions": output}


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.0005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(port=int(sys.argv[1]), generate_client_file=False, log_level="warning", access_log=False)
