"""All codecs by name; to add a protocol, write its codec and enter it here."""

from __future__ import annotations

from ludocast.serve.codecs.codec import Codec
from ludocast.serve.codecs.records import Records

CODECS: dict[str, Codec] = {"records": Records()}
