"""The part of a report that tells of a search: how the loss fell, the best of each learner, and who is in the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.models.fitted import Fitted, FittedNumbers
from ludocast.models.metrics import shown
from ludocast.models.table.search import Searched, reason
from ludocast.models.table.trials import Trial
from ludocast.serve.charts import dot_chart, nice_range
from markupsafe import Markup


@dataclass(frozen=True)
class Tried:
    """A learner's row.

    Attributes:
        learner: Its name.
        whole: Trials that were made to the end.
        given_up: Trials that fell behind, failed, or had no time left.
        best: Lowest held-out loss; "" where none was whole.
        settings: Of that one, in words.
        seconds: All its trials took.
        failed: Why it failed, where it did each time.
    """

    learner: str
    whole: int
    given_up: int
    best: str
    settings: str
    seconds: float
    failed: str


@dataclass(frozen=True)
class Member:
    """A row of the ensemble.

    Attributes:
        name: Learner and number of its trial.
        weight: Share of it.
        loss: On held-out rows.
        settings: In words.
    """

    name: str
    weight: float
    loss: str
    settings: str


@dataclass(frozen=True)
class SearchPart:
    """What the page shows of a search.

    Attributes:
        sentences: In words.
        measure: What the loss is.
        curve: SVG of the lowest loss so far.
        learners: The best first.
        members: Of the model, the heaviest first.
    """

    sentences: Sequence[str]
    measure: str
    curve: Markup
    learners: Sequence[Tried]
    members: Sequence[Member]


def search_part(searched: Searched) -> SearchPart:
    """Of what came of a search."""
    trials, model = searched.trials, searched.found.model
    measure = model.loss.words if isinstance(model, FittedNumbers) else "log loss"
    names = {one.name: one for one in trials}
    members = [
        Member(name, share, shown(_loss(names[name], model)), _words(names[name]))
        for name, share in sorted(searched.shares.items(), key=lambda pair: -pair[1])
    ]
    given_up = sum(one.state != "whole" for one in trials)
    sentences = [
        f"{len(trials):,} trials in {trials[-1].elapsed:,.0f} s on {searched.found.held_out.protocol}; {given_up:,} of "
        "them were given up: they fell behind the best of their learner, failed, or had no time left.",
        "The test part had no say: it was not read before the model was finished.",
    ]
    every = [[one for one in trials if one.learner == name] for name in dict.fromkeys(one.learner for one in trials)]
    every.sort(key=lambda own: min(one.loss for one in own))
    return SearchPart(
        sentences, measure, _curve(trials, model, measure), [_tried(own, model) for own in every], members
    )


def search_record(searched: Searched) -> dict[str, Any]:
    """The search as JSON, for metrics.json."""
    model = searched.found.model
    return {
        "trials": [
            {
                "number": one.number, "learner": one.learner, "settings": dict(one.settings), "setting": one.setting,
                "state": one.state, "loss": _loss(one, model) if one.state == "whole" else None,
                "seconds": round(one.seconds, 3), "elapsed": round(one.elapsed, 3), "failed": one.failed,
            }
            for one in searched.trials
        ],
        "ensemble": dict(searched.shares),
    }  # fmt: skip


def _loss(trial: Trial, model: Fitted) -> float:
    """Log loss, or that of a number in the label's unit."""
    return model.loss.in_unit(trial.loss, model.width) if isinstance(model, FittedNumbers) else trial.loss


def _words(trial: Trial) -> str:
    said = [f"{name} {value:.3g}" for name, value in trial.settings.items()]
    return ", ".join(said) if said else "as without a search"


def _tried(own: Sequence[Trial], model: Fitted) -> Tried:
    best = min(own, key=lambda one: one.loss)
    whole = [one for one in own if one.state == "whole"]
    return Tried(
        learner=best.learner,
        whole=len(whole),
        given_up=len(own) - len(whole),
        best=shown(_loss(best, model)) if whole else "",
        settings=_words(best) if whole else "",
        seconds=sum(one.seconds for one in own),
        failed="" if whole else reason(best),
    )


def _curve(trials: Sequence[Trial], model: Fitted, measure: str) -> Markup:
    whole = [one for one in trials if one.state == "whole"]
    time, loss = [one.elapsed for one in whole], [_loss(one, model) for one in whole]
    best = [min(loss[: k + 1]) for k in range(len(loss))]
    # Each step of the curve: until the trial that betters it is over.
    at = [time[0], *(moment for moment in time[1:] for _ in range(2)), trials[-1].elapsed]
    steps = [value for value in best for _ in range(2)]
    # What is far worse than the first ones would leave the curve flat.
    high = min(max(loss), best[0] + 0.05 * abs(best[0]))
    near = [(moment, value) for moment, value in zip(time, loss, strict=True) if value <= high]
    x, y = np.array(near).T
    return dot_chart(
        "Each trial, and the lowest loss so far",
        x,
        y,
        ("seconds of the search", f"held-out {measure}"),
        (nice_range(0.0, trials[-1].elapsed), nice_range(min(best), high)),
        list(zip(at, steps, strict=True)),
    )
