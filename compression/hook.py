"""1-bit SGD as a communication hook of `DistributedDataParallel`.

Seide, Fu, Droppo, Li, Yu: "1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed Training
of Speech DNNs", Interspeech 2014. Each gradient value goes over the network as its sign, and what was not sent is added
to the next minibatch's gradient.

Example:
    state = register_onebit_hook(ddp_model, warmup_steps=100)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from math import prod
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from ludocast.compression.agreement import check_agreement, check_model
from ludocast.compression.exchange import BucketExchange
from ludocast.compression.failure import naming_the_dead
from ludocast.compression.pipeline import Pipeline, Promise, TensorFuture, Work, ready
from ludocast.compression.plan import SMALLEST, Part, Plan, bucket_parts, bucket_shape, uncoded
from ludocast.compression.record import Record
from ludocast.compression.residuals import FORMAT, Kept, check_saved
from ludocast.compression.settings import OneBitSettings
from ludocast.compression.topology import make_topology, ranks_per_host
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

_REGISTERED = "_ludocast_onebit"
_TRIALS = 3  # of each way, when `auto` compares them
_WORTH = 1.1  # times as fast 1 bit has to be, for it is not exact
_log = logging.getLogger(__name__)


@dataclass
class _Bucket:
    """A bucket's buffers and what is known of it.

    Attributes:
        parts: Its parameters.
        exchange: None on a rank for which another one speaks.
        late: With a delay, the average of the step before.
        outs: With a delay, where averages go in turn: DDP reads one while the other is written.
        tried: Step at which `auto` compared last.
        seconds: What it measured: plain averaging and 1 bit, of the slowest rank.
    """

    parts: tuple[Part, ...]
    exchange: BucketExchange | None
    late: TensorFuture | None = None
    outs: list[Tensor] = field(default_factory=list)
    tried: int | None = None
    seconds: tuple[float, float] = (0.0, 0.0)

    @property
    def pays(self) -> bool:
        """Whether 1 bit was faster."""
        plain, bits = self.seconds
        return plain > _WORTH * bits

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
        record: What was measured.
        decision: What `auto` chose last, in words; empty without it.
    """

    def __init__(self, model: DistributedDataParallel, settings: OneBitSettings) -> None:
        self.settings = settings
        self.step = 0
        self.sent_bytes = 0
        self.decision = ""
        self.group = model.process_group
        self.ranks, self.rank = dist.get_world_size(self.group), dist.get_rank(self.group)
        self._may_drop = bool(model.find_unused_parameters)
        parameters = dict(model.module.named_parameters())
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._shapes = {name: bucket_shape(parameter) for name, parameter in parameters.items()}
        self.record = Record(uncoded(parameters), next(iter(parameters.values())).device.type)
        local = ranks_per_host(self.group, settings.ranks_per_host)
        check_agreement(parameters, asdict(replace(settings, ranks_per_host=local)), self.group)
        self.topology = make_topology(self.group, local)
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._kept = Kept()
        self._loss_scale = 1.0
        self._stages = self._stage_names()
        self._pipeline = Pipeline(self._stages)

    def _stage_names(self) -> list[str]:
        own = ["encode", "all-to-all", "add", "all-gather", "decode"] if self.topology.share is not None else []
        return ["reduce", *own, "broadcast"] if self.topology.local is not None else own

    def average(self, bucket: GradBucket) -> TensorFuture:
        """The average of a bucket's gradients over the ranks, to come."""
        buffer, step = bucket.buffer(), self.step
        self.step += bucket.is_last()
        if self.ranks == 1:
            return ready(buffer)
        future = self._averaged(bucket, buffer, step)
        if bucket.is_last():
            self.record.end(step)
            begin, record = time.perf_counter(), self.record
            future.then(lambda _: record.add(step, "wait", time.perf_counter() - begin))
        return future

    def _averaged(self, bucket: GradBucket, buffer: Tensor, step: int) -> TensorFuture:
        if step < self.settings.warmup_steps or buffer.is_sparse:
            return self._plain(bucket, step)
        entry = self._bucket(bucket)
        if self.settings.auto and not self._pays(entry, bucket, step):
            return self._plain(bucket, step)
        return self._compressed(entry, buffer, step)

    def _plain(self, bucket: GradBucket, step: int) -> TensorFuture:
        """Torch's own all-reduce, on the model's own process group."""
        size = bucket.buffer().numel() * bucket.buffer().element_size()
        speakers = self.ranks // self.topology.local_ranks
        self.record.add(step, "plain_bytes", 2 * size * (speakers - 1) / speakers)
        ranks = dist.get_process_group_ranks(self.group)

        def named(done: TensorFuture) -> Tensor:  # without self: in gloo's own thread its group must not end
            with naming_the_dead("all-reduce", ranks):
                return done.value()

        future: TensorFuture = allreduce_hook(self.group, bucket).then(named)
        return future

    def _compressed(self, entry: _Bucket, buffer: Tensor, step: int) -> TensorFuture:
        if entry.exchange is not None:
            self.sent_bytes += entry.exchange.sent_bytes
            self.record.add(step, "bytes", entry.exchange.sent_bytes)
        result = average = Promise(buffer.device)
        out = buffer
        if self.settings.delay:
            average, out = Promise(buffer.device), entry.next_out(buffer)
        work = self._work(entry, buffer, out, step)
        if self.settings.delay:
            before, entry.late = entry.late, average.future
            taking = self._stages.index("reduce" if entry.exchange is None else "encode")
            take = work[taking]

            def take_and_give() -> None:
                earlier = torch.zeros_like(buffer) if before is None else before.wait()  # and its residual is there
                take()
                result.keep(earlier)

            work[taking] = take_and_give
        work.append(lambda: average.keep(out))
        self._pipeline.submit(self._pipeline.aside(work, buffer.device), (result, average))
        return result.future

    def _work(self, entry: _Bucket, buffer: Tensor, out: Tensor, step: int, keep: bool = True) -> list[Work]:
        """What the stages do with a bucket.

        Args:
            entry: The bucket.
            buffer: Its gradients.
            out: Where their average goes.
            step: Of the training.
            keep: Whether the residuals change.
        """
        topology, exchange, timed = self.topology, entry.exchange, self.record.timed if keep else _untimed

        def collective(name: str, group: dist.ProcessGroup, act: Callable[[dist.ProcessGroup], object]) -> Work:
            def work() -> None:
                with timed(step, "exchange"), naming_the_dead(name, dist.get_process_group_ranks(group)):
                    act(group)

            return work

        def reduce(group: dist.ProcessGroup) -> None:
            buffer.div_(topology.local_ranks)
            dist.reduce(buffer, topology.leader, group=group)

        work: list[Work] = []
        if topology.local is not None:
            work.append(collective("reduce", topology.local[0], reduce))
        if exchange is not None and topology.across is not None:
            there: BucketExchange = exchange

            def encode() -> None:
                with timed(step, "quantise"):
                    there.encode(buffer)
                if keep and self.record.wants_norms(step):
                    parts, kept = there.plan.compressed, there.residual.now
                    pairs = [(buffer[part.where], kept[part.where]) for part in parts]
                    self.record.add_norms(step, [part.name for part in parts], pairs)

            def add() -> None:
                with timed(step, "quantise"):
                    there.add(buffer)

            def decode() -> None:
                with timed(step, "decode"):
                    there.decode(out, keep)

            work += [
                encode, collective("all-to-all", topology.across[0], there.to_owners),
                add, collective("all-gather", topology.across[1], there.to_all), decode,
            ]  # fmt: skip
        if topology.local is not None:
            work.append(
                collective("broadcast", topology.local[1], lambda g: dist.broadcast(out, topology.leader, group=g))
            )
        return work

    def _pays(self, entry: _Bucket, bucket: GradBucket, step: int) -> bool:
        """Whether a bucket is to be compressed, compared anew now and then; collective."""
        if step == 0:  # DDP divides the parameters into new buckets thereafter
            return False
        buffer = bucket.buffer()
        if entry.tried is None or step - entry.tried >= self.settings.auto_every:
            with self.record.timed(step, "trial"):
                entry.tried, entry.seconds = step, self._try_both(entry, buffer, step)
            if not entry.pays and entry.exchange is not None:
                entry.exchange.flush(buffer, self.topology.local_ranks)  # plain averaging leaves nothing over
            if bucket.is_last():
                self._decide(step)
        return entry.pays

    def _try_both(self, entry: _Bucket, buffer: Tensor, step: int) -> tuple[float, float]:
        """Seconds of plain averaging and of the 1-bit exchange of a bucket, of the slowest rank."""
        self._pipeline.drain()
        scratch, meet = torch.empty_like(buffer), torch.zeros(1, device=buffer.device)
        found: tuple[list[float], list[float]] = ([], [])
        for _ in range(_TRIALS):
            for k in range(2):
                scratch.copy_(buffer)
                work = self._work(entry, scratch, scratch, step, keep=False)
                dist.all_reduce(meet, group=self.group)
                begin = time.perf_counter()
                if k == 0:
                    dist.all_reduce(scratch, group=self.group)
                else:
                    for act in work:
                        act()
                if buffer.is_cuda:
                    torch.cuda.synchronize(buffer.device)
                found[k].append(time.perf_counter() - begin)
        seconds = torch.tensor([median(times) for times in found], device=buffer.device)
        dist.all_reduce(seconds, dist.ReduceOp.MAX, group=self.group)
        return float(seconds[0]), float(seconds[1])

    def _decide(self, step: int) -> None:
        """Put into words what was chosen for all buckets."""
        entries = list(self._buckets.values())
        chosen = [entry for entry in entries if entry.pays]
        plain, bits = (1000 * sum(entry.seconds[k] for entry in (chosen or entries)) for k in range(2))
        if not chosen:
            self.decision = f"1-bit off: the network is faster than the quantiser ({plain:.1f} ms against {bits:.1f})"
        else:
            some = "" if len(chosen) == len(entries) else f" for {len(chosen)} of {len(entries)} buckets"
            self.decision = f"1-bit on{some}: {plain / bits:.1f}× (exchange {plain:.0f} → {bits:.0f} ms)"
        layers = [entry.exchange.plan.bits(entry.pays) for entry in entries if entry.exchange is not None]
        self.record.decide(step, self.decision, dict(pair for found in layers for pair in found.items()))
        if self.rank == 0:
            _log.info("%s", self.decision)

    def _bucket(self, bucket: GradBucket) -> _Bucket:
        names = tuple(self._names[id(parameter)] for parameter in bucket.parameters())
        if names not in self._buckets:
            if any(set(key) & set(names) for key in self._buckets):  # DDP has divided the parameters anew
                self._keep_all()
            self._buckets[names] = self._new_bucket(names, bucket.buffer())
        return self._buckets[names]

    def _new_bucket(self, names: tuple[str, ...], buffer: Tensor) -> _Bucket:
        late = torch.zeros_like(buffer) if self._kept.late else None
        parts = bucket_parts(names, [self._shapes[name] for name in names], buffer.dtype, self.settings.smallest)
        exchange = None
        if self.topology.share is not None:
            rank, ranks = self.topology.share
            plan = Plan(parts, ranks, buffer.numel(), self.settings.row_length, self.settings.width)
            exchange = BucketExchange(
                plan, rank, buffer.dtype, buffer.device, late=bool(self.settings.delay), may_drop=self._may_drop
            )
            self.record.layers |= plan.bits()
        self._kept.put_into(parts, exchange, late)
        return _Bucket(parts, exchange, None if late is None else ready(late))

    def _everything(self) -> Kept:
        """Copies of all residuals, by name; the buckets stay, for other ranks may not be asked at the same time."""
        kept = Kept(dict(self._kept.residual), dict(self._kept.late), dict(self._kept.steps))
        for entry in self._buckets.values():
            kept.take_from(entry.parts, entry.exchange, None if entry.late is None else entry.late.wait())
        return kept

    def _keep_all(self) -> None:
        """Take all residuals out of their buckets."""
        self._kept = self._everything()
        self._buckets.clear()

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
        kept = self._everything()
        return {
            "format": FORMAT, "rank": self.rank, "ranks": self.ranks, "share": self.topology.share, "step": self.step,
            "loss_scale": self._loss_scale, "residual": kept.residual, "late": kept.late,
            "steps": kept.steps,
        }  # fmt: skip

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `state_dict()` of the same rank, or from `consolidate(...)` at any number of ranks.

        Raises:
            ValueError: If it is another model's, or another number of ranks' and not consolidated.
        """
        share = self.topology.share
        check_saved(saved, {name: prod(shape) for name, shape in self._shapes.items()}, self.rank, self.ranks, share)
        self._keep_all()
        self.step, self._loss_scale = int(saved["step"]), float(saved["loss_scale"])
        residual = {name: value.clone() for name, value in saved["residual"].items()}
        if saved["ranks"] is None and share is None:  # of all ranks as one, and another rank speaks for this one
            residual = {}
        late = {name: value.clone() for name, value in saved["late"].items()}
        steps = {name: {key: value.clone() for key, value in of.items()} for name, of in saved["steps"].items()}
        self._kept = Kept(residual, late, steps)

    def close(self) -> None:
        """End the threads and let go of the process groups; no backward pass may follow."""
        self._pipeline.close()
        self.topology = replace(self.topology, local=None, across=None)
        del self.group


def _untimed(step: int, kind: str) -> AbstractContextManager[None]:  # noqa: ARG001
    return nullcontext()


def onebit_hook(state: OneBitState, bucket: GradBucket) -> TensorFuture:
    """The hook that DDP calls with each bucket."""
    return state.average(bucket)


# DDP compares the annotations themselves, not their text.
onebit_hook.__annotations__.update({"bucket": GradBucket, "return": TensorFuture})


def register_onebit_hook(
    model: DistributedDataParallel,
    warmup_steps: int = 0,
    delay: int = 0,
    width: int = 1,
    row_length: int = 2048,
    smallest: int = SMALLEST,
    auto: bool = False,
    auto_every: int = 1000,
    ranks_per_host: int | None = None,
) -> OneBitState:
    """Have a DDP model exchange its gradients as 1 bit a value.

    Collective: every rank of the model's process group has to call it.

    Args:
        model: Wrapped in DistributedDataParallel, on gloo or NCCL.
        warmup_steps: Steps of plain averaging before the first compressed one.
        delay: 1 applies each average one step late, so that the exchange overlaps the next step.
        width: Bits a value of the averages that owners send to all: 1, 4 or 8; what ranks send owners is 1 bit.
        row_length: Elements that share a value, about.
        smallest: Elements from which a tensor of two dimensions or more is compressed.
        auto: Compress a bucket only where that is faster than plain averaging, as timed after the first step.
        auto_every: Steps after which `auto` compares again.
        ranks_per_host: Neighbouring ranks that average uncompressed before one of them exchanges with other hosts; by
            default torchrun's LOCAL_WORLD_SIZE where there are several hosts.

    Returns:
        The hook's state: `state_dict()` belongs into checkpoints.

    Raises:
        ValueError: If the model is not wrapped in DDP, has a hook already, or the ranks disagree.
    """
    check_model(model, delay)
    if hasattr(model, _REGISTERED):
        raise ValueError("this model has the 1-bit hook already; DDP takes one hook only")
    settings = OneBitSettings(warmup_steps, delay, width, row_length, smallest, auto, auto_every, ranks_per_host)
    state = OneBitState(model, settings)
    model.register_comm_hook(state, onebit_hook)
    setattr(model, _REGISTERED, state)
    return state
