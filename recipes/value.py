"""`ludocast train value`: from a table of players and what each has spent to their value, a report and a bundle."""

# N rows

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.number_label import check_amounts
from ludocast.models.fitted import FittedNumbers
from ludocast.models.interrupt import StopOnCtrlC
from ludocast.models.metrics import shown
from ludocast.models.table.deep import Training
from ludocast.models.table.fit import Combine, FittedTable
from ludocast.models.trainer import Accelerator, TrainerSettings, check_settings, quiet_lightning, without_hints
from ludocast.models.value.fit import fit_value
from ludocast.models.value.learners import value_learner_names
from ludocast.recipes.experiment import experiment_of
from ludocast.recipes.kept_answers import keep_numbers
from ludocast.recipes.labelled_run import (
    RARE,
    check_network,
    choice,
    learner_figures,
    predict_all,
    print_figures,
    print_next,
    say,
    write_run,
)
from ludocast.recipes.labelled_table import LabelledTable, read_labelled_table
from ludocast.recipes.loggers import LoggerName, Tracker, check_logger
from ludocast.recipes.options import check_seed
from ludocast.recipes.run_folder import RunFolder
from ludocast.recipes.stops import telling_of_stops
from ludocast.serve.graph_table import export_table
from ludocast.serve.value_report import ValueReport, build_value_report, write_value_report

LEAST_ROWS = {"training": 25, "validation": 5, "test": 1}  # of an amount above 0, in each part


def train_value(
    data: Path,
    label: str,
    out: Path = Path("run"),
    learners: str = "all",
    combine: Combine = "blend",
    exclude: list[str] | None = None,
    seed: int = 0,
    schema: Path | None = None,
    split_time: str | None = None,
    split_group: str | None = None,
    members: int = 5,
    epochs: int | None = None,
    accelerator: Accelerator = "auto",
    encoding: str = "utf-8",
    delimiter: str | None = None,
    entity: str = "player",
    overwrite: bool = False,
    private: bool = False,
    name: str | None = None,
    version: str | None = None,
    logger: LoggerName | None = None,
) -> None:
    """Train a model of amounts of which most are 0 and a few large, such as what each player will spend.

    Writes OUT/report.html (open it in a browser), OUT/metrics.json, OUT/schema.json, OUT/split.csv and OUT/bundle,
    which `ludocast score` and `ludocast serve` take. Learners are judged by their Tweedie deviance on rows that they
    were not fitted on, which asks for the ranking and the sums alike; the test part serves the report alone. A value
    comes with an interval that holds 90 % of the true ones.

    Example: ludocast train value --data players.csv --label spent_next_90d --exclude player_id --out run

    Args:
        data: CSV or Parquet file, a row a player as they were on a day, with what came after.
        label: Column with the amount, 0 or more.
        out: Folder of the run; it appears when all is done, and OUT.partial until then.
        learners: all, or some with commas between them: network (zero-inflated log-normal), hurdle_boosting,
            hurdle_tweedie and hurdle_linear (who pays, times how much), tweedie, and boosting (squared errors).
        combine: blend weighs the learners on held-out rows; best keeps the one of the lowest deviance.
        exclude: Columns to leave out; comma-separated or given again.
        seed: Equal seeds give equal results.
        schema: A schema.json of an earlier run, perhaps edited, to follow.
        split_time: Column of times; the latest rows become the test, as in production.
        split_group: Column such as a customer id whose rows are never parted between training and test.
        members: Networks trained side by side and averaged, of the learner network.
        epochs: Its passes over the training rows; scaled to their number by default.
        accelerator: Where it trains.
        encoding: Of a CSV file, such as cp949.
        delimiter: Of a CSV file; found by itself.
        entity: What a row is, such as customer, for the report's texts.
        overwrite: Replace what lies at OUT and OUT.partial.
        private: Values seen in fewer than 5 training rows are left out of schema and bundle.
        name: Name of the model in the bundle; by default that of OUT.
        version: Version of the bundle; by default from the model's hash.
        logger: Tells mlflow, tensorboard or a csv file of every learner and the test; in OUT/logs, and MLflow's store
            is mlflow.db beside OUT, or what MLFLOW_TRACKING_URI names.
    """
    experiment = experiment_of("train value", locals())
    check_logger(logger)
    check_seed(seed)
    check_network(members, epochs)
    value_learner_names(learners)
    trainer = TrainerSettings(accelerator=accelerator, epochs=epochs, callbacks=(StopOnCtrlC(),))
    quiet_lightning()
    check_settings(trainer)
    if data.is_dir():
        raise ValueError(f"{data} is a folder; a table of values is a CSV or Parquet file")
    folder = RunFolder(out, resume=False, overwrite=overwrite, experiment=experiment)
    rare = RARE if private else 0
    with telling_of_stops(folder):
        table = read_labelled_table(
            data, label, None, exclude if exclude is not None else [], schema, split_time, split_group, seed,
            encoding, delimiter, None, rare, task="regression",
        )  # fmt: skip
        _check_label(table, entity)
        for warning in table.schema.warnings:
            print(f"note: {warning}", flush=True)
        settings: dict[str, Any] = {
            "data_sha256": table.sha256, "label": label, "exclude": exclude, "learners": learners, "combine": combine,
            "seed": seed, "split": table.split.rule, "members": members, "epochs": epochs, "private": private,
        }  # fmt: skip
        partial = folder.begin(settings)
        tracker = None if logger is None else Tracker(logger, partial, out, experiment.options)
        if tracker is not None:
            trainer = replace(trainer, logger=tracker.stage)
        with without_hints(for_authors=True):
            found = fit_value(
                table.schema, *table.part(table.split.train), table.validation, names=learners, combine=combine,
                seed=seed, rare=rare, training=Training(members, trainer), say=say,
            )  # fmt: skip
        print(f"\non held-out rows ({found.held_out.protocol}):")
        for row in found.leaderboard:
            said = f"failed: {row.failed}" if row.loss is None else f"deviance {shown(row.loss)}, {row.seconds:.1f} s"
            print(f"  {row.learner:<16} {said}")
        _write(partial, table, found, out.name if name is None else name, version, seed, entity, rare)
        if tracker is not None:
            tracker.finish(partial)
        folder.finish()
    print_figures(out)
    print_next(out, data)


def _check_label(table: LabelledTable, entity: str) -> None:
    """Refuse what is no amount, or too few of them; tell how many are 0."""
    name = table.schema.label
    check_amounts(table.label, name)
    split = table.split
    for part, rows in {"training": split.train, "validation": split.validation, "test": split.test}.items():
        if rows is None:
            continue
        count, least = int((table.label[rows] > 0).sum()), LEAST_ROWS[part]
        if count < least:
            raise ValueError(
                f'only {count} of {len(rows):,} rows of the {part} part have a "{name}" above 0, and {least} are '
                "needed to tell who has how much; take more rows, or a longer time"
            )
    above = table.label[table.label > 0]
    nothing = len(table.label) - len(above)
    print(
        f"{nothing:,} of {len(table.label):,} {entity}s ({nothing / len(table.label):.1%}) have a {name} of 0; "
        f"the others {shown(float(above.mean()))} on average",
        flush=True,
    )


def _write(
    partial: Path,
    table: LabelledTable,
    found: FittedTable,
    name: str,
    version: str | None,
    seed: int,
    entity: str,
    rare: int,
) -> None:
    print("evaluating on the test part …", flush=True)
    model = found.model
    assert isinstance(model, FittedNumbers)
    graph = export_table(model, f"{name}: {table.schema.label}").SerializeToString()
    report, value = _report(table, model, found, name, seed, entity)
    kept = keep_numbers(partial, table, model, value, rare)
    write_value_report(report, partial / "report.html")
    metrics = {**report.metrics(), **learner_figures(found, len(graph))}
    write_run(partial, table, model, metrics, graph, name, version, kept)


def _report(
    table: LabelledTable, model: FittedNumbers, found: FittedTable, name: str, seed: int, entity: str
) -> tuple[ValueReport, np.ndarray]:
    """The report, and the values of the test rows."""
    columns, label = table.part(table.split.test)
    leaderboard: Mapping[str, np.ndarray] = {
        **predict_all({f"ludocast ({name})": model, **found.every}, columns),
        "the mean": np.full(len(label), table.label[table.split.train].mean()),
    }
    report = build_value_report(
        name=name,
        schema=model.schema,
        entity=entity,
        predict=model.predict,
        bounds=model.bounds,
        coverage=model.interval.coverage,
        test_columns=columns,
        test_label=label,
        leaderboard=leaderboard,
        rows=table.rows,
        described_rows=len(table.split.train),
        protocol=[
            f"The split is {table.split.rule}; everything fitted is fitted on the training part alone.",
            f"{choice(found)}, by the lowest Tweedie deviance of power 1.5, the factor that makes sums hold and the "
            f"intervals come from {found.held_out.protocol}; the test part was used for this report only.",
        ],
        seed=seed,
    )
    return report, next(iter(leaderboard.values()))
