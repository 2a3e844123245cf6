"""`ludocast train churn`: from a player table to a report and a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ludocast.compression.strategy import IN_WORDS, Compression
from ludocast.datamodules.feature_state import Definition
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import RawColumns
from ludocast.models.baselines import Predict, fit_baselines
from ludocast.models.fitted import FittedClasses
from ludocast.models.interrupt import StopOnCtrlC
from ludocast.models.ranks import NotFirstError, started_ranks, telling_of_lost_processes
from ludocast.models.same_command import SameCommand
from ludocast.models.table.boosting import SHAPES
from ludocast.models.table.deep import Training
from ludocast.models.table.fit import FittedTable, fit_table
from ludocast.models.table.search import Budget, Searched, search_table
from ludocast.models.trainer import Accelerator, TrainerSettings, check_settings, quiet_lightning, without_hints
from ludocast.recipes.churn_log import FOLDER as SNAPSHOTS
from ludocast.recipes.churn_log import check_source, definition_of, features_file, log_run
from ludocast.recipes.experiment import experiment_of
from ludocast.recipes.kept_answers import keep_answers
from ludocast.recipes.labelled_run import (
    NEXT,
    RARE,
    check_costs,
    check_network,
    choice,
    class_report,
    learner_figures,
    print_figures,
    print_next,
    protocol,
    say,
    with_threshold,
    write_run,
)
from ludocast.recipes.labelled_table import MOST_ROWS, LabelledTable, read_labelled_table
from ludocast.recipes.log_options import LogOptions, SnapshotOptions
from ludocast.recipes.loggers import LoggerName, Tracker, check_logger
from ludocast.recipes.options import check_seed
from ludocast.recipes.run_folder import RunFolder, quoted
from ludocast.recipes.stops import telling_of_stops
from ludocast.recipes.table_search import SEARCH, drop_scores, log_trials, search_budget
from ludocast.serve.graph_table import export_table
from ludocast.serve.report import write_report
from ludocast.serve.search_report import search_part

Choice = Literal["auto", "network", "boosting"]
CANDIDATES: dict[Choice, tuple[str, ...]] = {
    "auto": ("network", *SHAPES, "logistic"),
    "network": ("network",),
    "boosting": tuple(SHAPES),
}
SEARCHED: dict[Choice, str] = {"auto": "all", "boosting": "boosting"}  # learners of a search


def train_churn(
    data: Path | None = None,
    label: str | None = None,
    out: Path = Path("run"),
    positive: str | None = None,
    exclude: list[str] | None = None,
    model: Choice = "auto",
    budget: str | None = None,
    trials: int | None = None,
    members: int = 5,
    epochs: int | None = None,
    seed: int = 0,
    schema: Path | None = None,
    split_time: str | None = None,
    split_group: str | None = None,
    cost_missed: float = 1.0,
    cost_false_alarm: float = 1.0,
    threshold_by: Literal["cost", "f1"] = "cost",
    encoding: str = "utf-8",
    delimiter: str | None = None,
    accelerator: Accelerator = "auto",
    devices: int = 1,
    compression: Compression = "auto",
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true",
    resume: bool = False,
    overwrite: bool = False,
    private: bool = False,
    name: str | None = None,
    version: str | None = None,
    truth: Path | None = None,
    log: list[str] | None = None,
    player: str | None = None,
    time: str | None = None,
    event: str | None = None,
    amount: str | None = None,
    observe: str = "56d",
    gap: str = "0d",
    horizon: str = "28d",
    active_within: str = "7d",
    step: str = "14d",
    time_zone: str = "UTC",
    memory: str = "4GB",
    most_rows: int = MOST_ROWS,
    logger: LoggerName | None = None,
) -> None:
    """Train a churn model on a player table, or on an event log, from which snapshots of the players are made first.

    Writes OUT/report.html (open it in a browser), OUT/metrics.json, OUT/schema.json, OUT/split.csv and OUT/bundle,
    which `ludocast score` and `ludocast serve` take. Numbers, categories and dates are told apart by themselves;
    OUT/schema.json says how and why, and can be edited and given back with --schema.

    Example: ludocast train churn --data players.csv --label churned --positive yes --exclude player_id --out run
    Example: ludocast train churn --log events.parquet --out run
    Example: ludocast train churn --data players.csv --label churned --positive yes --budget 5m --out run

    Args:
        data: CSV or Parquet file, one row a player; or a folder that `ludocast snapshots` wrote.
        label: Column with the outcome; snapshots name their own.
        out: Folder of the run; it appears when all is done, and OUT.partial until then.
        positive: Value of the label whose probability is wanted, such as yes.
        exclude: Columns to leave out; comma-separated or given again.
        model: auto weighs network, gradient boosting and logistic regression on held-out rows; or one of them.
        budget: Search for so long, such as 5m, by trials on held-out rows: with auto over all learners of `train table`
            and their settings, or over those of boosting. The model is then an ensemble of the best ones. Needs the
            extra `tune`.
        trials: Search for so many trials instead, or at most; with trials alone equal seeds give equal results.
        members: Networks trained side by side and averaged.
        epochs: Passes over the training rows; scaled to their number by default.
        seed: Equal seeds give equal results.
        schema: A schema.json of an earlier run, perhaps edited, to follow.
        split_time: Column of times; the latest rows become the test, as in production.
        split_group: Column such as a player id whose rows are never parted between training and test.
        cost_missed: What it costs to miss one who leaves; with --cost-false-alarm it sets the threshold.
        cost_false_alarm: What it costs to act on one who would have stayed.
        threshold_by: cost, or the threshold with the highest F1.
        encoding: Of a CSV file, such as cp949.
        delimiter: Of a CSV file; found by itself.
        accelerator: Where the network trains.
        devices: Number of GPUs or CPU processes; torchrun says it by itself.
        compression: How several processes average gradients: onebit as 1 bit a value, powersgd, fp16, none, or auto,
            onebit where that is faster. With one process nothing is sent.
        precision: Of the training; the model itself is 32-true.
        resume: Go on from the last checkpoint, or trial of a search, of a run that was stopped.
        overwrite: Replace what lies at OUT and OUT.partial.
        private: Values seen in fewer than 5 training rows are left out of schema and bundle.
        name: Name of the model in the bundle; by default that of OUT.
        version: Version of the bundle; by default from the model's hash.
        truth: For simulated tables and logs, columns that tell a row, such as the player's, and last the true
            probability; the report then tells the best possible.
        log: Instead of --data: files, folders and globs of an event log. OUT/snapshots holds what is made of it; for
            more of its options call `ludocast snapshots` and give its folder as --data.
        player: Column of the log's player; found by its name, as the next three are.
        time: Column of the time.
        event: Column of the event's type, none to leave it aside.
        amount: Column of money, the same.
        observe: How much of a player's past is known.
        gap: Time between a snapshot and its label.
        horizon: How long a player who left is not seen.
        active_within: A player seen last before this is not asked about.
        step: From one snapshot to the next.
        time_zone: Of hours and weekdays.
        memory: What the making of snapshots may use.
        most_rows: Training rows of snapshots that are held in memory. Of more the network reads all from the disk, each
            process its own, and everything else learns from a random sample of as many.
        logger: Tells mlflow, tensorboard or a csv file of all trainings, every learner and the test; in OUT/logs, and
            MLflow's store is mlflow.db beside OUT, or what MLFLOW_TRACKING_URI names.
    """
    experiment = experiment_of("train churn", locals())
    _check(members, epochs, seed, cost_missed, cost_false_alarm, most_rows)
    ranks = started_ranks(devices)
    may_take = _search(budget, trials, model, ranks.world)
    # Ctrl-C in a search leaves the trial at hand; else it keeps what a network has learnt.
    trainer = TrainerSettings(
        accelerator=accelerator, ranks=ranks, compression=compression, precision=precision, epochs=epochs,
        resume=resume, progress=ranks.is_first and may_take is None,
        callbacks=(StopOnCtrlC(),) if may_take is None else (),
    )  # fmt: skip
    quiet_lightning()
    check_settings(trainer)
    check_logger(logger)
    run = None
    if log is not None:
        source = LogOptions(log, player, time, event, amount, memory=memory)
        moments = SnapshotOptions(observe=observe, gap=gap, horizon=horizon, active_within=active_within, step=step)
        run = log_run(source, moments, time_zone, ranks.world)
    check_source(data, label, log, split_time, split_group)
    folder = RunFolder(out, resume=resume, overwrite=overwrite, owner=ranks.is_first, experiment=experiment)
    settings: dict[str, Any] = {
        "exclude": exclude, "model": model, "members": members, "epochs": epochs, "seed": seed, "private": private,
        "precision": precision, "most_rows": most_rows, "budget": budget, "trials": trials,
    }  # fmt: skip
    with telling_of_stops(folder):
        if run is not None:
            settings |= run.settings()
            data = run.begin(folder, settings)
        assert data is not None
        table = read_labelled_table(
            data, label, positive, exclude if exclude is not None else [], schema, split_time, split_group, seed,
            encoding, delimiter, truth, RARE if private else 0, most_rows,
        )  # fmt: skip
        if may_take is not None and table.stream is not None:
            raise ValueError(
                "a search holds all training rows in memory, and these are more than --most-rows; give a higher one, "
                "or leave --budget and --trials out"
            )
        for warning in table.schema.warnings:
            print(f"note: {warning}", flush=True)
        definition = definition_of(data)  # first, for a feature that cannot be served is an error before the training
        if ranks.world > 1:
            print(f"{ranks.world} processes, gradients {IN_WORDS[compression]}", flush=True)
        if run is None:
            settings |= {
                "data_sha256": table.sha256, "label": table.schema.label, "positive": table.schema.positive,
                "split": table.split.rule,
            }  # fmt: skip
            partial = folder.begin(settings)
        else:
            partial = folder.partial
        if may_take is None:  # a search goes on trial by trial
            same = SameCommand({**settings, "compression": compression})
            trainer = replace(
                trainer, checkpoints=partial / "checkpoints", record=partial / "compression.json",
                callbacks=(*trainer.callbacks, same),
            )  # fmt: skip
        tracker = Tracker(logger, partial, out, experiment.options) if logger is not None and ranks.is_first else None
        if tracker is not None:
            trainer = replace(trainer, logger=tracker.stage)
        rare = RARE if private else 0
        training = Training(members, trainer)
        searched = None
        try:
            if may_take is None:
                found = _fit(table, model, seed, training, rare)
            else:
                searched = _searched(table, model, seed, training, rare, may_take, partial)
                found = searched.found
        except NotFirstError:
            return
        assert isinstance(found.model, FittedClasses)
        fitted = with_threshold(found.model, found.held_out, threshold_by, cost_missed, cost_false_alarm)
        known_as = out.name if name is None else name
        _write(partial, table, replace(found, model=fitted), known_as, version, seed, definition, rare, searched)
        if tracker is not None:
            if searched is not None:
                log_trials(tracker.stage(SEARCH), searched.trials)
            tracker.finish(partial)
        folder.finish()
    drop_scores(out)
    snapshots = out / SNAPSHOTS if run is not None else data if data.is_dir() else None
    _print_summary(out, snapshots)


def _check(
    members: int, epochs: int | None, seed: int, cost_missed: float, cost_false_alarm: float, most_rows: int
) -> None:
    check_network(members, epochs)
    if most_rows < 100:
        raise ValueError(f"--most-rows is 100 or more, got {most_rows}")
    check_seed(seed)
    check_costs(cost_missed, cost_false_alarm)


def _search(budget: str | None, trials: int | None, model: Choice, world: int) -> Budget | None:
    """What a search may take; None where none is asked for."""
    found = search_budget(budget, trials)
    if found is not None and model not in SEARCHED:
        raise ValueError(f"there are no settings of --model {model} to search; leave --budget and --trials out")
    if found is not None and world > 1:
        raise ValueError("a search runs in one process; leave --devices or torchrun out, or --budget and --trials")
    return found


def _fit(table: LabelledTable, model: Choice, seed: int, training: Training, rare: int) -> FittedTable:
    with telling_of_lost_processes(), without_hints(for_authors=True):
        return fit_table(
            table.schema, *table.part(table.split.train), table.validation, names=CANDIDATES[model], combine="blend",
            seed=seed, rare=rare, training=training, stream=table.stream, say=say,
        )  # fmt: skip


def _searched(
    table: LabelledTable, model: Choice, seed: int, training: Training, rare: int, budget: Budget, partial: Path
) -> Searched:
    with without_hints(for_authors=True):
        return search_table(
            table.schema, *table.part(table.split.train), table.validation, budget, names=SEARCHED[model], seed=seed,
            rare=rare, training=training, folder=partial / SEARCH, say=say,
        )  # fmt: skip


def _write(
    partial: Path,
    table: LabelledTable,
    found: FittedTable,
    name: str,
    version: str | None,
    seed: int,
    definition: Definition | None,
    rare: int,
    searched: Searched | None,
) -> None:
    print("evaluating on the test part …", flush=True)
    fitted = found.model
    assert isinstance(fitted, FittedClasses)
    train_columns, train_label = table.part(table.split.train)
    # Encoded as in training: a row's own label is no part of its mean labels.
    _, train = fit_preprocessing(fitted.schema, train_columns, train_label, seed)
    classic = fit_baselines(train, train_label, len(fitted.classes), seed)
    told = protocol(table, choice(found), fitted, found.held_out)
    report, probabilities, label = class_report(
        table, fitted, lambda columns: _leaderboard(fitted, found, classic, columns, name), told, name, seed
    )
    kept = keep_answers(partial, table, probabilities, label, fitted.decide, rare)
    write_report(report, partial / "report.html", None if searched is None else search_part(searched))
    graph = export_table(fitted, f"{name}: {table.schema.label}").SerializeToString()
    files = features_file(definition, [column.name for column in fitted.schema.inputs]) | kept
    figures = {**report.metrics(), **learner_figures(found, len(graph), searched)}
    write_run(partial, table, fitted, figures, graph, name, version, files)


def _leaderboard(
    fitted: FittedClasses, found: FittedTable, classic: Mapping[str, Predict], columns: RawColumns, name: str
) -> dict[str, np.ndarray]:
    """Probabilities [N, C] of ours, its parts as they would be served alone, and the others, of some rows."""
    encoded = fitted.preprocessing.encode(columns)
    each = fitted.candidates.logits(encoded)
    probabilities = {f"ludocast ({name})": fitted.predict_scored(each)}
    for part in each if len(each) > 1 else ():
        alone = found.every[part]
        assert isinstance(alone, FittedClasses)
        probabilities[f"its {part} alone"] = alone.predict_scored(each)
    return probabilities | {other: predict(encoded) for other, predict in classic.items()}


def _print_summary(out: Path, snapshots: Path | None) -> None:
    """What came out, and what to do with it.

    Args:
        out: Folder of the run.
        snapshots: Folder of what it learned from; None of a table.
    """
    print_figures(out)
    if snapshots is None:
        print_next(out, "players.csv")
        return
    print(f"{NEXT}ludocast snapshots --log LOG --like {quoted(snapshots)} --at end --out today")
    print_next(out, "today", " " * len(NEXT))
