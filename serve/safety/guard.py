"""Who may call what: by key where there are keys, else whoever is here and is no web page of another site."""

from __future__ import annotations

import hmac
import ipaddress
import math
import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from ludocast.serve.http.application import Guard
from ludocast.serve.http.message import RefusedError, Request
from ludocast.serve.options import Access
from ludocast.serve.safety.keys import Key, Rate, digest, read_keys

_RELOAD_SECONDS = 0.5  # between two looks at the file of keys
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER = re.compile(r"bearer +([\w.~+/=-]{1,200})", re.ASCII | re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::[0-9]*)?")


class Bucket:
    """Tokens of a rate: as many as a period's at most, filled evenly.

    Args:
        rate: That it keeps.
        now: Seconds of a clock.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._tokens = float(rate.count)
        self._at = now

    def take(self, now: float) -> float:
        """Take a token; how many seconds until there is one, 0 where there was."""
        rate = self.rate
        self._tokens = min(rate.count, self._tokens + (now - self._at) * rate.count / rate.seconds)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) * rate.seconds / rate.count


class KeyGuard:
    """Asks each request for a key, and each key for its scope and its rate.

    Args:
        path: File of keys; is read again when it changes.
        clock: In seconds.

    Raises:
        ValueError: If it is no file of keys, or holds none.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._keys: dict[str, Key] = {}
        if not path.is_file():
            raise ValueError(f"there is no {path}; `ludocast keys add NAME --keys {path}` makes it")
        self._seen = self._state()
        self._looked = clock()
        self._read()
        if not self._keys:
            raise ValueError(f"{path} holds no key; `ludocast keys add NAME --keys {path}` adds one")

    def __call__(self, request: Request, scope: str) -> None:
        """See `Guard`."""
        if not scope:
            return
        now = self._clock()
        if now - self._looked > _RELOAD_SECONDS:
            self._look(now)
        key = self._key(request.headers.get("authorization"))
        request.key = key.name
        if scope not in key.scopes:
            wrong = {"WWW-Authenticate": f'Bearer realm="ludocast", error="insufficient_scope", scope="{scope}"'}
            raise RefusedError(403, f'this key is good for {", ".join(key.scopes)}, not for "{scope}"', wrong)
        bucket = self._buckets.get(key.name)
        wait = 0.0 if bucket is None else bucket.take(now)
        if wait > 0:
            sentence = f"this key is good for {key.rate} requests; try again later"
            raise RefusedError(429, sentence, {"Retry-After": str(math.ceil(wait))})

    def _key(self, given: str | None) -> Key:
        if given is None:
            headers = {"WWW-Authenticate": 'Bearer realm="ludocast"'}
            raise RefusedError(401, "this server asks for a key; send the header Authorization: Bearer KEY", headers)
        found = _BEARER.fullmatch(given)
        if found is not None:
            sha256 = digest(found[1])
            # Who guesses chooses no digests, so that the time of looking one up tells nothing; the comparison of a
            # whole digest takes the same time for all.
            key = self._keys.get(sha256)
            if key is not None and hmac.compare_digest(key.sha256, sha256):
                return key
        headers = {"WWW-Authenticate": 'Bearer realm="ludocast", error="invalid_token"'}
        raise RefusedError(401, "the server knows no such key; send the header Authorization: Bearer KEY", headers)

    def _look(self, now: float) -> None:
        """Read the file again if it is another one than before."""
        self._looked = now
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._read()
        except (ValueError, OSError) as error:
            # Half an edit must not lock all clients out, nor let anybody in.
            print(f"the keys stay as they were: {error}", file=sys.stderr)

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> None:
        keys = read_keys(self._path)
        self._keys = {key.sha256: key for key in keys}
        rates = {key.name: Rate.read(key.rate) for key in keys if key.rate is not None}
        now, old = self._clock(), self._buckets
        self._buckets = {
            name: old[name] if name in old and old[name].rate == rate else Bucket(rate, now)
            for name, rate in rates.items()
        }


class OpenGuard:
    """Of a server without keys: refuses what a browser sends for a page of another site.

    A page anywhere can have its visitor's browser post to http://127.0.0.1:8080. Browsers say so: by Sec-Fetch-Site
    (Fetch Metadata) and Origin (RFC 6454). A name that its owner lets point to 127.0.0.1 (DNS rebinding) makes that
    page one of this site for the browser; then the Host header has that name.

    Args:
        is_loopback: Whether only this machine reaches the server; then Host is an address or localhost.
    """

    def __init__(self, is_loopback: bool) -> None:
        self._is_loopback = is_loopback

    def __call__(self, request: Request, scope: str) -> None:  # noqa: ARG002
        """See `Guard`."""
        headers = request.headers
        host = headers.get("host", "")
        if self._is_loopback and host and not _is_here(host):
            sentence = f'this server has no keys and answers as localhost or by address, not as "{host[:100]}"'
            raise RefusedError(403, sentence)
        if request.method in _SAFE:
            return
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_foreign = site is not None and site not in ("same-origin", "none")
        if is_foreign or (origin is not None and urlsplit(origin).netloc != host):
            sentence = "a page of another site may not call a server without keys; serve with --keys FILE"
            raise RefusedError(403, sentence)


def guard_of(address: str, access: Access) -> Guard:
    """By keys where there are some; without keys the server has to be this machine's own.

    Args:
        address: That it listens on.
        access: Keys, or that there are none.

    Raises:
        ValueError: If they could, and nobody said that they may.
    """
    if access.keys is not None:
        if access.no_auth:
            raise ValueError("--keys asks for keys and --no-auth for none; give one of them")
        return KeyGuard(access.keys)
    is_loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
    if not is_loopback and not access.no_auth:
        raise ValueError(
            f"{address} can be reached from other machines; make a key (ludocast keys add NAME) and give --keys FILE, "
            "or let everybody predict with --no-auth"
        )
    if not is_loopback:
        print(f"WARNING: --no-auth: whoever reaches {address} may call this server, without a key", file=sys.stderr)
    return OpenGuard(is_loopback)


@lru_cache(1000)
def _is_here(host: str) -> bool:
    """Whether a Host header names an address, or this machine."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found[1].strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: these never leave the machine
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
