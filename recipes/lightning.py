"""`ludocast fit|validate|test|predict --config …`: LightningCLI over the same classes as the recipes."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI


class LudocastCLI(LightningCLI):
    """LightningCLI whose data module is told the module's number of members."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what model and data have to agree on."""
        parser.link_arguments("model.init_args.members", "data.init_args.members")


def main(arguments: list[str]) -> None:
    """Run one Trainer method.

    Args:
        arguments: `fit`, `validate`, `test` or `predict`, then LightningCLI's own options.
    """
    LudocastCLI(
        pl.LightningModule,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=arguments,
        save_config_kwargs={"overwrite": True},
        trainer_defaults={"use_distributed_sampler": False},
    )
