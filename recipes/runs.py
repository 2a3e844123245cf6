"""`ludocast runs`: what is in a folder of runs, whether one is better than another, and their reports."""

from __future__ import annotations

import datetime as dt
import sys
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ludocast.models.comparison import (
    Classified,
    Comparison,
    LabelAnswers,
    Predicted,
    compare_classifiers,
    compare_label_answers,
    compare_means,
    compare_predicted,
)
from ludocast.models.metrics import OF_LABEL, shown
from ludocast.recipes.assignments import SEGMENTS_FILE, agreement, read_assignments
from ludocast.recipes.figures import METRICS_FILE, figures, read_metrics
from ludocast.recipes.predictions import (
    PREDICTIONS_FILE,
    USERS_FILE,
    AnyPredictions,
    LabelPredictions,
    NumberPredictions,
    Predictions,
    UserScores,
    read_predictions,
    read_user_scores,
)
from ludocast.serve.evaluation_report import title_of
from ludocast.serve.measured_labels import is_shown

REPORT_FILE = "report.html"
SHOWN = ("auc", "log_loss", "ndcg@10", "recall@20", "perplexity", "accuracy", "f1", "r2", "mae", "rmse")
OF_SEGMENTS = ("silhouette", "stability")
MOST_SHOWN = 6
KINDS = {PREDICTIONS_FILE: "classifier", USERS_FILE: "recommender", SEGMENTS_FILE: "segmentation"}
_WHAT: dict[type, str] = {Predictions: "classes", NumberPredictions: "a number", LabelPredictions: "several labels"}
DEPTH = 4  # folders below the one that is named


def runs_list(folder: Path, by: str | None = None) -> None:
    """List the runs in a folder: when each was, and its measures, on the rows of its own test, or of segments on all.

    Tests of different data do not compare; `ludocast runs compare` says whether two can.

    Example: ludocast runs list runs --by auc

    Args:
        folder: That holds runs, or folders of them.
        by: Measure by which they are sorted, the highest first; by default by name.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    found = [(path, read_metrics(path)) for path in run_folders(folder)]
    if not found:
        raise ValueError(f"{folder} holds no runs (folders with {METRICS_FILE} and {REPORT_FILE})")
    if by is not None:
        known = sorted({name for _, document in found for name in figures(document)})
        if by not in known:
            raise ValueError(f'no run here has the measure "{by}"; there is {", ".join(known)}')
        found.sort(key=lambda one: -figures(one[1]).get(by, float("-inf")))
    rows = [("run", "when", "rows", *_shown(document for _, document in found))]
    names = rows[0][3:]
    for path, document in found:
        each = figures(document)
        rows.append((
            str(path.relative_to(folder)) if path != folder else path.name,
            f"{dt.datetime.fromtimestamp((path / METRICS_FILE).stat().st_mtime):%Y-%m-%d %H:%M}",
            _test_rows(document),
            *(shown(each[name]) if name in each else "" for name in names),
        ))  # fmt: skip
    print_table(rows)


def runs_compare(
    first: Path,
    second: Path,
    measure: str | None = None,
    level: float = 0.95,
    unpaired: bool = False,
    seed: int = 0,
) -> None:
    """Say whether the second run is better than the first: a paired bootstrap over the rows of their test.

    Both have to have been tested on the same rows: trained on the same data with the same seed and split, or evaluated
    on one table by `ludocast evaluate`. Recommenders are compared by the users of their test. Of segments it is told
    how far two runs put the same rows together, for none is the right one.

    A verdict is wrong for equal models in 5 of 100 comparisons at level 0.95; a table of several measures holds as many
    verdicts, so choose one measure beforehand.

    Example: ludocast runs compare runs/a runs/b --measure log_loss

    Args:
        first: Folder of a run or of an evaluation.
        second: Another one.
        measure: That the verdict is about, of one of several labels such as auc:churned; by default AUC, of several
            labels their mean log loss, of numbers RMSE, or of recommenders NDCG@10.
        level: Of the intervals.
        unpaired: Compare models that were tested on different rows, as two samples; differences have to be larger.
        seed: Of the resamples.
    """
    if not 0.5 <= level < 1:
        raise ValueError(f"--level is a number from 0.5 to below 1, got {level:g}")
    kinds = _kinds(first, second)
    if kinds == "segmentation":
        if measure is not None or unpaired:
            raise ValueError("of segments it is told how far they agree; leave --measure and --unpaired out")
        _tell_agreement(first, second)
        return
    found = compared(first, second, level, unpaired, seed)
    of_labels = any(OF_LABEL in key for key in found)
    usual = "log_loss" if of_labels else "auc" if "auc" in found else next(iter(found))
    name = usual if measure is None else measure
    if name not in found:
        raise ValueError(f'--measure is one of {", ".join(found)}, got "{name}"')
    a, b = _names(first, second)
    rows: list[Sequence[str]] = [("measure", a, b, "difference", f"{100 * level:g} % interval", f"{b} is")]
    for key, one in found.items():
        if key != name and not is_shown(key):
            continue
        d = one.difference
        said = "not told apart" if one.verdict == "open" else one.verdict
        interval = f"{one.signed(d.low)} to {one.signed(d.high)}"
        rows.append((title_of(key), shown(one.first), shown(one.second), one.signed(d.value), interval, said))
    print_table(rows)
    print(f"\n{found[name].sentence(a, b, title_of(name))}", flush=True)


def runs_open(run: Path) -> None:
    """Show a run's report in the browser.

    Args:
        run: Folder of a run or of an evaluation.
    """
    page = run / REPORT_FILE
    if not page.is_file():
        raise ValueError(f"{run} has no {REPORT_FILE}; give the folder of a run")
    print(page, flush=True)
    if not webbrowser.open(page.resolve().as_uri()):
        print("no browser was found; open the file yourself", flush=True)


def compared(first: Path, second: Path, level: float, unpaired: bool, seed: int) -> dict[str, Comparison]:
    """Every measure of two runs.

    Raises:
        ValueError: If they cannot be compared; the sentence says why.
    """
    if _kinds(first, second) == "recommender":
        return _compared_recommenders(first, second, level, unpaired, seed)
    a, b = read_predictions(first), read_predictions(second)
    if type(a) is not type(b):
        told = [f"{path} tells {_WHAT[type(one)]}" for path, one in ((first, a), (second, b))]
        raise ValueError(f"{' and '.join(told)}; these have no measure in common")
    if isinstance(a, NumberPredictions) and isinstance(b, NumberPredictions):
        return _compared_numbers(first, second, a, b, level, unpaired, seed)
    if isinstance(a, LabelPredictions) and isinstance(b, LabelPredictions):
        return _compared_labels(first, second, a, b, level, unpaired, seed)
    assert isinstance(a, Predictions)
    assert isinstance(b, Predictions)
    if (a.classes, a.positive) != (b.classes, b.positive):
        raise ValueError(f"{first} tells {_told(a)}, {second} {_told(b)}; these do not compare")
    if not unpaired:
        _check_same(first, second, a.data_sha256 == b.data_sha256, _same_rows(a, b))
    return compare_classifiers(_classified(a), _classified(b), level=level, paired=not unpaired, seed=seed)


def _compared_numbers(
    first: Path, second: Path, a: NumberPredictions, b: NumberPredictions, level: float, unpaired: bool, seed: int
) -> dict[str, Comparison]:
    if not unpaired:
        _check_same(first, second, a.data_sha256 == b.data_sha256, _same_rows(a, b))
    both = [Predicted(one.value, one.bounds, one.label, one.loss) for one in (a, b)]
    return compare_predicted(*both, level=level, paired=not unpaired, seed=seed)


def _compared_labels(
    first: Path, second: Path, a: LabelPredictions, b: LabelPredictions, level: float, unpaired: bool, seed: int
) -> dict[str, Comparison]:
    if a.labels != b.labels:
        raise ValueError(
            f"{first} tells the labels {', '.join(a.labels)}, {second} {', '.join(b.labels)}; these do not compare"
        )
    if not unpaired:
        _check_same(first, second, a.data_sha256 == b.data_sha256, _same_rows(a, b))
    of_a, of_b = (LabelAnswers(one.probabilities, one.label, one.predicted) for one in (a, b))
    return compare_label_answers(of_a, of_b, a.labels, level=level, paired=not unpaired, seed=seed)


def _same_rows(a: AnyPredictions, b: AnyPredictions) -> bool:
    return len(a.rows) == len(b.rows) and bool((a.rows == b.rows).all() and (a.label == b.label).all())


def _compared_recommenders(first: Path, second: Path, level: float, unpaired: bool, seed: int) -> dict[str, Comparison]:
    a, b = read_user_scores(first), read_user_scores(second)
    if not unpaired:
        _check_same(first, second, a.data_sha256 == b.data_sha256, _same_users(a, b))
    return compare_means(a.measures, b.measures, level=level, paired=not unpaired, seed=seed)


def _same_users(a: UserScores, b: UserScores) -> bool:
    return a.hidden == b.hidden and len(a.users) == len(b.users) and bool((a.users == b.users).all())


def _check_same(first: Path, second: Path, is_same_data: bool, are_same_rows: bool) -> None:
    if is_same_data and are_same_rows:
        return
    what = "other rows of the same data" if is_same_data else "other data"
    raise ValueError(
        f"{second} was tested on {what} than {first}: a difference of the rows would count as one of the models. Train "
        "both on the same data with the same --seed and split, evaluate both on one table (`ludocast evaluate`), or "
        "compare them as two samples with --unpaired"
    )


def _classified(one: Predictions) -> Classified:
    positive = None if one.positive is None else one.classes.index(one.positive)
    return Classified(one.probabilities, one.label, one.predicted, positive)


def _told(one: Predictions) -> str:
    return "/".join(one.classes) if one.positive is None else f'"{one.positive}"'


def _tell_agreement(first: Path, second: Path) -> None:
    found = agreement(read_assignments(first), read_assignments(second))
    a, b = _names(first, second)
    measured = [figures(read_metrics(path)) for path in (first, second)]
    rows: list[Sequence[str]] = [("measure", a, b)]
    both = [name for name in OF_SEGMENTS if all(name in one for one in measured)]
    rows += [(name, *(shown(one[name]) for one in measured)) for name in both]
    print_table(rows)
    print(f"\nSegments of {b} and {a} agree on the rows by {found.index:.2f} (adjusted Rand index; 1 all, 0 chance):")
    for name, other, share in found.pairs:
        print(f"  {share:.0%} of segment {name} of {b} are in segment {other} of {a}")
    sys.stdout.flush()


def _kinds(first: Path, second: Path) -> str:
    """What both are.

    Raises:
        ValueError: If they are of two kinds.
    """
    kinds = [_kind(path) for path in (first, second)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{first} is a {kinds[0]} and {second} a {kinds[1]}; these have no measure in common")
    return kinds[0]


def _kind(run: Path) -> str:
    for file, kind in KINDS.items():
        if (run / file).is_file():
            return kind
    if (run / "vocabulary.json").is_file():
        raise ValueError(
            f"{run} answers words or events, one after another; runs of these are not compared, their measures stand "
            f"in {METRICS_FILE}"
        )
    what = f"none of {', '.join(KINDS)}" if run.is_dir() else "no such folder"
    raise ValueError(f"{run}: {what}; give a run or an evaluation of this ludocast, or train it again")


def _names(first: Path, second: Path) -> tuple[str, str]:
    a, b = first.resolve().name, second.resolve().name
    return (a, b) if a != b else (str(first), str(second))


def run_folders(folder: Path) -> list[Path]:
    """Folders of finished runs and evaluations, in the order of their names."""
    depths = ["*/" * depth for depth in range(DEPTH + 1)]
    found = {path.parent for depth in depths for path in folder.glob(f"{depth}{METRICS_FILE}")}
    return sorted(
        path for path in found if (path / REPORT_FILE).is_file() and not path.name.endswith((".partial", ".replaced"))
    )


def _shown(documents: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Measures that are columns: of every run the first one it has, then others as far as there is room."""
    order = (*SHOWN, *OF_SEGMENTS)
    each = [[name for name in order if name in figures(document)] for document in documents]
    first = {names[0] for names in each if names}
    every = sorted({name for names in each for name in names}, key=lambda name: (name not in first, order.index(name)))
    return tuple(sorted(every[:MOST_SHOWN], key=order.index))


def _test_rows(document: Mapping[str, Any]) -> str:
    rows = document.get("rows")
    for name in ("test", "labelled", "hidden pairs", "all"):
        if (
            isinstance(rows, dict) and isinstance(rows.get(name), int) and rows[name]
        ):  # of an evaluation maybe no labels
            return f"{rows[name]:,}"
    return ""


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns under each other, numbers to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if any(char.isdigit() for char in rows[-1][k]) and k > 0 else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
