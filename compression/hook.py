"""1-bit SGD as a communication hook of `DistributedDataParallel`.

Seide, Fu, Droppo, Li, Yu: "1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed Training
of Speech DNNs", Interspeech 2014. Each gradient value goes over the network as its sign, and what was not sent is added
to the next minibatch's gradient.

Example:
    state = register_onebit_hook(ddp_model, warmup_steps=100)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
import torch.distributed as dist
from ludocast.compression.agreement import check_agreement
from ludocast.compression.exchange import BucketExchange
from ludocast.compression.failure import naming_the_dead
from ludocast.compression.plan import SMALLEST, Plan, bucket_parts
from ludocast.compression.residuals import FORMAT, Kept, check_saved
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

TensorFuture = torch.futures.Future[Tensor]
_REGISTERED = "_ludocast_onebit"


@dataclass(frozen=True)
class OneBitSettings:
    """What all ranks have to agree on.

    Attributes:
        warmup_steps: Steps of plain averaging before the first compressed one.
        delay: 1 applies each average one step late, so that the exchange overlaps the next step (double buffering,
            section 3.2 of the paper); 0 does not.
        row_length: Elements that share two values, about.
        smallest: Elements from which a tensor of two dimensions or more is compressed.
    """

    warmup_steps: int = 0
    delay: int = 0
    row_length: int = 2048
    smallest: int = SMALLEST

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is 0 or more, got {self.warmup_steps}")
        if self.delay not in (0, 1):
            raise ValueError(f"delay is 0 or 1, got {self.delay}")
        if self.row_length < 8:
            raise ValueError(f"row_length is 8 or more, got {self.row_length}")


@dataclass
class _Bucket:
    """A bucket's buffers and, with a delay, the average of its step before.

    Attributes:
        outs: With a delay, where averages go in turn: DDP reads one while the other is written.
    """

    exchange: BucketExchange
    late: TensorFuture | None = None
    outs: list[Tensor] = field(default_factory=list)

    def next_out(self, like: Tensor) -> Tensor:
        """The buffer that DDP has done with."""
        if not self.outs:
            self.outs = [torch.empty_like(like), torch.empty_like(like)]
        self.outs.reverse()
        return self.outs[0]


class OneBitState:
    """What the hook keeps from step to step.

    Args:
        model: The wrapped model.
        settings: Of the compression.

    Attributes:
        step: Backward passes averaged so far.
        sent_bytes: Bytes that this rank has sent in compressed steps.
    """

    def __init__(self, model: DistributedDataParallel, settings: OneBitSettings) -> None:
        self.settings = settings
        self.step = 0
        self.sent_bytes = 0
        group = model.process_group
        self.ranks, self.rank = dist.get_world_size(group), dist.get_rank(group)
        parameters = dict(model.module.named_parameters())
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._sizes = {name: parameter.numel() for name, parameter in parameters.items()}
        check_agreement(parameters, asdict(settings), group)
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._kept = Kept()
        self._loss_scale = 1.0
        members = dist.get_process_group_ranks(group)
        # One ordered thread a phase, each with a process group of its own: no rank can wait for a phase that another
        # rank means to do later.
        self._groups = [
            cast(dist.ProcessGroup, dist.new_group(members, use_local_synchronization=True)) for _ in range(2)
        ]
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix=f"onebit phase {k + 1}") for k in range(2)]

    def average(self, bucket: GradBucket) -> TensorFuture:
        """The average of a bucket's gradients over the ranks, to come."""
        buffer = bucket.buffer()
        if self.ranks == 1:
            return _ready(buffer)
        compress = self.step >= self.settings.warmup_steps and not buffer.is_sparse
        if bucket.is_last():
            self.step += 1
        if not compress:
            return self._submit_plain(buffer)
        entry = self._bucket(bucket)
        if entry.late is not None:
            entry.late.wait()  # its residual belongs to this step
        entry.exchange.encode(buffer)
        self.sent_bytes += entry.exchange.sent_bytes
        if self.settings.delay == 0:
            return self._submit(entry.exchange, buffer)
        before, entry.late = entry.late, self._submit(entry.exchange, entry.next_out(buffer))
        return before if before is not None else _ready(torch.zeros_like(buffer))

    def _bucket(self, bucket: GradBucket) -> _Bucket:
        names = tuple(self._names[id(parameter)] for parameter in bucket.parameters())
        if names not in self._buckets:
            if any(set(key) & set(names) for key in self._buckets):  # DDP has divided the parameters anew
                self._keep_all()
            self._buckets[names] = self._new_bucket(names, bucket)
        return self._buckets[names]

    def _new_bucket(self, names: tuple[str, ...], bucket: GradBucket) -> _Bucket:
        buffer = bucket.buffer()
        shapes = [tuple(parameter.shape) for parameter in bucket.parameters()]
        parts = bucket_parts(names, shapes, buffer.dtype, self.settings.smallest)
        plan = Plan(parts, self.ranks, buffer.numel(), self.settings.row_length)
        exchange = BucketExchange(plan, self.rank, buffer.dtype, buffer.device)
        late = torch.zeros_like(buffer) if self._kept.late else None
        self._kept.put_into(exchange, late)
        return _Bucket(exchange, None if late is None else _ready(late))

    def _keep_all(self) -> None:
        """Take all residuals out of their buckets, by name."""
        for entry in self._buckets.values():
            self._kept.take_from(entry.exchange, None if entry.late is None else entry.late.wait())
        self._buckets.clear()

    def _submit(self, exchange: BucketExchange, out: Tensor) -> TensorFuture:
        first, second = self._groups
        done = _Promise()

        def phase_2() -> None:
            with naming_the_dead("all-gather", self.ranks, second):
                exchange.to_all(second, out)
            done.keep(out)

        def phase_1() -> None:
            with naming_the_dead("all-to-all", self.ranks, first):
                exchange.to_owners(first)
            self._threads[1].submit(done.guard, phase_2)

        self._threads[0].submit(done.guard, phase_1)
        return done.future

    def _submit_plain(self, buffer: Tensor) -> TensorFuture:
        done = _Promise()

        def phase() -> None:
            with naming_the_dead("all-reduce", self.ranks, self._groups[0]):
                dist.all_reduce(buffer, group=self._groups[0])
            done.keep(buffer.div_(self.ranks))

        self._threads[0].submit(done.guard, phase)
        return done.future

    def set_loss_scale(self, scale: float) -> None:
        """Tell the factor by which the loss, and so every gradient, is multiplied now; residuals follow it."""
        if not scale > 0:
            raise ValueError(f"a loss scale is above 0, got {scale}")
        if scale == self._loss_scale:
            return
        self._keep_all()
        self._kept.scale(scale / self._loss_scale)
        self._loss_scale = scale

    def state_dict(self) -> dict[str, Any]:
        """This rank's residuals by parameter name, as tensors and numbers.

        The same rank of as many resumes from it to the bit; `residuals.consolidate` makes of all ranks' one for any
        number of ranks.
        """
        self._keep_all()
        kept = self._kept
        return {
            "format": FORMAT, "rank": self.rank, "ranks": self.ranks, "step": self.step,
            "loss_scale": self._loss_scale, "worker": dict(kept.worker), "owner": dict(kept.owner),
            "late": dict(kept.late),
        }  # fmt: skip

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `state_dict()` of the same rank, or from `consolidate(...)` at any number of ranks.

        Raises:
            ValueError: If it is another model's, or another number of ranks' and not consolidated.
        """
        check_saved(saved, self._sizes, self.rank, self.ranks)
        self._keep_all()
        self.step, self._loss_scale = int(saved["step"]), float(saved["loss_scale"])
        self._kept = Kept(*({name: v.clone() for name, v in saved[key].items()} for key in ("worker", "owner", "late")))

    def close(self) -> None:
        """End the two threads; no backward pass may follow."""
        for thread in self._threads:
            thread.shutdown()


class _Promise:
    """A future whose errors reach `backward()` as errors."""

    def __init__(self) -> None:
        self._inner: torch.futures.Future[Any] = torch.futures.Future()
        # DDP reads the value in C++, where only an error raised in a callback is an error.
        self.future: TensorFuture = self._inner.then(_unwrap)

    def keep(self, value: Tensor) -> None:
        self._inner.set_result(value)

    def guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._inner.set_result(error)


def _unwrap(inner: torch.futures.Future[Any]) -> Tensor:
    value = inner.value()
    if isinstance(value, BaseException):
        raise value
    return cast(Tensor, value)


def _ready(value: Tensor) -> TensorFuture:
    future: TensorFuture = torch.futures.Future()
    future.set_result(value)
    return future


def onebit_hook(state: OneBitState, bucket: GradBucket) -> TensorFuture:
    """The hook that DDP calls with each bucket."""
    return state.average(bucket)


# DDP compares the annotations themselves, not their text.
onebit_hook.__annotations__.update({"bucket": GradBucket, "return": TensorFuture})


def register_onebit_hook(
    model: DistributedDataParallel,
    warmup_steps: int = 0,
    delay: int = 0,
    row_length: int = 2048,
    smallest: int = SMALLEST,
) -> OneBitState:
    """Have a DDP model exchange its gradients as 1 bit a value.

    Collective: every rank of the model's process group has to call it.

    Args:
        model: Wrapped in DistributedDataParallel, on gloo or NCCL.
        warmup_steps: Steps of plain averaging before the first compressed one.
        delay: 1 applies each average one step late, so that the exchange overlaps the next step.
        row_length: Elements that share two values, about.
        smallest: Elements from which a tensor of two dimensions or more is compressed.

    Returns:
        The hook's state: `state_dict()` belongs into checkpoints.

    Raises:
        ValueError: If the model is not wrapped in DDP, has a hook already, or the ranks disagree.
    """
    if not isinstance(model, DistributedDataParallel):
        raise ValueError(
            f"register_onebit_hook takes a model wrapped in DistributedDataParallel, got {type(model).__name__}"
            + ("; FSDP shards gradients by itself and takes no such hook" if "FSDP" in type(model).__name__ else "")
        )
    if hasattr(model, _REGISTERED):
        raise ValueError("this model has the 1-bit hook already; DDP takes one hook only")
    backend = dist.get_backend(model.process_group)
    if backend not in ("gloo", "nccl"):
        raise ValueError(f'the 1-bit hook works on process groups of gloo or nccl, this one is of "{backend}"')
    state = OneBitState(model, OneBitSettings(warmup_steps, delay, row_length, smallest))
    model.register_comm_hook(state, onebit_hook)
    setattr(model, _REGISTERED, state)
    return state
