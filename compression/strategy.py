"""The hooks in Lightning: registered on CPU and GPU alike; the 1-bit hook's residuals in the Trainer's checkpoints."""

from __future__ import annotations

import atexit
import gc
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

import torch.distributed as dist
from ludocast.compression.hook import OneBitState, register_onebit_hook
from ludocast.compression.plan import SMALLEST
from ludocast.compression.record import write_record
from ludocast.compression.residuals import consolidate
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.trainer.states import TrainerStatus
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

Compression = Literal["auto", "onebit", "powersgd", "fp16", "none"]
IN_WORDS: dict[Compression, str] = {
    "auto": "as 1 bit a value where that is faster",
    "onebit": "as 1 bit a value",
    "powersgd": "as PowerSGD's factors of low rank",
    "fp16": "in 16 bits a value",
    "none": "uncompressed",
}
CHECKPOINT_KEY = "ludocast_onebit"
WARMUP_STEPS = 50
ONE_BUCKET_MB = 1 << 20


def _end_process_groups() -> None:
    if dist.is_initialized():
        gc.collect()  # a model under DDP holds its group in a cycle, and a group ends with its last holder
        dist.destroy_process_group()


class EndingDDPStrategy(DDPStrategy):
    """DDP that ends its process groups before Python ends; Lightning does so with NCCL alone.

    A thread of gloo that lets go of a tensor while Python ends aborts a process that had done all its work
    (pytorch/pytorch issue 190489).
    """

    def teardown(self) -> None:
        """Have a training that was not interrupted end the groups at exit: then none waits for a dead rank."""
        module = self.lightning_module
        trainer = None if module is None else module._trainer
        super().teardown()
        if trainer is not None and trainer.state.status != TrainerStatus.INTERRUPTED:
            atexit.register(_end_process_groups)


class OneBitDDPStrategy(EndingDDPStrategy):
    """DDP whose gradients are exchanged as 1 bit a value.

    A checkpoint holds the residuals of all ranks beside weights and optimizer, in one file: as many ranks go on to the
    bit, another number of ranks with what was not yet applied kept. The residuals follow a loss scale by themselves.

    Args:
        warmup_steps: Steps of plain averaging before the first compressed one.
        delay: 1 applies each average one step late, so that the exchange overlaps the next step.
        width: Bits a value of the averages that owners send to all: 1, 4 or 8.
        row_length: Elements that share a value, about.
        smallest: Elements from which a tensor of two dimensions or more is compressed.
        process_group_backend: gloo or nccl; by the device if None.
        timeout_seconds: After which a collective without an answer fails.
        find_unused_parameters: As in DistributedDataParallel.
        static_graph: As in DistributedDataParallel.
        start_method: How Lightning starts the other processes where no launcher such as torchrun has.
        auto: Compress where that makes a step faster.
        auto_every: Steps after which `auto` compares again.
        ranks_per_host: As of `register_onebit_hook`.
        record: Where rank 0 writes what the hook did when a training ends, for `ludocast compression-report`.
    """

    def __init__(
        self,
        warmup_steps: int = 0,
        delay: int = 0,
        width: int = 1,
        row_length: int = 2048,
        smallest: int = SMALLEST,
        process_group_backend: str | None = None,
        timeout_seconds: float = 1800.0,
        find_unused_parameters: bool = False,
        static_graph: bool = False,
        start_method: Literal["popen", "spawn", "fork", "forkserver"] = "popen",
        auto: bool = False,
        auto_every: int = 1000,
        ranks_per_host: int | None = None,
        record: str | Path | None = None,
    ) -> None:
        super().__init__(
            process_group_backend=process_group_backend,
            timeout=timedelta(seconds=timeout_seconds),
            start_method=start_method,
            find_unused_parameters=find_unused_parameters,
            static_graph=static_graph,
        )
        self._options: dict[str, Any] = {
            "warmup_steps": warmup_steps, "delay": delay, "width": width, "row_length": row_length,
            "smallest": smallest, "auto": auto, "auto_every": auto_every, "ranks_per_host": ranks_per_host,
        }  # fmt: skip
        self._record = record
        self._saved: list[dict[str, Any]] | None = None
        self.onebit: OneBitState | None = None

    def configure_ddp(self) -> None:
        """Wrap the model and register the hook; Lightning's own `ddp_comm_hook` would be ignored on CPU."""
        super().configure_ddp()
        self.onebit = register_onebit_hook(cast(DistributedDataParallel, self.model), **self._options)
        self._resume()

    def pre_backward(self, closure_loss: Tensor) -> None:
        """Tell the hook of a new loss scale before the gradients that have it."""
        super().pre_backward(closure_loss)
        scaler = getattr(self.precision_plugin, "scaler", None)
        if scaler is not None and self.onebit is not None:
            self.onebit.set_loss_scale(float(scaler.get_scale()))

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write weights, optimizer and the residuals of all ranks as one file; collective."""
        if self.onebit is not None:
            states: list[Any] | None = [None] * self.world_size if self.global_rank == 0 else None
            dist.gather_object(self.onebit.state_dict(), states, dst=0)
            checkpoint[CHECKPOINT_KEY] = states
        super().save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint and keep its residuals until the hook is there."""
        checkpoint: dict[str, Any] = super().load_checkpoint(checkpoint_path, weights_only)
        self._saved = checkpoint.get(CHECKPOINT_KEY)
        self._resume()
        return checkpoint

    def _resume(self) -> None:
        if self._saved is None or self.onebit is None:
            return
        same = len(self._saved) == self.world_size
        self.onebit.load_state_dict(self._saved[self.global_rank] if same else consolidate(self._saved))
        self._saved = None

    def teardown(self) -> None:
        """End the hook's threads; its residuals stay for a checkpoint of the finished training."""
        if self.onebit is not None:
            if self._record is not None and self.global_rank == 0:
                try:
                    write_record(self.onebit, self._record)
                except OSError as error:  # the training itself is not lost
                    warnings.warn(f"what the 1-bit hook did could not be written: {error}", stacklevel=2)
            self.onebit.close()
        super().teardown()


class TorchHookDDPStrategy(EndingDDPStrategy):
    """DDP with one of torch's own hooks, registered on CPU too, where Lightning's `ddp_comm_hook` is ignored.

    Unlike the 1-bit hook's, what PowerSGD has not sent yet is in no checkpoint: a resumed training begins it anew.

    Args:
        hook: fp16 sends halves, powersgd two factors of each gradient matrix.
        warmup_steps: Of PowerSGD: steps of plain averaging before, 2 or more.
        matrix_rank: Of PowerSGD's factors.
        timeout_seconds: After which a collective without an answer fails.
    """

    def __init__(
        self,
        hook: Literal["fp16", "powersgd"],
        warmup_steps: int = WARMUP_STEPS,
        matrix_rank: int = 1,
        timeout_seconds: float = 1800.0,
    ) -> None:
        # With two buckets or more torch's PowerSGD hangs on gloo.
        buckets: dict[str, Any] = {"bucket_cap_mb": ONE_BUCKET_MB} if hook == "powersgd" else {}
        super().__init__(timeout=timedelta(seconds=timeout_seconds), find_unused_parameters=False, **buckets)
        self._hook, self._warmup_steps, self._matrix_rank = hook, warmup_steps, matrix_rank
        self.powersgd: PowerSGDState | None = None

    def configure_ddp(self) -> None:
        """Wrap the model and register the hook."""
        super().configure_ddp()
        model = cast(DistributedDataParallel, self.model)
        if self._hook == "fp16":
            model.register_comm_hook(None, fp16_compress_hook)
            return
        self.powersgd = PowerSGDState(None, self._matrix_rank, max(self._warmup_steps, 2))
        model.register_comm_hook(self.powersgd, powerSGD_hook)


def ddp_strategy(
    compression: Compression,
    warmup_steps: int = WARMUP_STEPS,
    timeout_seconds: float = 1800.0,
    record: str | Path | None = None,
) -> DDPStrategy:
    """The Lightning strategy that averages gradients over several processes in this way.

    Args:
        compression: auto is onebit where that makes a step faster, and no compression elsewhere.
        warmup_steps: Steps of plain averaging before the first that onebit or powersgd compresses.
        timeout_seconds: After which a collective without an answer fails.
        record: Where rank 0 writes what onebit or auto did.
    """
    if compression == "none":
        return EndingDDPStrategy(timeout=timedelta(seconds=timeout_seconds), find_unused_parameters=False)
    if compression in ("fp16", "powersgd"):
        return TorchHookDDPStrategy(compression, warmup_steps, timeout_seconds=timeout_seconds)
    return OneBitDDPStrategy(warmup_steps, timeout_seconds=timeout_seconds, auto=compression == "auto", record=record)
