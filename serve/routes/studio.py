"""The pages at / and /docs: files of `serve/studio/`, which fetch all else from the server's other routes."""

from __future__ import annotations

from pathlib import Path

from ludocast.serve.http.message import Handler, Request, Response
from ludocast.serve.http.router import Route, Router, direct

FOLDER = Path(__file__).parent.parent / "studio"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing from elsewhere is loaded, no script that is not a file of ours runs, and no other page may frame this one.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_studio_routes(router: Router) -> None:
    """The pages and their parts; they hold no data, so they need no key."""
    pages = {"/": "index.html", "/docs": "docs.html"}
    for address, name in pages.items():
        router.add("GET", address, Route(_file(FOLDER / name)))
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in _TYPES and path.name not in pages.values():
            router.add("GET", f"/studio/{path.name}", Route(_file(path)))


def _file(path: Path) -> Handler:
    body = path.read_bytes()

    def send(request: Request) -> Response:  # noqa: ARG001
        return Response(200, body, _TYPES[path.suffix], _HEADERS)

    return direct(send)
