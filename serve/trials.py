"""Versions beside those that answer, as the options of `ludocast serve` ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ludocast.serve.deployment import read_share
from ludocast.serve.deployments import Deployments


@dataclass(frozen=True)
class Trials:
    """What is tried out.

    Attributes:
        models_folder: That bundles are taken from while the server runs; None where that is not wanted.
        canary: A bundle, and the share of the requests that it answers.
        shadow: A bundle that is asked the same, and not heard.
    """

    models_folder: Path | None = None
    canary: tuple[Path, float] | None = None
    shadow: Path | None = None

    @staticmethod
    def read(models_folder: str | None, canary: str | None, shadow: str | None) -> Trials:
        """Of the options' texts.

        Raises:
            ValueError: If one cannot be.
        """
        if models_folder is not None and not Path(models_folder).is_dir():
            raise ValueError(f"--models_folder: there is no folder {models_folder}")
        found = None
        if canary is not None:
            folder, equals, share = canary.rpartition("=")
            if not equals or not folder:
                raise ValueError(f'--canary: expected FOLDER=SHARE%, such as run2/bundle=5%, got "{canary}"')
            try:
                found = Path(folder), read_share(share)
            except ValueError as error:
                raise ValueError(f"--canary: {error}") from error
        return Trials(
            None if models_folder is None else Path(models_folder), found, None if shadow is None else Path(shadow)
        )

    async def start(self, deployments: Deployments) -> None:
        """Load what is tried out.

        Raises:
            ValueError: As `Deployments.try_out`.
        """
        if self.canary is not None:
            await deployments.try_out(*self.canary)
        if self.shadow is not None:
            await deployments.try_out(self.shadow, None)


NO_TRIALS = Trials()
