"""One model of a server: the version that answers, the one before it, those that are tried beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ludocast.serve.manifest import Manifest
from ludocast.serve.shadow import Shadow

_SHARE = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?) ?%")
_GOLDEN = 0.6180339887498949  # its multiples, modulo 1, are spread evenly however many there are


@dataclass(frozen=True)
class Version:
    """One bundle that was loaded.

    Attributes:
        key: Under which the backend knows it.
        manifest: Of the bundle, with the model's name in this server.
        folder: Of the bundle.
        bundle_name: The model's name in the bundle, which answers tell.
    """

    key: str
    manifest: Manifest
    folder: Path
    bundle_name: str


@dataclass
class Canary:
    """A version that gets a share of the requests.

    Attributes:
        version: That is tried.
        share: Above 0, below 1.
        answered: Requests that it answered.
        refused: Requests that it could not answer, so that the live version did.
    """

    version: Version
    share: float
    answered: int = 0
    refused: int = 0
    _place: float = 0.0

    def takes(self) -> bool:
        """Whether the next request is for it: of n requests in a row n times the share, give or take two."""
        self._place = (self._place + _GOLDEN) % 1.0
        return self._place < self.share


@dataclass
class Deployment:
    """A model by its name.

    Attributes:
        name: In paths.
        live: That answers.
        previous: That answered before it; not loaded any more.
        canary: That gets a share of the requests.
        shadow: That is asked the same, and not heard.
    """

    name: str
    live: Version
    previous: Version | None = None
    canary: Canary | None = None
    shadow: tuple[Version, Shadow] | None = None

    def describe(self) -> dict[str, Any]:
        """As JSON; without folders, which are the host's."""
        told: dict[str, Any] = {"name": self.name, "live": _describe(self.live)}
        if self.previous is not None:
            told["previous"] = _describe(self.previous)
        if self.canary is not None:
            counts = {"answered": self.canary.answered, "refused": self.canary.refused}
            share = f"{round(self.canary.share * 100, 3):g}%"
            told["canary"] = {**_describe(self.canary.version), "share": share, **counts}
        if self.shadow is not None:
            told["shadow"] = {**_describe(self.shadow[0]), **self.shadow[1].counts.describe()}
        return told


def read_share(text: str) -> float:
    """A share such as "5%" or "0.5%".

    Raises:
        ValueError: If it is none above 0 and below 100.
    """
    found = _SHARE.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise ValueError(f'expected a share above 0% and below 100%, such as 5%, got "{text[:40]}"')
    return float(found[1]) / 100


def _describe(version: Version) -> dict[str, Any]:
    manifest = version.manifest
    return {"model": version.bundle_name, "version": manifest.version, "created": manifest.created}
