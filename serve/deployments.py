"""Which version of which model answers; versions come and go while requests are answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from ludocast.serve.batcher import Batcher
from ludocast.serve.calls import Answer, Backend, Call
from ludocast.serve.deployment import Canary, Deployment, Version
from ludocast.serve.http.message import RefusedError
from ludocast.serve.shadow import Shadow


class Deployments:
    """Models by name.

    A version is unloaded when the last request that it was chosen for is answered.

    Args:
        backend: That loads and scores.
        batcher: Of requests; a shadow runs only while none waits there.
    """

    def __init__(self, backend: Backend, batcher: Batcher) -> None:
        self._backend = backend
        self._batcher = batcher
        self._all: dict[str, Deployment] = {}
        self._number = count(1)
        self._users: Counter[str] = Counter()  # by a version's key: requests that it was chosen for
        self._retired: set[str] = set()
        self._changing = asyncio.Lock()
        self._unloading: set[asyncio.Task[None]] = set()

    def version(self, name: str | None = None, number: str | None = None) -> Version:
        """That answers for a model, or the one of that number; without a name for the first one.

        Raises:
            RefusedError: 404.
        """
        deployment = self.deployment(name)
        canary = deployment.canary
        there = [deployment.live] if canary is None else [deployment.live, canary.version]
        for version in there:
            if number is None or version.manifest.version == number:
                return version
        known = " and ".join(f'"{version.manifest.version}"' for version in there)
        raise RefusedError(404, f'model "{name}" has no version "{str(number)[:100]}"; there is {known}')

    def deployment(self, name: str | None = None) -> Deployment:
        """A model; without a name the first one.

        Raises:
            RefusedError: 404.
        """
        if name is None:
            return next(iter(self._all.values()))
        if name not in self._all:
            there = ", ".join(f'"{known}"' for known in list(self._all)[:10])
            raise RefusedError(404, f'there is no model "{name[:100]}"; there are {there}')
        return self._all[name]

    def __iter__(self) -> Iterator[Version]:
        """All that answer, the first one first."""
        return (one.live for one in self._all.values())

    @property
    def names(self) -> list[str]:
        """Of all models, the first one first."""
        return list(self._all)

    # Requests

    def choose(self, name: str | None, number: str | None = None) -> tuple[Deployment, Version]:
        """The model, and the version that is to answer the next request; to be given back by `release`.

        Args:
            name: Of the model; None for the first one.
            number: Of the version that the request asks for; None for that whose turn it is.

        Raises:
            RefusedError: 404.
        """
        deployment = self.deployment(name)
        canary = deployment.canary
        if number is not None:
            version = self.version(name, number)
        else:
            version = deployment.live if canary is None or not canary.takes() else canary.version
        self._users[version.key] += 1
        return deployment, version

    def keep(self, version: Version) -> None:
        """One more request is for a version; to be given back by `release`."""
        self._users[version.key] += 1

    def release(self, version: Version) -> None:
        """A request is answered."""
        self._users[version.key] -= 1
        if version.key in self._retired:
            self._unload_if_unused(version.key)

    def answered(self, deployment: Deployment, call: Call, answer: Answer) -> None:
        """Tell a shadow of an answer that was given."""
        if deployment.shadow is not None and answer.status not in (429, 503):
            deployment.shadow[1].add(call, answer)

    # Changes

    async def load(self, folder: Path) -> Version:
        """Load a bundle, under its model's name, with its checks, and have it answer.

        Raises:
            ValueError: If it is damaged, or there is a model of that name.
        """
        version = await self._load(folder)
        name = version.manifest.name
        if name in self._all:
            other = self._all[name].live.folder
            raise ValueError(f'bundles {other} and {folder} are both of a model "{name}"; serve one of them')
        self._all[name] = Deployment(name, version)
        return version

    async def switch(self, name: str, folder: Path) -> Deployment:
        """Have a bundle answer for a model in place of its version, its canary and its shadow, or as a new model.

        Raises:
            ValueError: If it is damaged; nothing has changed then.
        """
        async with self._changing:
            version = await self._load(folder, name)
            if name not in self._all:
                self._all[name] = Deployment(name, version)
            else:
                self._put(self._all[name], version)
            return self._all[name]

    async def try_out(self, folder: Path, share: float | None, name: str | None = None) -> Deployment:
        """Have a bundle answer a share of a model's requests, or be its shadow.

        Args:
            folder: Of the bundle.
            share: Above 0, below 1; None for a shadow.
            name: Of the model; None for the only one, of several the one that the bundle names.

        Raises:
            ValueError: If it is damaged, or no model is meant.
            RefusedError: 404.
        """
        async with self._changing:
            if name is not None:
                self.deployment(name)
            elif len(self._all) == 1:
                name = next(iter(self._all))
            version = await self._load(folder, name)
            deployment = self._all.get(version.manifest.name)
            if deployment is None:
                self._retire(version)
                wrong = f'bundle {folder} is of a model "{version.bundle_name}", and none of that name is served'
                raise ValueError(wrong)
            if share is not None:
                self._end_canary(deployment)
                deployment.canary = Canary(version, share)
            else:
                self._end_shadow(deployment)
                deployment.shadow = version, Shadow(version.key, self._backend, lambda: not self._batcher.waiting)
            return deployment

    async def roll_back(self, name: str) -> Deployment:
        """End a model's canary; without one its shadow; without either have the version before the live one answer.

        Raises:
            ValueError: If that version is there no more.
            RefusedError: 404, or 409 where there is nothing to go back to.
        """
        async with self._changing:
            deployment = self.deployment(name)
            if deployment.canary is not None:
                self._end_canary(deployment)
            elif deployment.shadow is not None:
                self._end_shadow(deployment)
            elif deployment.previous is None:
                raise RefusedError(409, f'model "{name}" has no version before this one')
            else:
                wanted = deployment.previous
                version = await self._load(wanted.folder, name)
                if version.manifest != wanted.manifest:
                    self._retire(version)
                    raise ValueError(
                        f"bundle {wanted.folder} was changed since it was served; load it as a new version"
                    )
                self._put(deployment, version)
            return deployment

    # Versions

    async def _load(self, folder: Path, name: str | None = None) -> Version:
        key = str(next(self._number))
        manifest = await self._backend.load(key, folder)
        return Version(key, manifest if name is None else replace(manifest, name=name), folder, manifest.name)

    def _put(self, deployment: Deployment, version: Version) -> None:
        self._end_canary(deployment)
        self._end_shadow(deployment)
        deployment.previous, deployment.live = deployment.live, version
        self._retire(deployment.previous)

    def _end_canary(self, deployment: Deployment) -> None:
        canary, deployment.canary = deployment.canary, None
        if canary is not None:
            self._retire(canary.version)

    def _end_shadow(self, deployment: Deployment) -> None:
        shadow, deployment.shadow = deployment.shadow, None
        if shadow is not None:
            version = shadow[0]
            shadow[1].end(lambda: self._retire(version))

    def _retire(self, version: Version) -> None:
        """Unload a version as soon as no request needs it."""
        self._retired.add(version.key)
        self._unload_if_unused(version.key)

    def _unload_if_unused(self, key: str) -> None:
        if not self._users[key]:
            self._retired.discard(key)
            del self._users[key]
            task = asyncio.get_running_loop().create_task(self._backend.unload(key))
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)
