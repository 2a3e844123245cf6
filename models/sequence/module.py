"""The Lightning glue of all tasks on sequences: carried states, averaged weights, the optimiser, checkpoints."""

# B sequences or lanes, L steps, C outputs

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from ludocast.datamodules.sequence_batches import CorpusMean, SequenceBatch, training_loss
from ludocast.models.averaging import move_average
from ludocast.models.sequence.network import NetworkSettings, SequenceNetwork
from ludocast.models.stacked_rnn.recurrent import State, detach_state, reset_lanes
from torch import Tensor


@dataclass(frozen=True)
class LearningSettings:
    """How a network learns.

    Attributes:
        learning_rate: Of AdamW at its highest; it falls to 0 along a cosine.
        weight_decay: Of AdamW.
        warmup: Share of all steps in which the learning rate rises to its highest.
        average: Decay of the weights' exponential average, a step.
        clip: Norm above which a gradient is scaled down; the Trainer's own value comes first.
        seed: Of the initial weights and dropout.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    average: float = 0.995
    clip: float = 1.0
    seed: int = 0


class Losses(NamedTuple):
    """Loss of each step or each sequence, which of them count, and how many a batch has on average."""

    loss: Tensor
    mask: Tensor
    per_batch: float


class SequenceModule(pl.LightningModule, abc.ABC):
    """Trains a `SequenceNetwork` and keeps an exponential average of its weights, which is what predicts.

    A batch of sequences that all begin is run from no state; where some go on, as in the lanes of truncated
    back-propagation, the state of the batch before is carried over, detached, and reset in the lanes that begin.

    Args:
        network: Size.
        learning: How it learns.
    """

    def __init__(self, network: NetworkSettings, learning: LearningSettings) -> None:
        super().__init__()
        self.network_settings, self.learning = network, learning
        self.sizes: dict[str, Any] | None = None
        self.network: SequenceNetwork | None = None
        self.averaged: SequenceNetwork | None = None
        self._averaged_steps = 0
        self.batch_share: Tensor | float = 1.0  # real steps of the last batch, of those of an average one
        self._state: State = None  # of the training lanes
        self._evaluated_state: State = None
        self._mean = CorpusMean()

    @abc.abstractmethod
    def make_network(self, sizes: dict[str, Any]) -> SequenceNetwork:
        """The network for these sizes."""

    @abc.abstractmethod
    def losses(self, logits: Tensor, batch: SequenceBatch) -> Losses:
        """What is to be low."""

    def training_losses(self, network: SequenceNetwork, batch: SequenceBatch, state: State) -> tuple[Losses, State]:
        """What a training step makes low, and the state after it; `losses` of all logits unless a task knows better."""
        logits, after = network(*inputs_of(network, batch, state))
        return self.losses(logits, batch), after

    @abc.abstractmethod
    def begin_scores(self) -> None:
        """Before an evaluation."""

    @abc.abstractmethod
    def take_scores(self, logits: Tensor, batch: SequenceBatch) -> None:
        """Take a batch of an evaluation in."""

    @abc.abstractmethod
    def scores(self, loss: float) -> dict[str, float]:
        """Measures of an evaluation, `loss` being the mean over the corpus."""

    @abc.abstractmethod
    def answer(self, logits: Tensor) -> Tensor:
        """What is predicted: probabilities, or ids."""

    def configure_model(self) -> None:
        """Build the network once the sizes of the data are known."""
        if self.network is not None or self._trainer is None:  # without a Trainer a checkpoint tells the sizes
            return
        if self.sizes is None:
            datamodule = getattr(self.trainer, "datamodule", None)
            if datamodule is None:
                raise ValueError(
                    f"{type(self).__name__} takes its sizes from a SequenceDataModule; pass one as datamodule="
                )
            self.sizes = dict(datamodule.sizes)
        self.build(self.sizes)

    def build(self, sizes: dict[str, Any]) -> None:
        """Make the network for data of these sizes (`tokens`, `numbers`, `classes`)."""
        self.sizes = sizes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.learning.seed)
            self.network = self.make_network(sizes)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False).eval()

    def forward(self, batch: SequenceBatch, state: State = None) -> tuple[Tensor, State]:
        """Logits of the averaged weights, and the state after them."""
        if self.averaged is None:
            raise ValueError("this module has no network yet; fit it, or load it from a checkpoint")
        found: tuple[Tensor, State] = self.averaged(*inputs_of(self.averaged, batch, state))
        return found

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """A batch's part of the mean loss over the corpus."""
        assert self.network is not None
        # For each step, so that a training resumed within an epoch repeats the unbroken one.
        torch.manual_seed((self.learning.seed * 1_000_003 + self.global_step) * 1_009 + self.global_rank)
        (loss, mask, per_batch), after = self.training_losses(self.network, batch, carried(self._state, batch))
        self._state = detach_state(after)
        mean = training_loss(loss, mask, per_batch)
        self.batch_share = mask.sum() / per_batch
        self.log("train_loss", mean, on_step=False, on_epoch=True, prog_bar=True, batch_size=1)
        return mean

    def on_train_epoch_end(self) -> None:
        """All lanes begin anew."""
        self._state = None

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """A step, which the average takes in."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self._averaged_steps += 1
        assert self.network is not None
        assert self.averaged is not None
        move_average(self.averaged, self.network, self.learning.average, self._averaged_steps)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm, unless the Trainer has a value of its own."""
        limit = self.learning.clip if gradient_clip_val is None else float(gradient_clip_val)
        self.clip_gradients(optimizer, limit, "norm" if gradient_clip_algorithm is None else gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        """AdamW; from 0 to the highest rate, then along a cosine to 0."""
        assert self.network is not None
        settings = self.learning
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        total = max(1, self._all_steps())
        rise = settings.warmup * total

        def rate(step: int) -> float:
            if step < rise:
                return (step + 1) / (rise + 1)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, total - rise))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _all_steps(self) -> int:
        """Optimiser steps of the whole training.

        `Trainer.estimated_stepping_batches` sets the loaders up before a checkpoint's loop is restored, so a training
        resumed within an epoch would begin that epoch's batches anew.
        """
        trainer, datamodule = self.trainer, getattr(self.trainer, "datamodule", None)
        if trainer.max_steps != -1:
            return trainer.max_steps
        if datamodule is None or trainer.max_epochs is None or trainer.max_epochs < 0:
            raise ValueError("the learning rate falls over the whole training: give max_epochs and datamodule=")
        batches, limit = len(datamodule.train_dataloader()), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return -(-batches // trainer.accumulate_grad_batches) * trainer.max_epochs

    def on_validation_epoch_start(self) -> None:
        """Begin an evaluation."""
        self._mean, self._evaluated_state = CorpusMean(), None
        self.begin_scores()

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Take a batch in."""
        logits, self._evaluated_state = self(batch, carried(self._evaluated_state, batch))
        loss, mask, _ = self.losses(logits, batch)
        self._mean.update(loss, mask)
        self.take_scores(logits, batch)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Tell the measures."""
        self._tell("validation")

    def on_test_epoch_end(self) -> None:
        """Tell the measures."""
        self._tell("test")

    def _tell(self, part: str) -> None:
        for name, value in self.scores(self._mean.compute()).items():
            self.log(f"{part}_{name}", value, prog_bar=part == "validation")

    def on_predict_epoch_start(self) -> None:
        """Begin without a state."""
        self._evaluated_state = None

    def predict_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """The answers."""
        logits, self._evaluated_state = self(batch, carried(self._evaluated_state, batch))
        return self.answer(logits)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sizes, and the states of all ranks' lanes."""
        checkpoint["sizes"] = self.sizes
        checkpoint["averaged_steps"] = self._averaged_steps
        states = [self._state]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            states = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, _on_cpu(self._state))
        checkpoint["states"] = states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network before its weights are loaded, and take up the lanes' states."""
        if self.network is None:
            self.build(checkpoint["sizes"])
        self._averaged_steps = int(checkpoint["averaged_steps"])
        states, rank = checkpoint["states"], self.global_rank if self._trainer is not None else 0
        # On another number of ranks the lanes are others: the loader refuses that within an epoch.
        self._state = states[rank] if rank < len(states) else None


def inputs_of(
    network: SequenceNetwork, batch: SequenceBatch, state: State
) -> tuple[Tensor | None, Tensor | None, Tensor, State, Tensor | None]:
    """A batch as the network's arguments."""
    steps = batch.steps
    token = steps.get("token") if network.embedding is not None else None
    return token, steps.get("numbers"), batch.length, state, batch.static.get("columns")


def carried(state: State, batch: SequenceBatch) -> State:
    """The state from which a batch begins, detached: None where all its sequences begin.

    Raises:
        ValueError: If sequences go on of which there is no state.
    """
    if bool(batch.reset.all()):
        return None
    if state is None:
        raise ValueError("a batch goes on with sequences whose first steps were not seen; begin with their first chunk")
    state = _on_device(state, batch.reset.device)
    return reset_lanes(detach_state(state), batch.reset)


def _on_device(state: State, device: torch.device) -> State:
    if state is None:
        return None
    return state.to(device) if isinstance(state, Tensor) else (state[0].to(device), state[1].to(device))


def _on_cpu(state: State) -> State:
    return _on_device(state, torch.device("cpu"))
