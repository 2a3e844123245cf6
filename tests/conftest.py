"""What all tests share: their order, and that Ctrl-C reaches what they start.

Two workers take whole files (`make test`), so the long ones come first, and neither waits.
"""

from __future__ import annotations

import signal

import pytest

LONG = ("test_readme.py", "test_torchrun.py", "test_train_churn.py", "test_graph_table.py", "test_train_sequence.py")


def pytest_configure() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, and processes started from there inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable, so that all else stays in the order of its files."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
