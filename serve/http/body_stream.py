"""The body of a request that is too large to be held: its pieces, as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

_MOST_HELD = 1 << 18  # bytes


class BodyStream:
    """Pieces between a connection and a handler.

    Args:
        hold: Is called with True where the connection should stop reading, with False where it may go on.
    """

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self._hold = hold
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._error: Exception | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def add(self, piece: bytes) -> None:
        """A piece has come."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _MOST_HELD:
            self._hold(True)
        self._changed.set()

    def end(self, error: Exception | None = None) -> None:
        """The body is whole, or will never be."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Until the end.

        Raises:
            RefusedError: If the client went away, was too slow, or sent too much.
        """
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._size -= len(piece)
                if self._size <= _MOST_HELD:
                    self._hold(False)
                yield piece
            if self._ended:
                if self._error is not None:
                    raise self._error
                return
            self._changed.clear()
            await self._changed.wait()
