"""What runs on a table with a label share: threshold, report, files of the run, bundle, and what is said at the end."""

# N rows, C classes

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.models.calibration import class_probabilities, cost_threshold, f1_threshold
from ludocast.models.fitted import Fitted, FittedClasses, FittedLabels, FittedNumbers
from ludocast.models.learner import HeldOut, blended
from ludocast.models.metrics import shown
from ludocast.models.table.fit import FittedTable
from ludocast.models.table.search import Searched
from ludocast.recipes.figures import read_metrics, write_metrics
from ludocast.recipes.labelled_table import LabelledTable
from ludocast.recipes.labels_run import label_answers
from ludocast.recipes.provenance import git_revision, libraries
from ludocast.recipes.run_folder import quoted
from ludocast.serve.bundle import write_bundle
from ludocast.serve.graph_inputs import schema_inputs
from ludocast.serve.measured import PLAYERS, Words
from ludocast.serve.measured_labels import is_shown
from ludocast.serve.report import Report, build_report
from ludocast.serve.search_report import search_record
from ludocast.serve.tasks import Loss

NEXT = "next:   "
RARE = 5  # with --private, categories of fewer training rows are left out
Classifier = TypeVar("Classifier", bound=FittedClasses)


def check_costs(missed: float, false_alarm: float) -> None:
    """Refuse costs that tell no threshold.

    Raises:
        ValueError: In a sentence.
    """
    if not (missed > 0 and false_alarm > 0 and np.isfinite(missed + false_alarm)):
        raise ValueError("--cost-missed and --cost-false-alarm are numbers above 0")


def check_network(members: int, epochs: int | None) -> None:
    """Refuse sizes with which no network can be trained.

    Raises:
        ValueError: In a sentence.
    """
    if not 1 <= members <= 64:
        raise ValueError(f"--members is a number from 1 to 64, got {members}")
    if epochs is not None and epochs < 1:
        raise ValueError(f"--epochs is 1 or more, got {epochs}")


def with_threshold(
    fitted: Classifier, held_out: HeldOut, by: str, cost_missed: float, cost_false_alarm: float
) -> Classifier:
    """The model with the threshold of its positive class, by costs or by the highest F1 on held-out rows."""
    positive = fitted.schema.positive_index
    if positive is None:
        return fitted
    if by == "cost":
        return replace(fitted, threshold=cost_threshold(cost_missed, cost_false_alarm))
    p = class_probabilities(blended(held_out.logits, fitted.weights) / fitted.temperature)[:, positive]
    return replace(fitted, threshold=f1_threshold(p, held_out.label == positive))


def predict_all(models: Mapping[str, Fitted], columns: RawColumns) -> dict[str, np.ndarray]:
    """What models of one fit answer for some rows, which are encoded once for all of them."""
    encoded = next(iter(models.values())).preprocessing.encode(columns)
    return {name: model.predict_encoded(encoded) for name, model in models.items()}


def choice(found: FittedTable) -> str:
    """What was chosen, in words."""
    if len(found.model.weights) == 1:
        return f"The learner ({next(iter(found.model.weights))}), its settings"
    total = sum(found.model.weights.values())
    return "Blend weights (" + ", ".join(f"{part} {w / total:.0%}" for part, w in found.model.weights.items()) + ")"


def learner_figures(found: FittedTable, size: int, searched: Searched | None = None) -> dict[str, Any]:
    """The leaderboard of held-out rows, for metrics.json, and the search, if there was one."""
    rows = [
        {"learner": r.learner, "loss": r.loss, "setting": r.setting, "seconds": round(r.seconds, 3), "failed": r.failed}
        for r in found.leaderboard
    ]
    search = {} if searched is None else {"search": search_record(searched)}
    return {"learners": rows, "weights": dict(found.model.weights), "graph_bytes": size, **search}


def protocol(table: LabelledTable, choice: str, fitted: FittedClasses, held_out: HeldOut) -> list[str]:
    """Where the figures of a classifier come from; `choice` is what was chosen beside calibration and threshold."""
    return [
        f"The split is {table.split.rule}; everything fitted is fitted on the training part alone.",
        f"{choice}, calibration (temperature {fitted.temperature:.3f}) and an F1 threshold come from "
        f"{held_out.protocol}; the test part was used for this report only.",
    ]


def class_report(
    table: LabelledTable,
    fitted: FittedClasses,
    leaderboard: Callable[[RawColumns], Mapping[str, np.ndarray]],
    protocol: Sequence[str],
    name: str,
    seed: int,
    words: Words = PLAYERS,
) -> tuple[Report, np.ndarray, np.ndarray]:
    """Measure a classifier on the test part: the report, its probabilities of all test rows, and their labels.

    Args:
        table: With its test part.
        fitted: The model.
        leaderboard: Probabilities [N, C] of ours and the others, of some rows.
        protocol: Sentences on split and choice.
        name: Of the model.
        seed: Of resamples and shuffles.
        words: How the page speaks of rows.
    """
    split = table.split
    found = [(leaderboard(columns), label) for columns, label in table.test_pieces()]
    every = {key: np.concatenate([piece[key] for piece, _ in found]) for key in found[0][0]}
    label = np.concatenate([label for _, label in found])
    report = build_report(
        name=name,
        schema=fitted.schema,
        predict=fitted.predict,
        decide=fitted.decide,
        threshold=fitted.threshold,
        test_columns=table.part(split.test)[0],
        shown=table.shown,
        test_label=label,
        leaderboard=every,
        rows=table.rows,
        described_rows=len(split.train),
        protocol=protocol,
        true_probability=None if table.truth is None else table.truth[split.test],
        seed=seed,
        words=words,
    )
    return report, next(iter(every.values())), label


def write_run(
    partial: Path,
    table: LabelledTable,
    fitted: Fitted,
    metrics: Mapping[str, Any],
    model: bytes,
    name: str,
    version: str | None,
    extra_files: Mapping[str, bytes] | None = None,
) -> None:
    """Write schema.json, split.csv, metrics.json and the bundle.

    Args:
        partial: Folder of the run.
        table: That was learnt from.
        fitted: The model.
        metrics: Of the report.
        model: Its graph.
        name: Of the bundle.
        version: The same; None for one of the model's hash.
        extra_files: Of the bundle.
    """
    table.schema.write(partial / "schema.json")
    if table.stream is None:  # rows on the disk have their part beside them
        table.split.write(partial / "split.csv")
    write_metrics(partial, metrics)
    write_bundle(
        partial / "bundle",
        model,
        name=name,
        inputs=schema_inputs(fitted.schema),
        missing_tokens=fitted.schema.missing_tokens,
        metrics=metrics["metrics"],
        libraries=libraries(),
        data_sha256=table.sha256,
        git_revision=git_revision(),
        version=version,
        extra_files=extra_files,
        overwrite=True,  # left by a run that was killed after writing it
        **_answers(fitted),
    )


def _answers(fitted: Fitted) -> dict[str, Any]:
    """What `write_bundle` has to know of the answers."""
    if isinstance(fitted, FittedLabels):
        return label_answers(fitted)
    if isinstance(fitted, FittedNumbers):
        loss = Loss(fitted.loss.name, fitted.loss.quantile if fitted.loss.name == "quantile" else None)
        return {"task": "regression", "classes": (), "coverage": fitted.interval.coverage, "loss": loss}
    return {"classes": fitted.classes, "positive": fitted.schema.positive, "threshold": fitted.threshold}


def print_figures(out: Path) -> None:
    """The figures of a run's metrics.json, and where report and bundle are."""
    measured = read_metrics(out)
    print("\non the test part (95 % interval):")
    for key, entry in measured["metrics"].items():
        if not is_shown(key):
            continue
        value, low, high = (shown(entry[side]) for side in ("value", "low", "high"))
        print(f"  {key:<20} {value}  ({low} to {high})")
    if measured.get("best_possible_auc") is not None:
        print(f"  {'best possible auc':<20} {measured['best_possible_auc']:.4f}  (of who knows the true probabilities)")
    print(f"\nreport: {out / 'report.html'}\nbundle: {out / 'bundle'}")


def print_next(out: Path, table: str | Path, begin: str = NEXT) -> None:
    """What to do with the bundle of a run."""
    print(f"{begin}ludocast score --bundle {quoted(out / 'bundle')} --input {quoted(table)} --output scored.csv")
    print(f"        ludocast serve --bundle {quoted(out / 'bundle')}", flush=True)


def say(sentence: str) -> None:
    """Print what happens, at once."""
    print(sentence, flush=True)
