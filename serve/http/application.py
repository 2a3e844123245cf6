"""What stands between connections and handlers: routes, who may call them, what is counted and logged of each call."""

from __future__ import annotations

import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from ludocast.serve.http.message import RefusedError, Request, Response, error_response
from ludocast.serve.http.router import Route, Router

Guard = Callable[[Request, str], None]
"""Called before a body is read, with the route's scope, "" where it is open to all; raises RefusedError, or sets
`request.key`."""

Observer = Callable[[Request, Response, float], None]
"""Called after each answer, with the seconds that it took since the request was whole."""

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Application:
    """Admits requests, has them handled, and tells observers.

    Args:
        router: All routes.
        guard: Of keys, rates and origins; None lets everybody call everything.
        observers: Of counters and logs.
        clock: In seconds; that of the event loop.
    """

    def __init__(
        self,
        router: Router,
        guard: Guard | None = None,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._guard = guard
        self._observers = tuple(observers)
        self._clock = clock
        self._number = count(1)
        self._start = secrets.token_hex(4)  # ids of two processes differ

    def new_id(self, headers: Mapping[str, str]) -> str:
        """That of the client's X-Request-Id where it is plain, else a new one."""
        given = headers.get("x-request-id")
        if given is not None and _ID.fullmatch(given):
            return given
        return f"{self._start}-{next(self._number):x}"

    def admit(self, request: Request) -> Route:
        """The route of a request whose body is not read yet.

        Raises:
            RefusedError: If there is none, or the client may not call it.
        """
        path = request.target.partition("?")[0]
        route, request.names = self._router.find(request.method, path if "%" not in path else request.path)
        request.route = route.pattern
        if self._guard is not None:
            try:
                self._guard(request, route.scope)
            except RefusedError as error:
                error.shaped = route.refuse(error)
                raise
        return route

    def handle(self, route: Route, request: Request, reply: Callable[[Response], None]) -> None:
        """Have a request answered."""

        def finish(found: Response | Exception) -> None:
            response = found if isinstance(found, Response) else self._refused(found, request, route)
            self.observe(request, response)
            reply(response)

        try:
            route.handler(request, finish)
        except Exception as error:
            finish(error)

    def refuse(self, error: RefusedError, request: Request) -> Response:
        """The response to a request that was not admitted, or could not be read."""
        response = error.shaped if error.shaped is not None else error_response(error)
        self.observe(request, response)
        return response

    def observe(self, request: Request, response: Response) -> None:
        """Tell the observers of an answer."""
        seconds = self._clock() - request.arrived
        for observer in self._observers:
            try:
                observer(request, response, seconds)
            except Exception as error:  # an answer is not lost because it could not be counted
                print(f"request {request.id} was not observed:", file=sys.stderr)
                traceback.print_exception(error)

    def _refused(self, error: Exception, request: Request, route: Route) -> Response:
        if not isinstance(error, RefusedError):
            print(f"request {request.id}:", file=sys.stderr)
            traceback.print_exception(error)
            # What went wrong may tell of the host; the log has it.
            error = RefusedError(500, f"the server failed; its log tells why under request {request.id}")
        return route.refuse(error)
