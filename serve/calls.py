"""What passes between the server's front and whatever scores: a call's body in, an answer's body out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ludocast.serve.http.message import JSON
from ludocast.serve.manifest import Manifest
from ludocast.serve.observe.inputs import InputCounts


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as it goes to a model.

    Attributes:
        model: Key under which a version of a model was loaded.
        codec: Name in `codecs.CODECS`, which reads the body and writes the answer.
        body: As the client sent it.
        options: What the codec needs of the request beside the body, such as a header.
    """

    model: str
    codec: str
    body: bytes
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one call.

    Attributes:
        status: 200, or why there are no predictions.
        body: Predictions; of a refused call b"".
        content_type: Of the body.
        headers: That belong to the body.
        rows: That were predicted.
        error: The sentence of a refused call.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    error: str = ""


LATE = Answer(503, error="not scored before its deadline; try again", headers={"Retry-After": "1"})
Done = Callable[[Sequence[Answer]], None]


class Backend(Protocol):
    """Scores calls: in this process, in workers, or behind TorchServe.

    Attributes:
        on_room: Is called where there is room again that no `done` tells of, such as in a worker that was started.
    """

    on_room: Callable[[], None] | None

    async def load(self, key: str, bundle: Path) -> Manifest:
        """Load a bundle under a key, with its checks.

        Raises:
            ValueError: If it is damaged, too new, or does not reproduce its check rows.
        """

    async def unload(self, key: str) -> None:
        """Forget a bundle that gets no more calls."""

    def has_room(self, is_large: bool) -> bool:
        """Whether a batch of calls would be scored at once; a large one is a call of its own."""

    def run(self, calls: Sequence[Call], is_large: bool, done: Done) -> None:
        """Score calls; `done` is called in the event loop's thread, at once or later, with an answer for each."""

    async def take_inputs(self) -> InputCounts:
        """What was counted of the inputs, in all processes, since this was asked last."""

    async def close(self) -> None:
        """End what was started."""
