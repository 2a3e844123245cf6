"""Ctrl-C ends a training and keeps what it has learnt; pressed twice it aborts."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class StopOnCtrlC(Callback):
    """The first SIGINT of a training stops it after the step at hand, the second raises `KeyboardInterrupt`.

    Of several processes each would stop after a step of its own and wait for the others: there the first raises.
    """

    def __init__(self) -> None:
        self._before: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Take SIGINT over."""
        if threading.current_thread() is not threading.main_thread() or trainer.world_size > 1:
            return

        def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
            if trainer.should_stop:
                raise KeyboardInterrupt
            trainer.should_stop = True
            print("\nstopping: the weights so far are kept; Ctrl-C again aborts", file=sys.stderr, flush=True)

        self._before = signal.signal(signal.SIGINT, stop)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Give SIGINT back."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Give SIGINT back."""
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
