"""Keys of a server's clients: what each may do and how often, in a file that holds no key itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ludocast.datamodules.whole_files import sync_file

SCOPES = ("predict", "admin", "jobs", "metrics")
_PREFIX = "ludocast_"  # by it scanners of source code and logs know a key that leaked
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_RATE = re.compile(r"([1-9][0-9]{0,8})/(s|min|h)")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Rate:
    """Requests that a key is good for.

    Attributes:
        count: In a period, and at once after a rest.
        seconds: Of a period.
    """

    count: int
    seconds: int

    @staticmethod
    def read(text: str) -> Rate:
        """From a text such as 100/s, 1000/min or 5/h.

        Raises:
            ValueError: If it is none.
        """
        found = _RATE.fullmatch(text)
        if found is None:
            raise ValueError(f'rate "{text}": expected requests a second, minute or hour, such as 100/s, 1000/min, 5/h')
        return Rate(int(found[1]), _SECONDS[found[2]])


@dataclass(frozen=True)
class Key:
    """One client's.

    Attributes:
        name: In the access log.
        sha256: Of the key, in hexadecimal digits.
        scopes: What it is good for, of `SCOPES`.
        rate: As `Rate.read` reads it; None for as often as one likes.
        created: UTC.
    """

    name: str
    sha256: str
    scopes: tuple[str, ...]
    rate: str | None = None
    created: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f'name "{self.name[:100]}": expected up to 64 letters, digits, ".", "_" or "-"')
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f'key "{self.name}": its sha256 is no SHA-256')
        unknown = [scope for scope in self.scopes if scope not in SCOPES]
        if unknown or not self.scopes:
            got = ", ".join(unknown) if unknown else "none"
            raise ValueError(f'key "{self.name}": scopes are of {", ".join(SCOPES)}, got {got}')
        if self.rate is not None:
            Rate.read(self.rate)


def digest(key: str) -> str:
    """What is kept of a key.

    A slow hash with a salt protects passwords, which can be guessed; a key is 256 random bits, which cannot, so that
    one SHA-256 tells a thief of the file nothing, and costs a request less than a microsecond.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(name: str, scopes: Sequence[str], rate: str | None = None) -> tuple[str, Key]:
    """A key, and what is kept of it.

    Raises:
        ValueError: If name, scopes or rate are none.
    """
    secret = _PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return secret, Key(name, digest(secret), tuple(scopes), rate, created)


def read_keys(path: Path) -> list[Key]:
    """Of a file.

    Raises:
        ValueError: If it holds no keys in the form that `write_keys` writes.
        OSError: If it cannot be read.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        keys = [Key(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in document["keys"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no file of keys as `ludocast keys add` writes it: {error}") from error
    if len({key.name for key in keys}) < len(keys):
        raise ValueError(f"{path} holds two keys of one name")
    return keys


class KeyFile:
    """A file of keys that is being changed; of two who change it at once the second is refused.

    Args:
        path: Of the file; absent before the first key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new = path.with_name(path.name + ".new")

    def __enter__(self) -> KeyFile:
        """Read.

        Raises:
            ValueError: If another changes it, or it is no file of keys.
        """
        try:
            # Its owner alone may read it; that it must not be there yet is the lock.
            number = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            sentence = f"{self._new} is there: keys are being changed, or that broke off; remove it then"
            raise ValueError(sentence) from error
        self._file = os.fdopen(number, "w", encoding="utf-8")
        try:
            self.keys = read_keys(self._path) if self._path.exists() else []
        except BaseException:
            self._give_up()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the whole file or none of it."""
        if kind is not None:
            self._give_up()
            return
        with self._file as file:
            json.dump({"keys": [asdict(key) for key in self.keys]}, file, indent=2)
            file.write("\n")
            sync_file(file)
        os.replace(self._new, self._path)

    def _give_up(self) -> None:
        self._file.close()
        self._new.unlink()
