"""What the connections of a server have in common: limits, the second's date, who is open."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Protocol

from ludocast.serve.http.application import Application


@dataclass(frozen=True)
class Limits:
    """Of one connection unless it says otherwise, in bytes and seconds.

    Attributes:
        head: Bytes of request line and headers.
        headers: How many.
        head_seconds: From the first byte of a request to the end of its headers.
        body_seconds: From there to the end of the body; of a streamed body between two pieces.
        idle_seconds: Between requests.
        write_seconds: That a client may leave an answer unread.
        linger_seconds: That a client which gets no more answers may go on sending.
        all_bodies: Bytes of bodies that are not whole yet, of all connections.
    """

    head: int = 32 << 10
    headers: int = 100
    head_seconds: float = 10
    body_seconds: float = 30
    idle_seconds: float = 75
    write_seconds: float = 30
    linger_seconds: float = 5
    all_bodies: int = 1 << 30


class Timed(Protocol):
    """A connection, as far as a sweep needs to know it."""

    @property
    def deadline(self) -> float:
        """Until when what it waits for may come."""

    def time_over(self) -> None:
        """Its deadline has passed."""

    def drain(self) -> None:
        """Its next answer is its last."""

    def abort(self) -> None:
        """Close at once."""


@dataclass
class Connections:
    """All connections of a server.

    Attributes:
        application: That answers.
        limits: Of each connection.
        open: Those that are there.
        body_bytes: Of bodies that are not whole yet.
        draining: Whether each answer is the last of its connection.
        date: The Date header of this second.
    """

    application: Application
    limits: Limits = field(default_factory=Limits)
    open: set[Timed] = field(default_factory=set)
    body_bytes: int = 0
    draining: bool = False
    date: bytes = b""

    def __post_init__(self) -> None:
        self.sweep(0.0)

    def sweep(self, now: float) -> None:
        """Close connections whose time is over; to be called each second."""
        self.date = f"Date: {formatdate(usegmt=True)}\r\n".encode()
        for connection in [one for one in self.open if one.deadline < now]:
            connection.time_over()

    def drain(self) -> None:
        """From now on each answer is the last of its connection."""
        self.draining = True
        for connection in list(self.open):
            connection.drain()
