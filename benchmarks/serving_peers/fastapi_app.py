"""FastAPI with a pydantic model of a record, on uvicorn with uvloop and httptools."""

from __future__ import annotations

import sys
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, create_model
from serving_peers.scoring import Model

model = Model()
KINDS = {"number": float | None, "timestamp": str | None, "category": str | None, "boolean": bool | None}
fields: dict[str, Any] = {
    item.column: (KINDS[item.kind] if item.kind != "category" else str | int | float | None, ...)
    for item in model.scorer.manifest.inputs
}
Record: type[BaseModel] = create_model("Record", **fields)
app = FastAPI()


@app.post("/predict")
async def predict(body: Record | list[Record]) -> Response:  # type: ignore[valid-type]
    records = body if isinstance(body, list) else [body]
    found = model.answer([record.model_dump() for record in records])
    return Response(orjson.dumps({"predictions": found}), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop", http="httptools")
