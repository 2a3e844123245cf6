"""Which version of which model answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ludocast.serve.calls import Backend
from ludocast.serve.http.message import RefusedError
from ludocast.serve.manifest import Manifest


@dataclass(frozen=True)
class Version:
    """One bundle that was loaded.

    Attributes:
        key: Under which the backend knows it.
        manifest: Of the bundle.
        folder: Of the bundle.
    """

    key: str
    manifest: Manifest
    folder: Path


class Deployments:
    """Models by name, each with the version that answers.

    Args:
        backend: That loads and scores.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._live: dict[str, Version] = {}
        self._number = count(1)

    async def load(self, folder: Path) -> Version:
        """Load a bundle, under its model's name, with its checks, and have it answer.

        Raises:
            ValueError: If it is damaged, or there is a model of that name.
        """
        key = str(next(self._number))
        manifest = await self._backend.load(key, folder)
        version = Version(key, manifest, folder)
        if manifest.name in self._live:
            other = self._live[manifest.name].folder
            raise ValueError(f'bundles {other} and {folder} are both of a model "{manifest.name}"; serve one of them')
        self._live[manifest.name] = version
        return version

    def version(self, name: str | None = None) -> Version:
        """That answers for a model; without a name for the first one.

        Raises:
            RefusedError: 404.
        """
        if name is None:
            return next(iter(self._live.values()))
        if name not in self._live:
            there = ", ".join(f'"{known}"' for known in list(self._live)[:10])
            raise RefusedError(404, f'there is no model "{name[:100]}"; there are {there}')
        return self._live[name]

    def __iter__(self) -> Iterator[Version]:
        """All that answer, the first one first."""
        return iter(self._live.values())
