"""`--budget` and `--trials` of `ludocast train table|churn`: a search in place of one try of each learner."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ludocast.models.table.search import Budget
from ludocast.models.table.trials import Trial
from pytorch_lightning.loggers import Logger

SEARCH = "search"  # of the run: its trials
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def search_budget(budget: str | None, trials: int | None) -> Budget | None:
    """What a search may take; None where none is asked for.

    Args:
        budget: A time such as "5m".
        trials: Number of them.

    Raises:
        ValueError: If it is no time, or no trial.
    """
    if trials is not None and trials < 1:
        raise ValueError(f"--trials is 1 or more, got {trials}")
    if budget is None and trials is None:
        return None
    return Budget(None if budget is None else _seconds(budget), trials)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", text)
    if found is None or float(found[1]) <= 0:
        raise ValueError(f'--budget is a time such as 90s, 5m or 1h, got "{text}"')
    return float(found[1]) * _UNITS[found[2]]


def log_trials(logger: Logger, trials: Sequence[Trial]) -> None:
    """Tell the held-out loss of each whole trial by its number, and the lowest so far."""
    lowest = float("inf")
    for one in trials:
        if one.state == "whole":
            lowest = min(lowest, one.loss)
            logger.log_metrics({"loss": one.loss, "lowest_loss": lowest}, one.number)


def drop_scores(out: Path) -> None:
    """What the finished run needs no more; the study stays."""
    for path in (out / SEARCH).glob("*.npy"):
        path.unlink()
