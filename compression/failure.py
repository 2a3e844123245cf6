"""What to say when a collective fails because a rank died or hangs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch.distributed as dist
from torch.distributed import distributed_c10d

ROLL_CALL = 5.0  # seconds that survivors have to say that they live


@contextmanager
def naming_the_dead(collective: str, ranks: Sequence[int]) -> Iterator[None]:
    """Turn the failure of a collective into an error that names it and those of its ranks that do not answer.

    Raises:
        RuntimeError: In place of the collective's own error, which it holds as its cause.
    """
    try:
        yield
    except RuntimeError as error:
        missing = _roll_call(ranks)
        who = "no answer of " + ", ".join(f"rank {rank}" for rank in missing) if missing else "every rank still answers"
        raise RuntimeError(
            f"the {collective} of the 1-bit exchange failed on rank {dist.get_rank()}: {who}; "
            "restart the job from its last checkpoint"
        ) from error


def _roll_call(ranks: Sequence[int]) -> list[int]:
    """Ranks that do not write their name into the store in time; all others fail at the same collective and do."""
    mine = dist.get_rank()
    missing = [rank for rank in ranks if rank != mine]
    try:
        store = distributed_c10d._get_default_store()
        store.set(f"onebit/alive/{mine}", "yes")
        until = time.monotonic() + ROLL_CALL
        while missing and time.monotonic() < until:
            missing = [rank for rank in missing if not store.check([f"onebit/alive/{rank}"])]
            time.sleep(0.05)
    except (RuntimeError, ValueError):  # the store lives in rank 0's process
        return [0]
    return missing
