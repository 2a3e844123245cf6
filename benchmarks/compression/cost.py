"""What a training step costs with each way to average gradients: a model, made of formulas; nothing here measures.

    step = compute + work + max(wire − overlap · compute, wire / buckets)

Work is the processor's (coding, and its part in sending), slower by as much as ranks share cores. The wire is bytes
over bandwidth, and messages that wait for one another. It goes on beside a part of compute, but for the last bucket's;
with delay=1 beside that of the next step, and then nothing of it need remain.

N ranks, r of a host, n elements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

METHODS = ("fp32", "fp16", "powersgd1", "powersgd4", "onebit", "onebit-delay")  # and "none"
ROW_BITS = 24  # of a row: an fp16 value and an exponent
ROW = 2048  # elements that share them
_NS = 1e-9


@dataclass(frozen=True)
class Shape:
    """A model's gradient.

    Attributes:
        elements: n.
        low_rank: Numbers that PowerSGD sends for rank 1: rows + columns of every matrix.
        plain: Elements of vectors, which PowerSGD and 1-bit send as they are.
    """

    elements: int
    low_rank: float
    plain: int = 0

    @staticmethod
    def of_squares(elements: int, matrices: int = 24) -> Shape:
        """So many equal square matrices and nothing else."""
        return Shape(elements, 2 * matrices * math.sqrt(elements / matrices))


@dataclass(frozen=True)
class Cluster:
    """Where it runs.

    Attributes:
        ranks: N.
        bits: Bits a second of a host's link, in each direction.
        ranks_per_host: r, which share that link. They average among themselves, and 1-bit is between hosts.
        ranks_per_core: By which the processor's work is slower, 1 or more.
        latency: Seconds from one rank to another, of a message that others wait for.
        message: Seconds of a rank's time for each further message of an all-to-all.
        tree: All-reduce by messages that wait for one another 2 · log2 N times, rather than 2 · (N - 1), and that
            leave a host as if it were one rank: the best that an all-reduce can do.
        local_bits: Bits a second within a host, which only 1-bit waits for: all-reduce has both at a time.
        bucket: Bytes of gradient that are averaged at a time; DDP's usual 25 MiB.
    """

    ranks: int
    bits: float
    ranks_per_host: int = 1
    ranks_per_core: float = 1.0
    latency: float = 0.0
    message: float = 0.0
    tree: bool = False
    local_bits: float = math.inf
    bucket: int = 25 << 20

    @property
    def shared(self) -> bool:
        """Whether there are several hosts of several ranks each; one host alone has no link to spare."""
        return 1 < self.ranks_per_host < self.ranks

    @property
    def speaking(self) -> int:
        """Ranks between which 1-bit is exchanged."""
        return self.ranks // self.ranks_per_host if self.shared else self.ranks


@dataclass(frozen=True)
class Costs:
    """Of a machine and the software on it.

    Attributes:
        quantise: Nanoseconds an element.
        decode: The same.
        coding: By which both are slower within a step.
        call: Seconds of a call of either, however few the elements.
        overlap: Share of compute during which bytes flow.
        overlap_delay: The same with delay=1.
        wire: Time of the wire over bytes / bandwidth, 1 or more.
        per_byte: Nanoseconds of the processor for a byte that a rank sends, and for the one that it gets meanwhile.
        fp16: Nanoseconds an element for the way to fp16 and back.
        powersgd: Nanoseconds an element, of PowerSGD.
        powersgd_rank: The same, for each rank of its matrices.
    """

    quantise: float
    decode: float
    coding: float = 1.0
    call: float = 0.0
    overlap: float = 0.0
    overlap_delay: float = 1.0
    wire: float = 1.0
    per_byte: float = 0.0
    fp16: float = 0.0
    powersgd: float = 0.0
    powersgd_rank: float = 0.0


def message_bytes(method: str, shape: Shape) -> float:
    """Bytes of the whole gradient as a method sends it."""
    if method.startswith("onebit"):
        return (shape.elements - shape.plain) / 8 * (1 + ROW_BITS / ROW) + 4 * shape.plain
    if method.startswith("powersgd"):
        return 4 * (int(method[-1]) * shape.low_rank + shape.plain)
    return {"none": 0, "fp16": 2, "fp32": 4}[method] * shape.elements


def rank_bytes(method: str, shape: Shape, ranks: int) -> float:
    """Bytes that a rank sends a step: by a ring or by the two phases of 1-bit 2 (N - 1) / N of the message."""
    return 2 * (ranks - 1) / ranks * message_bytes(method, shape)


def link_bytes(method: str, shape: Shape, cluster: Cluster) -> float:
    """Bytes that a host's link sends a step: a ring's leave it once, a tree's as if each host were one rank."""
    if cluster.ranks <= cluster.ranks_per_host and cluster.ranks_per_host > 1:
        return 0.0
    between_hosts = cluster.tree or method.startswith("onebit")
    return rank_bytes(method, shape, cluster.speaking if between_hosts else cluster.ranks)


def local_seconds(method: str, shape: Shape, cluster: Cluster) -> float:
    """Of the reduction within a host before 1-bit's exchange and the broadcast after it, uncompressed."""
    if not cluster.shared or not method.startswith("onebit"):
        return 0.0
    return 8 * 2 * 4 * shape.elements / cluster.local_bits


def waiting(method: str, shape: Shape, cluster: Cluster) -> float:
    """Seconds of all messages' latency a step: all-to-all and a ring's all-gather for 1-bit, else all-reduce."""
    n = cluster.ranks
    if method.startswith("onebit"):
        n = cluster.speaking
        once = cluster.latency + (n - 1) * cluster.message + (n - 1) * cluster.latency
    else:
        once = cluster.latency * (2 * math.ceil(math.log2(n)) if cluster.tree else 2 * (n - 1))
    # PowerSGD has one bucket here, as in the network bench, and three all-reduces: vectors, P and Q.
    return once * (3 if method.startswith("powersgd") else buckets(method, shape, cluster))


def buckets(method: str, shape: Shape, cluster: Cluster) -> int:
    """How many pieces a gradient is averaged in."""
    return 1 if method.startswith("powersgd") else -(-4 * shape.elements // cluster.bucket)


def work(method: str, shape: Shape, cluster: Cluster, costs: Costs) -> float:
    """Seconds of a rank's processor a step beside compute."""
    n, elements = cluster.speaking if method.startswith("onebit") else cluster.ranks, shape.elements
    coding = 0.0
    if method.startswith("onebit"):
        coded, owned = elements - shape.plain, (elements - shape.plain) / n
        worker = costs.quantise * coded * (n - 1) / n  # what others own
        owner = owned * ((n - 1) * costs.decode + costs.quantise)
        calls = buckets(method, shape, cluster) * ((n - 1) + 1 + n) * costs.call  # worker, owner, last decoding
        coding = costs.coding * (worker + owner + costs.decode * coded) * _NS + calls
    elif method.startswith("powersgd"):
        coding = (costs.powersgd + int(method[-1]) * costs.powersgd_rank) * elements * _NS
    elif method == "fp16":
        coding = costs.fp16 * elements * _NS
    return cluster.ranks_per_core * (coding + costs.per_byte * rank_bytes(method, shape, n) * _NS)


def step_seconds(method: str, compute: float, shape: Shape, cluster: Cluster, costs: Costs) -> float:
    """Seconds of a step.

    Args:
        method: One of `METHODS`, or "none".
        compute: Seconds of a step without communication.
        shape: Of the gradient.
        cluster: Where.
        costs: On what.
    """
    if method == "none" or cluster.ranks == 1:
        return compute
    wire = costs.wire * 8 * link_bytes(method, shape, cluster) / cluster.bits
    wire += waiting(method, shape, cluster) + local_seconds(method, shape, cluster)
    if method == "onebit-delay":
        left = max(wire - costs.overlap_delay * compute, 0.0)
    else:
        left = max(wire - costs.overlap * compute, wire / buckets(method, shape, cluster))
    return compute + work(method, shape, cluster, costs) + left


def speed_up(method: str, over: tuple[str, ...], compute: float, shape: Shape, cluster: Cluster, costs: Costs) -> float:
    """How much faster than the fastest of the others."""
    best = min(step_seconds(other, compute, shape, cluster, costs) for other in over)
    return best / step_seconds(method, compute, shape, cluster, costs)
