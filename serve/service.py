"""What the routes share: the models, and how a request becomes a call to one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ludocast.serve.batcher import Batcher
from ludocast.serve.calls import Answer, Backend, Call
from ludocast.serve.deployment import Deployment
from ludocast.serve.deployments import Deployments
from ludocast.serve.http.message import JSON, Handler, RefusedError, Reply, Request, Response

SHORTEST_DEADLINE = 0.01  # seconds; nothing is answered within less
_DEADLINE = "x-deadline-seconds"
_NOTHING: Mapping[str, str] = {}
_NOT_ITS_FAULT = (200, 429, 503)  # what a canary may answer and is heard


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
            kind = request.headers.get("content-type", JSON)
            named = codec if kind == JSON else by_content_type.get(request.content_type, codec)
            self.predict(request, reply, named, request.names.get("name"))

        return handler

    def model_of(self, service: str) -> str:
        """The model that the id of a web service of Azure ML Studio (classic) means."""
        return self.services.get(service, service)

    def predict(
        self,
        request: Request,
        reply: Reply,
        codec: str,
        name: str | None,
        options: Mapping[str, str] = _NOTHING,
        number: str | None = None,
    ) -> None:
        """Have the body of a request scored.

        Args:
            request: Whose body a codec reads.
            reply: Gets the answer.
            codec: Name in `CODECS`.
            name: Of the model; None for the first one.
            options: For the codec.
            number: Of the version that has to answer; None for that whose turn it is.

        Raises:
            RefusedError: 404 if there is no such model, 400 if the deadline is none, 415 if the body is compressed.
        """
        packed = request.headers.get("content-encoding", "identity")
        if packed != "identity":
            raise RefusedError(415, f'Content-Encoding "{packed[:40]}" is not taken; send the body as it is')
        deadline = request.arrived + self._seconds(request)
        deployment, version = self.deployments.choose(name, number)
        request.model, request.version = version.manifest.name, version.manifest.version
        call = Call(version.key, codec, request.body, options)

        def answered(answer: Answer) -> None:
            self.deployments.release(version)
            canary = deployment.canary
            if canary is not None and canary.version is version and number is None:
                if answer.status not in _NOT_ITS_FAULT:
                    canary.refused += 1
                    self._ask_live(request, reply, deployment, call, deadline)
                    return
                canary.answered += 1
            reply(_response(answer))
            if version is deployment.live:
                self.deployments.answered(deployment, call, answer)

        self.batcher.submit(call, answered, deadline)

    def _ask_live(self, request: Request, reply: Reply, deployment: Deployment, call: Call, deadline: float) -> None:
        """Have a request answered that a canary could not answer."""
        live = deployment.live
        self.deployments.keep(live)
        request.version = live.manifest.version

        def answered(answer: Answer) -> None:
            self.deployments.release(live)
            reply(_response(answer))

        self.batcher.submit(replace(call, model=live.key), answered, deadline)

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


def _response(answer: Answer) -> Response | RefusedError:
    if answer.status != 200:
        return RefusedError(answer.status, answer.error, answer.headers)
    return Response(200, answer.body, answer.content_type, answer.headers, rows=answer.rows)
