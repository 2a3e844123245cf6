"""What the routes share: the models, and how a request becomes a call to one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ludocast.serve.batcher import Batcher
from ludocast.serve.calls import Answer, Backend, Call
from ludocast.serve.deployments import Deployments
from ludocast.serve.http.message import Handler, RefusedError, Reply, Request, Response

SHORTEST_DEADLINE = 0.01  # seconds; nothing is answered within less
_DEADLINE = "x-deadline-seconds"
_NOTHING: Mapping[str, str] = {}


@dataclass
class Service:
    """Of one server.

    Attributes:
        backend: That scores.
        deployments: Which version of which model answers.
        batcher: Of calls.
        deadline: Seconds within which a request is scored, or refused; a client may ask for less.
        is_ready: Whether new requests are welcome.
        services: Ids of web services of Azure ML Studio (classic) to names of models, for clients that keep theirs.
    """

    backend: Backend
    deployments: Deployments
    batcher: Batcher
    deadline: float = 30.0
    is_ready: bool = False
    services: Mapping[str, str] = field(default_factory=dict)

    def predicting(self, codec: str, by_content_type: Mapping[str, str] = _NOTHING) -> Handler:
        """A handler that has the body scored by the model in the route's pattern, the first one where it has none.

        Args:
            codec: Name in `CODECS`.
            by_content_type: Names of others.
        """

        def handler(request: Request, reply: Reply) -> None:
            named = by_content_type.get(request.content_type, codec) if by_content_type else codec
            self.predict(request, reply, named, request.names.get("name"))

        return handler

    def model_of(self, service: str) -> str:
        """The model that the id of a web service of Azure ML Studio (classic) means."""
        return self.services.get(service, service)

    def predict(
        self, request: Request, reply: Reply, codec: str, name: str | None, options: Mapping[str, str] = _NOTHING
    ) -> None:
        """Have the body of a request scored.

        Args:
            request: Whose body a codec reads.
            reply: Gets the answer.
            codec: Name in `CODECS`.
            name: Of the model; None for the first one.
            options: For the codec.

        Raises:
            RefusedError: 404 if there is no such model, 400 if the deadline is none.
        """
        version = self.deployments.version(name)
        request.model, request.version = version.manifest.name, version.manifest.version

        def answered(answer: Answer) -> None:
            if answer.status != 200:
                reply(RefusedError(answer.status, answer.error, answer.headers))
            else:
                reply(Response(200, answer.body, answer.content_type, answer.headers, rows=answer.rows))

        deadline = request.arrived + self._seconds(request)
        self.batcher.submit(Call(version.key, codec, request.body, options), answered, deadline)

    def _seconds(self, request: Request) -> float:
        text = request.headers.get(_DEADLINE)
        if text is None:
            return self.deadline
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not SHORTEST_DEADLINE <= seconds < float("inf"):
            wanted = f"expected a number from {SHORTEST_DEADLINE} on"
            raise RefusedError(400, f'X-Deadline-Seconds: {wanted}, got "{text[:40]}"')
        return min(seconds, self.deadline)
