"""How threads of OpenMP wait for each other, and how little work one of them does alone.

torch, scikit-learn, LightGBM and XGBoost share the loops of a training among as many threads as there are cores. These
meet at each loop's end, and by default wait there by spinning for milliseconds: on a machine with other work a spinning
thread holds the core that the one it waits for should have, and a training of a minute takes twenty.
`benchmarks/contention.py` measures it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

# A thread sleeps after some microseconds. 1,000 turns would gain a little more beside other work, but lose up to
# a third on a machine of its own; the library of GNU usually takes 300,000.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "5000"}
SAID_BY_USER = (*WAITING, "KMP_BLOCKTIME")
LITTLE = 100_000  # values of a table, rows times inputs, of which one thread alone is done sooner


def let_waiting_threads_sleep() -> None:
    """Set how threads wait, unless the environment says it; to be called before their libraries are loaded."""
    if not any(name in os.environ for name in SAID_BY_USER):
        os.environ.update(WAITING)


@contextlib.contextmanager
def threads_for(values: int) -> Iterator[None]:
    """Within it a training of so many values has one thread where they are few, else those it had."""
    if values > LITTLE:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
