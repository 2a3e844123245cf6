"""Sending a file piece by piece, as fast as the client reads."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from io import BufferedReader

_PIECE = 1 << 18  # bytes read at once


async def send_file(
    transport: asyncio.Transport, file: BufferedReader, size: int, paused: Callable[[], asyncio.Event | None]
) -> None:
    """Send so many bytes of a file, and close it; where they are not there, the connection is aborted.

    Args:
        transport: Of the client.
        file: That is sent.
        size: Of it, as the client was told.
        paused: Gives what to wait for while the client reads too slowly.
    """
    try:
        with file:
            while size > 0 and not transport.is_closing():
                piece = file.read(min(size, _PIECE))
                if not piece:
                    raise EOFError("it became shorter while it was sent")
                size -= len(piece)
                transport.write(piece)
                event = paused()
                await (event.wait() if event is not None else asyncio.sleep(0))
    except (OSError, EOFError) as error:
        print(f"a file was not sent to its end: {error}", file=sys.stderr)
        transport.abort()  # so the client sees that its end is not there
