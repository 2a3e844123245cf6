"""Versions beside those that answer, as the options of `ludocast serve` ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ludocast.serve.deployment import read_share
from ludocast.serve.deployments import Deployments


@dataclass(frozen=True)
class Trials:
    """Versions that come while it runs.

    Attributes:
        models_folder: Folder out of which POST /admin/models/NAME takes bundles while the server runs.
        canary: A bundle that answers a share of the requests, such as run2/bundle=5%; the rest is for the live one.
        shadow: A bundle that is asked the same when there is room; its answers are compared and not given.
    """

    models_folder: Path | None = None
    canary: str | None = None
    shadow: Path | None = None

    def __post_init__(self) -> None:
        if self.models_folder is not None and not self.models_folder.is_dir():
            raise ValueError(f"--models-folder: there is no folder {self.models_folder}")
        if self.canary is not None:
            _read_canary(self.canary)

    async def start(self, deployments: Deployments) -> None:
        """Load what is tried out.

        Raises:
            ValueError: As `Deployments.try_out`.
        """
        if self.canary is not None:
            await deployments.try_out(*_read_canary(self.canary))
        if self.shadow is not None:
            await deployments.try_out(self.shadow, None)


def _read_canary(text: str) -> tuple[Path, float]:
    """A bundle and its share.

    Raises:
        ValueError: If the text does not tell them.
    """
    folder, equals, share = text.rpartition("=")
    if not equals or not folder:
        raise ValueError(f'--canary: expected FOLDER=SHARE%, such as run2/bundle=5%, got "{text}"')
    try:
        return Path(folder), read_share(share)
    except ValueError as error:
        raise ValueError(f"--canary: {error}") from error


NO_TRIALS = Trials()
