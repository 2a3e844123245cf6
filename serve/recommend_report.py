"""The page of a recommender: how good it is beside others, for whom, what it shows and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from ludocast.models.metrics import Interval
from ludocast.models.recommend.evaluation import Evaluation, Group
from ludocast.models.recommend.ranking import NOBODY
from ludocast.serve.charts import Series, bar_chart, line_chart
from markupsafe import Markup

SHOWN_MEASURES = ("ndcg@10", "recall@10", "recall@20", "precision@10", "map@10", "mrr@10", "hit@10")
TITLES = {"ndcg": "NDCG", "map": "MAP", "mrr": "MRR", "hit": "hit rate"}
SHOWN_ITEMS = 15
DEVIATIONS = 1.96  # of a mean, on each side of it: a 95 % interval


@dataclass(frozen=True)
class Contender:
    """A line of the leaderboard.

    Attributes:
        name: Of the model's family.
        settings: The chosen ones, in words.
        validation: NDCG@10 by which it was chosen.
        evaluation: On the test part.
        seconds: Of fitting and ranking in validation.
        of_users: NDCG@10 of each user in validation, [U].
    """

    name: str
    settings: str
    validation: float
    evaluation: Evaluation
    seconds: float
    of_users: np.ndarray


@dataclass(frozen=True)
class Example:
    """A player: what is known, what was suggested, each with what speaks for it, and which of it was hidden."""

    history: tuple[str, ...]
    suggested: tuple[tuple[str, tuple[str, ...], bool], ...]


@dataclass(frozen=True)
class Way:
    """A way to answer for what has no pairs yet.

    Attributes:
        name: In words.
        settings: The chosen ones.
        validation: NDCG@10 by which it was chosen.
        metrics: On the test part.
    """

    name: str
    settings: str
    validation: float
    metrics: Mapping[str, Interval]


@dataclass(frozen=True)
class Newcomers:
    """New players or new items: a title, what was chosen, and the ways, the best one by validation first."""

    title: str
    sentence: str
    ways: Sequence[Way]


@dataclass(frozen=True)
class RecommendReport:
    """What `metrics.json` and the page tell.

    Attributes:
        name: Of the model.
        leaderboard: The shipped one first.
        rows: Part to number of pairs, and the numbers of users and items.
        protocol: Sentences.
        notes: What is to be known of the data.
        names: Of items, [I].
        examples: Players.
        newcomers: New players, new items.
    """

    name: str
    leaderboard: Sequence[Contender]
    rows: Mapping[str, int]
    protocol: Sequence[str]
    notes: Sequence[str]
    names: Sequence[str]
    examples: Sequence[Example] = field(default=())
    newcomers: Sequence[Newcomers] = field(default=())

    def metrics(self) -> dict[str, Any]:
        """The document `metrics.json`."""
        ours = self.leaderboard[0].evaluation
        return {
            "model": self.leaderboard[0].name,
            "rows": dict(self.rows),
            "protocol": list(self.protocol),
            "notes": list(self.notes),
            "metrics": {name: asdict(value) for name, value in ours.metrics.items()} | dict(ours.catalogue),
            "by_history": [asdict(group) for group in ours.by_history],
            "by_popularity": [asdict(group) for group in ours.by_popularity],
            "leaderboard": [
                {
                    "model": one.name, "settings": one.settings, "validation_ndcg@10": one.validation,
                    **{name: one.evaluation.metrics[name].value for name in SHOWN_MEASURES},
                    "coverage@10": one.evaluation.catalogue["coverage@10"], "seconds": one.seconds,
                }
                for one in self.leaderboard
            ],
            "newcomers": [
                {
                    "title": one.title, "sentence": one.sentence,
                    "ways": [
                        {
                            "way": way.name, "settings": way.settings, "validation_ndcg@10": way.validation,
                            **{name: way.metrics[name].value for name in SHOWN_MEASURES},
                        }
                        for way in one.ways
                    ],
                }
                for one in self.newcomers
            ],
        }  # fmt: skip


def write_recommend_report(report: RecommendReport, path: Path) -> None:
    """Write the page: one file, no script, nothing from elsewhere."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    ours = report.leaderboard[0]
    times = _times_shown(ours.evaluation.ranked[:, :10], len(report.names))
    top = np.argsort(-times, kind="stable")[:SHOWN_ITEMS]
    page = environment.get_template("recommend.html.jinja").render(
        name=report.name,
        headline=_headline(report),
        cards=[(_title(name), ours.evaluation.metrics[name]) for name in SHOWN_MEASURES],
        leaderboard=report.leaderboard,
        charts=[Markup(chart) for chart in _charts(report)],
        most_shown=[(report.names[item], int(times[item])) for item in top if times[item]],
        never=int((times == 0).sum()),
        items=len(report.names),
        users=len(ours.evaluation.ranked),
        examples=report.examples,
        newcomers=report.newcomers,
        rows=report.rows,
        notes=report.notes,
        protocol=report.protocol,
    )
    path.write_text(page, encoding="utf-8")


def _times_shown(ranked: np.ndarray, items: int) -> np.ndarray:
    return np.bincount(ranked[ranked != NOBODY], minlength=items)


def _title(name: str) -> str:
    kind, _, cut = name.partition("@")
    return f"{TITLES.get(kind, kind)}@{cut}"


def _headline(report: RecommendReport) -> list[str]:
    ours = report.leaderboard[0]
    hit: Interval = ours.evaluation.metrics["hit@10"]
    found = [
        f"Of players with hidden items, {hit.value:.0%} find one or more of them among 10 suggestions "
        f"({hit.low:.0%} to {hit.high:.0%})."
    ]
    network = next((one for one in report.leaderboard if one.name == "network"), None)
    other = next((one for one in report.leaderboard[1:] if one.name != "network"), None)
    if network is not None and ours is not network:
        found.append(
            f"The network did not pass {ours.name} by validation here ({_compared(network, ours)}), so {ours.name} is "
            "what is shipped."
        )
    ahead_of_ours = [one for one in report.leaderboard if one.validation > ours.validation]
    for one in ahead_of_ours:
        found.append(f"By validation {one.name}, which no bundle can hold, was ahead ({_compared(one, ours)}).")
    if ours is network and other is not None and not ahead_of_ours:
        ahead = ours.evaluation.metrics["ndcg@10"].value - other.evaluation.metrics["ndcg@10"].value
        where = f"{abs(ahead):.4f} {'ahead of' if ahead >= 0 else 'behind'} {other.name}"
        found.append(
            f"The network was chosen by validation ({_compared(ours, other)}); its NDCG@10 on the test part is {where}."
        )
    return found


def _compared(one: Contender, other: Contender) -> str:
    """The difference of two by validation, with the interval of its mean over the same users."""
    difference = one.of_users - other.of_users
    mean = float(difference.mean())
    half = DEVIATIONS * float(difference.std()) / max(1, len(difference)) ** 0.5
    chance = "within chance" if mean - half <= 0 <= mean + half else "beyond chance"
    return f"NDCG@10 {mean:+.4f}, 95 % interval {mean - half:+.4f} to {mean + half:+.4f}: {chance}"


def _charts(report: RecommendReport) -> list[str]:
    ours = report.leaderboard[0].evaluation
    shown = report.leaderboard[:4]
    cuts = np.arange(1, ours.ranked.shape[1] + 1)
    coverage = [
        Series(
            one.name, cuts, [(_times_shown(one.evaluation.ranked[:, :k], len(report.names)) > 0).mean() for k in cuts]
        )
        for one in shown
    ]
    return [
        _bars("NDCG@10 by length of the history", ours.by_history, "mean over users"),
        _bars("Found in 20, by popularity of the hidden item", ours.by_popularity, "share of hidden pairs"),
        line_chart(
            "Items that anyone is shown", coverage, "suggestions a player", "share of the catalogue",
            (1.0, float(max(2, len(cuts)))), (0.0, 1.0),
        ),
    ]  # fmt: skip


def _bars(title: str, groups: Sequence[Group], unit: str) -> str:
    known = [group for group in groups if group.value is not None]
    names = [f"{group.name} ({group.count:,})" for group in known]
    values = [group.value for group in known if group.value is not None]
    return bar_chart(title, names, values, [0.0] * len(values), unit, is_difference=False)
