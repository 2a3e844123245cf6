"""`ludocast train table`: from any table to a report and a bundle, by the classic learners."""

# N rows, C classes

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.number_label import Task, check_amounts
from ludocast.models.fitted import Fitted, FittedClasses, FittedLabels, FittedNumbers
from ludocast.models.interrupt import StopOnCtrlC
from ludocast.models.metrics import shown
from ludocast.models.number_loss import SQUARED, LossName, NumberLoss
from ludocast.models.table.deep import Training
from ludocast.models.table.fit import Combine, FittedTable, fit_table
from ludocast.models.table.learners import learner_names
from ludocast.models.table.search import Searched, search_table
from ludocast.models.trainer import Accelerator, TrainerSettings, check_settings, quiet_lightning, without_hints
from ludocast.recipes.experiment import experiment_of
from ludocast.recipes.kept_answers import keep_answers, keep_labels, keep_numbers
from ludocast.recipes.labelled_run import (
    RARE,
    check_costs,
    check_network,
    choice,
    class_report,
    learner_figures,
    predict_all,
    print_figures,
    print_next,
    protocol,
    say,
    with_threshold,
    write_run,
)
from ludocast.recipes.labelled_table import LabelledTable, read_labelled_table
from ludocast.recipes.labels_run import asked_labels, labels_report, with_thresholds
from ludocast.recipes.loggers import LoggerName, Tracker, check_logger
from ludocast.recipes.options import check_seed
from ludocast.recipes.run_folder import RunFolder
from ludocast.recipes.stops import telling_of_stops
from ludocast.recipes.table_search import SEARCH, drop_scores, log_trials, search_budget
from ludocast.serve.graph_table import export_table
from ludocast.serve.labels_report import write_labels_report
from ludocast.serve.measured import Words
from ludocast.serve.number_report import NumberReport, build_number_report, write_number_report
from ludocast.serve.report import Report, write_report
from ludocast.serve.search_report import search_part

LARGE_GRAPH = 20 << 20  # bytes from which on a graph's size is remarked on


def train_table(
    data: Path,
    label: str | None = None,
    labels: list[str] | None = None,
    out: Path = Path("run"),
    task: Task = "auto",
    learners: str = "all",
    combine: Combine = "blend",
    loss: LossName = "squared",
    quantile: float | None = None,
    budget: str | None = None,
    trials: int | None = None,
    positive: str | None = None,
    exclude: list[str] | None = None,
    seed: int = 0,
    schema: Path | None = None,
    split_time: str | None = None,
    split_group: str | None = None,
    cost_missed: float = 1.0,
    cost_false_alarm: float = 1.0,
    threshold_by: Literal["cost", "f1"] = "cost",
    knn_points: int = 10_000,
    knn_prototypes: int = 0,
    members: int = 5,
    epochs: int | None = None,
    accelerator: Accelerator = "auto",
    encoding: str = "utf-8",
    delimiter: str | None = None,
    entity: str = "row",
    resume: bool = False,
    overwrite: bool = False,
    private: bool = False,
    name: str | None = None,
    version: str | None = None,
    logger: LoggerName | None = None,
) -> None:
    """Train the classic learners on any table, for classes, several labels or a number, and keep the best one.

    Writes OUT/report.html (open it in a browser), OUT/metrics.json, OUT/schema.json, OUT/split.csv and OUT/bundle,
    which `ludocast score` and `ludocast serve` take. Each learner is tried on rows that it was not fitted on; the test
    part serves the report alone. A number comes with an interval that holds 90 % of the true values.

    Example: ludocast train table --data customers.csv --label Churn --positive Yes --entity customer --out run
    Example: ludocast train table --data houses.csv --label price --learners forest,boosting,linear --out run
    Example: ludocast train table --data customers.csv --label Churn --budget 5m --out run
    Example: ludocast train table --data players.csv --labels buys_skin,buys_pass,plays_event --out run

    Args:
        data: CSV or Parquet file.
        label: Column to predict.
        labels: In place of it several columns of two values each, such as yes and no, to predict all at once: which of
            them a row has; comma-separated or given again.
        out: Folder of the run; it appears when all is done, and OUT.partial until then.
        task: classification or regression; auto takes numbers of more than 20 distinct values for regression.
        learners: all, or some with commas between them: network, tree, forest, boosting, svm, neural, naive_bayes, knn,
            logistic (classes) or linear (numbers), and, where installed, xgboost and catboost.
        combine: blend weighs the learners on held-out rows; best keeps the one with the lowest loss there. A search
            weighs its best trials.
        loss: By which a number is predicted: squared for its mean, absolute for its median, quantile (see --quantile),
            or poisson and tweedie for the mean of counts and of amounts, none below 0. Learners that do not know it
            are left out.
        quantile: Share of the rows that are to lie below what is predicted, such as 0.9, with --loss quantile.
        budget: Search learners and settings for so long, such as 5m, by trials on held-out rows; the model is then an
            ensemble of the best ones. Needs the extra `tune`.
        trials: Search for so many trials instead, or at most; with trials alone equal seeds give equal results.
        positive: Value of the label whose probability is wanted, such as yes; of --labels those that mean yes, with
            commas between them, where they are not evident.
        exclude: Columns to leave out; comma-separated or given again.
        seed: Equal seeds give equal results.
        schema: A schema.json of an earlier run, perhaps edited, to follow.
        split_time: Column of times; the latest rows become the test, as in production.
        split_group: Column such as a customer id whose rows are never parted between training and test.
        cost_missed: What it costs to miss one of the positive class; with --cost-false-alarm it sets the threshold.
        cost_false_alarm: What it costs to act on one that is not.
        threshold_by: cost, or the threshold with the highest F1.
        knn_points: Rows that knn keeps in its graph at most.
        knn_prototypes: So many k-means centres in place of these rows, for a small and fast graph; 0 for none.
        members: Networks trained side by side and averaged, of the learner network.
        epochs: Its passes over the training rows; scaled to their number by default.
        accelerator: Where it trains.
        encoding: Of a CSV file, such as cp949.
        delimiter: Of a CSV file; found by itself.
        entity: What a row is, such as customer, for the report's texts.
        resume: Go on with a search that was stopped; nothing is lost but the trial at hand.
        overwrite: Replace what lies at OUT and OUT.partial.
        private: Values seen in fewer than 5 training rows are left out of schema and bundle.
        name: Name of the model in the bundle; by default that of OUT.
        version: Version of the bundle; by default from the model's hash.
        logger: Tells mlflow, tensorboard or a csv file of every learner and the test; in OUT/logs, and MLflow's store
            is mlflow.db beside OUT, or what MLFLOW_TRACKING_URI names.
    """
    experiment = experiment_of("train table", locals())
    check_logger(logger)
    check_seed(seed)
    check_costs(cost_missed, cost_false_alarm)
    if knn_points < 1 or knn_prototypes < 0:
        raise ValueError("--knn-points is 1 or more, --knn-prototypes 0 or more")
    check_network(members, epochs)
    by = number_loss(loss, quantile)
    may_take = search_budget(budget, trials)
    if resume and may_take is None:
        raise ValueError("--resume goes on with a search; give the --budget or --trials that it was begun with")
    # Ctrl-C in a search leaves the trial at hand; else it keeps what a network has learnt.
    stop = (StopOnCtrlC(),) if may_take is None else ()
    trainer = TrainerSettings(accelerator=accelerator, epochs=epochs, callbacks=stop)
    quiet_lightning()
    check_settings(trainer)
    asked = asked_labels(label, labels)
    if isinstance(asked, tuple) and task == "regression":
        raise ValueError("--labels are columns of two values, and --task regression is of a number; leave one out")
    if data.is_dir():
        raise ValueError(f"{data} is a folder; a table is a CSV or Parquet file (snapshots are for `train churn`)")
    folder = RunFolder(out, resume=None if may_take is None else resume, overwrite=overwrite, experiment=experiment)
    rare = RARE if private else 0
    with telling_of_stops(folder):
        table = read_labelled_table(
            data, asked, positive, exclude if exclude is not None else [], schema, split_time, split_group, seed,
            encoding, delimiter, None, rare, task=task,
        )  # fmt: skip
        _check_loss(table, by)
        # A name that is wrong is told before anything is written.
        wanted = learner_names(learners, len(table.schema.classes), by)
        left_out = set(learner_names(learners, len(table.schema.classes))) - set(wanted) if learners == "all" else ()
        if left_out:
            print(f"note: {', '.join(sorted(left_out))} left out, which do not know --loss {loss}", flush=True)
        for warning in table.schema.warnings:
            print(f"note: {warning}", flush=True)
        settings: dict[str, Any] = {
            "data_sha256": table.sha256, "label": table.schema.label, "exclude": exclude,
            "task": task, "learners": learners, "combine": combine, "seed": seed, "split": table.split.rule,
            "knn_points": knn_points, "knn_prototypes": knn_prototypes, "members": members, "epochs": epochs,
            "positive": [one.yes for one in table.schema.labels] or table.schema.positive,
            "private": private, "budget": budget, "trials": trials, "loss": loss, "quantile": quantile,
        }  # fmt: skip
        partial = folder.begin(settings)
        tracker = None if logger is None else Tracker(logger, partial, out, experiment.options)
        columns, known = table.part(table.split.train)
        if tracker is not None:
            trainer = replace(trainer, logger=tracker.stage)
        searched = None
        with without_hints(for_authors=True):
            if may_take is not None:
                searched = search_table(
                    table.schema, columns, known, table.validation, may_take, names=learners, seed=seed, rare=rare,
                    points=knn_points, prototypes=knn_prototypes, training=Training(members, trainer),
                    loss=by, folder=partial / SEARCH, say=say,
                )  # fmt: skip
                found = searched.found
            else:
                found = fit_table(
                    table.schema, columns, known, table.validation, names=learners, combine=combine, seed=seed,
                    rare=rare, points=knn_points, prototypes=knn_prototypes, training=Training(members, trainer),
                    loss=by, say=say,
                )  # fmt: skip
        _print_leaderboard(found)
        model = found.model
        by_costs = (threshold_by, cost_missed, cost_false_alarm)
        if isinstance(model, FittedClasses):
            model = with_threshold(model, found.held_out, *by_costs)
        elif isinstance(model, FittedLabels):
            model = with_thresholds(model, found.held_out, *by_costs)
        known_as = out.name if name is None else name
        _write(partial, table, replace(found, model=model), known_as, version, seed, entity, rare, searched)
        if tracker is not None:
            if searched is not None:
                log_trials(tracker.stage(SEARCH), searched.trials)
            tracker.finish(partial)
        folder.finish()
    drop_scores(out)
    print_figures(out)
    print_next(out, data)


def number_loss(name: LossName, quantile: float | None) -> NumberLoss:
    """The loss that was asked for.

    Raises:
        ValueError: If a quantile is asked for by another loss, or is none.
    """
    if name != "quantile":
        if quantile is not None:
            raise ValueError(f"--quantile is of --loss quantile, not of --loss {name}")
        return NumberLoss(name)
    if quantile is None or not 0 < quantile < 1:
        raise ValueError(f"--loss quantile needs --quantile, a number between 0 and 1 such as 0.9, got {quantile}")
    return NumberLoss(name, quantile)


def _check_loss(table: LabelledTable, loss: NumberLoss) -> None:
    if table.schema.classes and loss != SQUARED:
        raise ValueError(f'--loss is of numbers, and "{table.schema.label}" is predicted as classes')
    if loss.is_of_amounts:
        check_amounts(table.label, table.schema.label)


def _write(
    partial: Path,
    table: LabelledTable,
    found: FittedTable,
    name: str,
    version: str | None,
    seed: int,
    entity: str,
    rare: int,
    searched: Searched | None,
) -> None:
    print("evaluating on the test part …", flush=True)
    model = found.model
    graph = export_table(model, f"{name}: {table.schema.label}").SerializeToString()
    if len(graph) > LARGE_GRAPH:
        most = max(model.weights, key=lambda one: model.weights[one])
        hint = "; --knn-prototypes 500 makes it small" if "knn" in model.weights else ""
        print(f"note: the graph has {len(graph) / 2**20:.0f} MB ({most}){hint}", flush=True)
    part = None if searched is None else search_part(searched)
    if isinstance(model, FittedClasses):
        report, probabilities, label = _class_report(table, found, name, seed, entity)
        kept = keep_answers(partial, table, probabilities, label, model.decide, rare)
        write_report(report, partial / "report.html", part)
        metrics = report.metrics()
    elif isinstance(model, FittedLabels):
        of_labels, p = labels_report(
            table, model, found.held_out, lambda columns: predict_all(_every(found, name), columns), choice(found),
            name, seed, entity,
        )  # fmt: skip
        kept = keep_labels(partial, table, model, p, rare)
        write_labels_report(of_labels, partial / "report.html", part)
        metrics = of_labels.metrics()
    else:
        numbers, value = _number_report(table, found, name, seed)
        kept = keep_numbers(partial, table, model, value, rare)
        write_number_report(numbers, partial / "report.html", part)
        metrics = numbers.metrics()
    figures = {**metrics, **learner_figures(found, len(graph), searched)}
    write_run(partial, table, model, figures, graph, name, version, kept)


def _every(found: FittedTable, name: str) -> Mapping[str, Fitted]:
    """Ours and the learners by themselves, but one that ours is."""
    alone = next(iter(found.model.weights)) if len(found.model.weights) == 1 else None
    ours = f"ludocast ({name})" if alone is None else f"{alone} (in the bundle)"
    return {ours: found.model, **{other: model for other, model in found.every.items() if other != alone}}


def _class_report(
    table: LabelledTable, found: FittedTable, name: str, seed: int, entity: str
) -> tuple[Report, np.ndarray, np.ndarray]:
    fitted = found.model
    assert isinstance(fitted, FittedClasses)
    positive = fitted.schema.positive
    words = Words(entity, f"those with {table.schema.label} = {positive}", "the others")

    def leaderboard(columns: RawColumns) -> dict[str, np.ndarray]:
        return predict_all(_every(found, name), columns)

    told = protocol(table, choice(found), fitted, found.held_out)
    return class_report(table, fitted, leaderboard, told, name, seed, words)


def _number_report(table: LabelledTable, found: FittedTable, name: str, seed: int) -> tuple[NumberReport, np.ndarray]:
    fitted = found.model
    assert isinstance(fitted, FittedNumbers)
    columns, label = table.part(table.split.test)
    leaderboard = predict_all(_every(found, name), columns)
    report = build_number_report(
        name=name,
        schema=fitted.schema,
        predict=fitted.predict,
        bounds=fitted.bounds,
        coverage=fitted.interval.coverage,
        test_columns=columns,
        test_label=label,
        leaderboard=leaderboard,
        rows=table.rows,
        described_rows=len(table.split.train),
        loss=fitted.loss,
        protocol=[
            f"The split is {table.split.rule}; everything fitted is fitted on the training part alone.",
            f"{choice(found)} and the intervals come from {found.held_out.protocol}; the test part was used for this "
            "report only.",
        ],
        seed=seed,
    )
    return report, next(iter(leaderboard.values()))


def _print_leaderboard(found: FittedTable) -> None:
    what = found.model.loss.words if isinstance(found.model, FittedNumbers) else "log loss"
    print(f"\non held-out rows ({found.held_out.protocol}):")
    for row in found.leaderboard:
        said = f"left out: {row.failed}" if row.loss is None else f"{what} {shown(row.loss)}, {row.seconds:.1f} s"
        print(f"  {row.learner:<12} {said}")
