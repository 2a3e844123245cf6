"""All codecs by name; to add a protocol, write its codec and enter it here."""

from __future__ import annotations

from ludocast.serve.codecs.arrow import ArrowFile, ArrowStream
from ludocast.serve.codecs.classic import Classic
from ludocast.serve.codecs.codec import Codec
from ludocast.serve.codecs.inference import Inference
from ludocast.serve.codecs.records import Lines, Records

CODECS: dict[str, Codec] = {
    "records": Records(),
    "lines": Lines(),
    "arrow_stream": ArrowStream(),
    "arrow_file": ArrowFile(),
    "inference": Inference(),
    "classic": Classic(),
}

# Forms of a question and its answer at /predict, by content type; "records" for all others.
BY_CONTENT_TYPE = {
    "application/x-ndjson": "lines",
    "application/jsonl": "lines",
    "application/vnd.apache.arrow.stream": "arrow_stream",
    "application/vnd.apache.arrow.file": "arrow_file",
}
