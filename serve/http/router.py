"""From method and path to a handler."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ludocast.serve.http.message import Handler, RefusedError, Reply, Request, Response, error_response

LARGEST_BODY = 16 << 20  # bytes, where a route names no limit of its own


@dataclass(frozen=True)
class Route:
    """One thing that the server does.

    Attributes:
        handler: That answers.
        scope: What a key must be good for, one of `safety.keys.SCOPES`; "" where none is needed.
        largest_body: Bytes.
        streams: Whether the handler takes the body piece by piece, as `Request.stream`.
        refuse: How its errors look; {"error": sentence} unless another protocol has a shape of its own.
        pattern: Under which it was added.
        document: Operation of OpenAPI, less what all routes have in common; None for a route that is not described.
    """

    handler: Handler
    scope: str = ""
    largest_body: int = LARGEST_BODY
    streams: bool = False
    refuse: Callable[[RefusedError], Response] = error_response
    pattern: str = ""
    document: Mapping[str, Any] | None = None


@dataclass
class Router:
    """Routes by method and pattern, such as "/models/{name}/predict"; {name} is one part of a path."""

    _fixed: dict[str, dict[str, Route]] = field(default_factory=dict)
    _patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = field(default_factory=list)

    def add(self, method: str, pattern: str, route: Route) -> None:
        """A route; one that takes GET takes HEAD too."""
        route = replace(route, pattern=pattern)
        if "{" not in pattern:
            self._fixed.setdefault(pattern, {})[method] = route
            return
        wanted = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(pattern)))
        for known, routes in self._patterns:
            if known.pattern == wanted.pattern:
                routes[method] = route
                return
        self._patterns.append((wanted, {method: route}))

    def __iter__(self) -> Iterator[tuple[str, Route]]:
        """Methods and routes, those of a fixed path first."""
        for routes in (*self._fixed.values(), *(routes for _, routes in self._patterns)):
            yield from routes.items()

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a path, and what its pattern found.

        Raises:
            RefusedError: 404 or 405.
        """
        routes, names = self._fixed.get(path), {}
        if routes is None:
            for pattern, of_pattern in self._patterns:
                found = pattern.fullmatch(path)
                if found is not None:
                    routes, names = of_pattern, found.groupdict()
                    break
        if routes is None:
            raise RefusedError(404, f"there is no {_short(path)}; POST /predict predicts, GET /openapi.json tells all")
        route = routes.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(sorted(routes))
            raise RefusedError(405, f"{_short(path)} takes {allowed}, not {method}", {"Allow": allowed})
        return route, names


def awaited(function: Callable[[Request], Awaitable[Response]]) -> Handler:
    """A handler of a coroutine function; for what is not asked thousands of times a second."""
    running: set[asyncio.Task[None]] = set()  # the loop itself keeps no hold of its tasks

    def handler(request: Request, reply: Reply) -> None:
        async def run() -> None:
            try:
                reply(await function(request))
            except Exception as error:
                reply(error)

        task = asyncio.get_running_loop().create_task(run())
        running.add(task)
        task.add_done_callback(running.discard)

    return handler


def direct(function: Callable[[Request], Response]) -> Handler:
    """A handler of a function that returns at once."""

    def handler(request: Request, reply: Reply) -> None:
        reply(function(request))

    return handler


def _short(path: str) -> str:
    return path if len(path) <= 100 else path[:99] + "…"
