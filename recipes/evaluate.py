"""`ludocast evaluate`: how good a bundle is on other rows than those of its training, and how far these have moved."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ludocast.models.label_metrics import LABEL_NAMES, label_measure_names
from ludocast.models.metrics import NAMES, OF_LABEL, is_better_low
from ludocast.models.number_loss import LOSS_NAMES
from ludocast.models.number_metrics import NUMBER_NAMES
from ludocast.recipes.evaluated import Evaluated, evaluate_table
from ludocast.recipes.experiment import experiment_of
from ludocast.recipes.figures import write_metrics
from ludocast.recipes.predictions import AnyPredictions, LabelPredictions, NumberPredictions, Predictions
from ludocast.recipes.provenance import digest
from ludocast.recipes.run_folder import RunFolder
from ludocast.serve.bundle import Bundle
from ludocast.serve.evaluation_report import EvaluationReport, write_evaluation
from ludocast.serve.measured import Measured, Words, measure
from ludocast.serve.measured_labels import MeasuredLabels, measure_labels
from ludocast.serve.measured_numbers import MeasuredNumbers, loss_of, measure_numbers
from ludocast.serve.scorer import Scorer

DRIFT = "drift"
OF_NUMBERS = (*NUMBER_NAMES, *LOSS_NAMES)
GATED = (*dict.fromkeys((*NAMES, *LABEL_NAMES, *OF_NUMBERS)), DRIFT)


@dataclass(frozen=True)
class Gate:
    """What a pipeline asks for.

    Attributes:
        name: A measure, of several labels as in "auc:churned" that of one, or `DRIFT`, the largest stability index of a
            column.
        limit: That it must not pass.
        is_least: Whether it must not fall below, rather than rise above.
    """

    name: str
    limit: float
    is_least: bool

    def passes(self, value: float) -> bool:
        """Whether a value is on the right side; the limit itself is."""
        return value >= self.limit if self.is_least else value <= self.limit

    def sentence(self, value: float) -> str:
        """How it went."""
        wanted = "at least" if self.is_least else "at most"
        return f"{self.name} is {value:.4f}, wanted is {wanted} {self.limit:g}"


def evaluate(
    bundle: Path,
    data: Path,
    label: str | None = None,
    out: Path = Path("evaluation"),
    fail_below: list[str] | None = None,
    fail_above: list[str] | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Evaluate a bundle on another table than that of its training.

    Tells every measure with its interval beside that of the training, of numbers the loss by which they are predicted
    among them, and which columns have moved from what the training has seen. Without labels it tells the latter alone;
    of segments how their shares have moved too. OUT gets report.html, metrics.json and, with labels,
    predictions.parquet.

    In a pipeline --fail-below auc=0.8 makes the exit code 1 where the AUC is lower, and --fail-above drift=0.25 where
    a column's stability index (PSI) is higher and chance does not explain it.

    Example: ludocast evaluate --bundle run/bundle --data june.csv --fail-below auc=0.8

    Args:
        bundle: Folder of the bundle, RUN/bundle of a training.
        data: Table with the columns that the bundle reads: CSV, Parquet, JSON Lines, XLSX, or a folder of Parquet.
        label: Column with the outcome; by default that of the training, if the table has it, of several labels always.
        out: Folder of what is written.
        fail_below: Measures and the least that they may be, such as auc=0.8 or r2=0.6, or of one of several labels
            auc:churned=0.8; comma-separated or given again.
        fail_above: Measures that are better low, or drift, and the most that they may be, such as log_loss=0.5,
            rmse=20 or, of a bundle trained with --loss quantile, pinball_loss=3.
        encoding: Of a CSV file, such as cp949.
        delimiter: Of a CSV file; found by itself.
        seed: Of the intervals' resamples.
        overwrite: Replace what lies at OUT.
    """
    experiment = experiment_of("evaluate", locals())
    gates = _gates(fail_below, fail_above)
    folder = RunFolder(out, resume=None, overwrite=overwrite, experiment=experiment)
    scorer = Scorer(Bundle.load(bundle))
    found = evaluate_table(scorer, data, label, encoding, delimiter)
    sha256 = digest(data)
    measured = _measured(scorer, found, seed)
    report = EvaluationReport(scorer.manifest, str(data), found.rows, measured, found.drifts, found.shares, found.notes)
    outcomes = [(gate, _value(gate, report, found)) for gate in gates]  # before anything is written
    partial = folder.begin({"bundle": scorer.manifest.files["model.onnx"], "data_sha256": sha256, "label": found.label})
    if measured is not None and found.answers is not None:
        _predictions(scorer, found, sha256).write(partial)
    gated = [{**vars(gate), "value": value, "passed": gate.passes(value)} for gate, value in outcomes]
    write_metrics(partial, {**report.metrics(), "data_sha256": sha256, "gates": gated})
    write_evaluation(report, partial / "report.html")
    folder.finish()
    for sentence in (*report.lead(), *report.warnings()):
        print(sentence)
    print(f"report: {out / 'report.html'}", flush=True)
    failed = [gate.sentence(value) for gate, value in outcomes if not gate.passes(value)]
    for sentence in failed:
        print(f"failed: {sentence}", flush=True)
    return 1 if failed else 0


def _gates(below: list[str] | None, above: list[str] | None) -> list[Gate]:
    found = []
    for option, words, is_least in (("--fail-below", below, True), ("--fail-above", above, False)):
        for word in words if words is not None else ():
            name, text = word.rsplit("=", 1) if "=" in word else (word, "")  # a label's name may hold one, too
            if name.partition(OF_LABEL)[0] not in GATED:
                near = get_close_matches(name, GATED, n=1)
                hint = f'; did you mean "{near[0]}"?' if near else ""
                raise ValueError(f'{option} names one of {", ".join(GATED)}, got "{name}"{hint}')
            is_low = name == DRIFT or is_better_low(name)
            if is_low == is_least:
                other = "--fail-above" if is_least else "--fail-below"
                better = "low" if is_low else "high"
                raise ValueError(f"{name} is better {better}: give it to {other}")
            try:
                found.append(Gate(name, float(text), is_least))
            except ValueError:
                raise ValueError(f'{option} is a name and a number such as auc=0.8, got "{word}"') from None
    return found


def _value(gate: Gate, report: EvaluationReport, found: Evaluated) -> float:
    """What a gate asks about.

    Raises:
        ValueError: If it is not known.
    """
    if gate.name == DRIFT:
        if found.drifts is None:
            raise ValueError(
                "the bundle keeps nothing of its training to tell drift by; leave drift out, or train again"
            )
        return max((one.psi for one in found.drifts if one.level != "none"), default=0.0)
    of_labels = label_measure_names(report.manifest.classes)
    measures = {"classification": NAMES, "labels": of_labels, "regression": OF_NUMBERS}
    if gate.name not in measures.get(report.manifest.task, ()):
        raise ValueError(f"{gate.name} is no measure of the bundle's task, {report.manifest.task}")
    if report.measured is None:
        raise ValueError(f"{gate.name} needs labels, and the table has none; name their column with --label")
    if gate.name not in report.measured.values:
        if gate.name in LOSS_NAMES:
            own = loss_of(report.manifest).measure
            raise ValueError(f"{gate.name} is not the loss by which the bundle was trained; that is {own}")
        if report.manifest.task == "regression":
            raise ValueError(f"{gate.name} is not defined where all labels are the same number")
        one = "have a label, or none has it" if report.manifest.labels is not None else "are of one class"
        raise ValueError(f"{gate.name} is not defined where all rows {one}")
    return report.measured.values[gate.name].value


def _measured(scorer: Scorer, found: Evaluated, seed: int) -> Measured | MeasuredLabels | MeasuredNumbers | None:
    if found.answers is None:
        return None
    manifest, answers = scorer.manifest, found.answers
    if manifest.task == "regression":
        assert found.label is not None
        assert manifest.coverage is not None
        loss = loss_of(manifest)
        below = answers.rows[answers.label < 0]
        if loss.is_of_amounts and len(below):
            raise ValueError(
                f'the label "{found.label}" is below 0 in {len(below):,} rows (the first is row {below[0]}), and the '
                "bundle predicts amounts, 0 or more: is it another column?"
            )
        return measure_numbers(
            {manifest.name: answers.predicted}, answers.probabilities, answers.label, name=found.label,
            coverage=manifest.coverage, rows={"test": len(answers.label)}, loss=loss, seed=seed,
        )  # fmt: skip
    if manifest.labels is not None:
        return measure_labels(
            {manifest.name: answers.probabilities}, answers.label, answers.predicted, names=manifest.classes,
            thresholds=[one.threshold for one in manifest.labels], rows={"test": len(answers.label)}, seed=seed,
        )  # fmt: skip
    return measure(
        {manifest.name: answers.probabilities}, answers.label, answers.predicted, classes=manifest.classes,
        positive=manifest.positive, who=f"rows with {found.label} = {manifest.positive}",
        rows={"test": len(answers.label)}, threshold=manifest.threshold, seed=seed,
        words=Words("row", f"those with {found.label} = {manifest.positive}", "the others"),
    )  # fmt: skip


def _predictions(scorer: Scorer, found: Evaluated, sha256: str) -> AnyPredictions:
    answers, manifest = found.answers, scorer.manifest
    assert answers is not None
    if manifest.task == "regression":
        assert manifest.coverage is not None
        return NumberPredictions(
            sha256, answers.rows, answers.label, answers.predicted, answers.probabilities, manifest.coverage,
            loss_of(manifest),
        )  # fmt: skip
    if manifest.labels is not None:
        return LabelPredictions(
            sha256, answers.rows, answers.label, answers.predicted, answers.probabilities, manifest.classes
        )
    return Predictions(
        sha256, answers.rows, answers.label, answers.predicted, answers.probabilities, manifest.classes,
        manifest.positive,
    )  # fmt: skip
