"""Batches of the training rows of a data set on the disk, in bounded memory, each rank its own rows."""

# M members, B rows of a member in a batch, N rows

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from ludocast.datamodules.batches import Batch, TableTensors, world_and_rank
from ludocast.datamodules.preprocess import Preprocessing
from ludocast.datamodules.row_groups import StreamedTable

BUFFER = 524_288  # rows that are shuffled together
EPOCH = 2_000_000  # rows of an epoch, about: a checkpoint comes after each
Rows = tuple[np.ndarray, ...]  # numbers float32 [N, D], codes int64 [N, S], label int64 [N]


@dataclass(frozen=True)
class TrainingStream:
    """The training rows of a data set as the network reads them."""

    table: StreamedTable
    preprocessing: Preprocessing

    @cached_property
    def filled(self) -> np.ndarray:
        """Numbers of the row groups with training rows."""
        return np.flatnonzero(self.table.groups.counts["train"])

    @property
    def rows(self) -> int:
        """Number of training rows."""
        return self.table.groups.rows("train")

    def line(self, order: np.ndarray, first: int, last: int) -> Iterator[Rows]:
        """Rows `first` to `last` of all training rows, laid out group after group in an order of the groups.

        Args:
            order: A permutation of `filled`.
            first: From 0.
            last: The row after the last one.
        """
        begin = 0
        for group in order:
            count = int(self.table.groups.counts["train"][group])
            if first < begin + count and begin < last:
                at = begin
                for columns, label in self.table.group("train", int(group)):
                    own = slice(max(first - at, 0), max(last - at, 0))
                    at += len(label)
                    if len(label[own]):
                        found = self.preprocessing.encode({name: values[own] for name, values in columns.items()})
                        yield found.numbers, found.codes, label[own]
            begin += count


class RowGroupLoader:
    """Shuffled batches of all members, as `batches.train_loader` gives them of rows in memory.

    A pass lays the row groups out in an order drawn anew, cuts this line of rows into epochs and each epoch into one
    stretch a rank: every row is in one place alone, all ranks have the same number of batches, and a row group is read
    by several ranks only where a cut goes through it. Inside its stretch a rank draws rows from a buffer that the line
    refills; what comes out of it together each member shuffles for itself. Fewer rows than a batch an epoch are left
    out, others in each pass.

    Args:
        stream: The rows.
        members: M.
        batch: Rows of a member in a batch, over all ranks together.
        seed: With the epoch it seeds order and shuffles, so a resumed run sees the batches of an unbroken one.
        buffer: Rows of the buffer.
        epoch_rows: Rows of an epoch, about.

    Attributes:
        parts: Epochs of a pass.
        epoch: Whose batches come next.
    """

    batch_sampler = None  # Lightning asks whatever has a sampler for it

    def __init__(
        self,
        stream: TrainingStream,
        members: int,
        batch: int,
        seed: int,
        buffer: int = BUFFER,
        epoch_rows: int = EPOCH,
    ) -> None:
        self.stream, self.members, self.seed, self.buffer = stream, members, seed, buffer
        self.parts = max(1, round(stream.rows / epoch_rows))
        self.batch = min(batch, stream.rows // self.parts)
        self.epoch = 0

    @property
    def sampler(self) -> RowGroupLoader:
        """What Lightning tells the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch before it begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.stream.rows // (self.batch * self.parts)

    def __iter__(self) -> Iterator[Batch]:
        # The body runs at the first batch, when Lightning has told the epoch.
        ranks, rank = world_and_rank()
        shares = [len(range(one, self.batch, ranks)) for one in range(ranks)]
        number, part = divmod(self.epoch, self.parts)
        first = len(self) * (part * self.batch + sum(shares[:rank]))
        order = np.random.default_rng((self.seed, number)).permutation(self.stream.filled)
        generator = np.random.default_rng((self.seed, self.epoch, rank))
        line = self.stream.line(order, first, first + len(self) * shares[rank])
        for rows in whole_batches(shuffled(line, min(self.buffer, len(self) * shares[rank]), generator), shares[rank]):
            tensors = TableTensors(*(torch.from_numpy(side) for side in rows))
            picks = np.stack([generator.permutation(len(tensors)) for _ in range(self.members)])
            for begin in range(0, len(tensors), shares[rank]):
                yield tensors[torch.from_numpy(picks[:, begin : begin + shares[rank]])]


def shuffled(blocks: Iterator[Rows], size: int, generator: np.random.Generator) -> Iterator[Rows]:
    """The same rows by way of a buffer: each that comes takes the place of a random one, which goes.

    Args:
        blocks: Rows, a few at a time.
        size: Rows of the buffer.
        generator: Chooses.
    """
    held: Rows = ()
    filled = 0
    for block in blocks:
        if not held:
            held = tuple(np.empty((size, *side.shape[1:]), side.dtype) for side in block)
        for begin in range(0, len(block[2]), size):
            part = [side[begin : begin + size] for side in block]
            free = min(size - filled, len(part[2]))
            for side, new in zip(held, part, strict=True):
                side[filled : filled + free] = new[:free]
            filled += free
            places = generator.choice(size, len(part[2]) - free, replace=False)
            if len(places):
                yield _rows(held, places)
                for side, new in zip(held, part, strict=True):
                    side[places] = new[free:]
    for places in np.array_split(generator.permutation(filled), 4):  # in parts, for each is a copy
        yield _rows(held, places)


def whole_batches(blocks: Iterator[Rows], batch: int) -> Iterator[Rows]:
    """The same rows in the same order, in blocks of whole batches; what is left at the end is left out."""
    waiting: list[Rows] = []
    for block in blocks:
        waiting.append(block)
        count = sum(len(rows[2]) for rows in waiting)
        if count < batch:
            continue
        joined = tuple(np.concatenate(sides) for sides in zip(*waiting, strict=True))
        whole = count // batch * batch
        waiting = [_rows(joined, slice(whole, None))]
        yield _rows(joined, slice(whole))


def _rows(rows: Rows, index: np.ndarray | slice) -> Rows:
    return tuple(side[index] for side in rows)
