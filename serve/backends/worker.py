"""A process that scores for the server: frames come in at its standard input, which is a socket, and go out there.

It is started by `worker_link.py`, keeps nothing that the server does not have, and ends with it.
"""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ludocast.serve.backends.frames import Frames, Header, pack, pack_answers, pack_inputs, unpack_calls
from ludocast.serve.backends.parent import end_with_parent

if TYPE_CHECKING:
    from ludocast.serve.answering import Answering


def main() -> None:
    """Score until the server closes the socket."""
    # A terminal or a service manager may signal all processes at once; it is the server that decides when to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)  # where that cannot be, it sees only after its batch that the server was killed
    from ludocast.serve.answering import Answering  # slow to import

    answering = Answering(threads=int(sys.argv[1]), device=sys.argv[2])
    frames = Frames()
    with socket.socket(fileno=0) as server:
        while data := server.recv(1 << 18):
            for header, payload in frames.feed(data):
                server.sendall(_handled(answering, header, payload))


def _handled(answering: Answering, header: Header, payload: bytes) -> bytes:
    if "calls" in header:
        return pack_answers(answering.answer(unpack_calls(header, payload)))
    if "take" in header:
        return pack_inputs(answering.take_inputs())
    key = header["key"]
    if "bundle" not in header:
        answering.unload(key)
        return pack({"unloaded": key})
    try:
        manifest = answering.load(key, Path(header["bundle"]))
    except ValueError as error:
        return pack({"loaded": key, "refused": str(error)})
    return pack({"loaded": key, "manifest": manifest.to_json()})


if __name__ == "__main__":
    main()
