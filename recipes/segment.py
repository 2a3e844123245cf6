"""`ludocast segment`: a table in; segments told in words, a report and a bundle out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from ludocast.datamodules.reference import REFERENCE_FILE, Reference
from ludocast.models.segments.methods import METHODS
from ludocast.models.segments.segmentation import Segmentation
from ludocast.recipes.assignments import Assignments
from ludocast.recipes.experiment import experiment_of
from ludocast.recipes.figures import write_metrics
from ludocast.recipes.loggers import LoggerName, Tracker, check_logger
from ludocast.recipes.options import check_seed
from ludocast.recipes.provenance import git_revision, libraries
from ludocast.recipes.run_folder import RunFolder, quoted
from ludocast.recipes.segment_fit import (
    drift_to,
    earlier_run,
    find_segments,
    named_as,
    other_columns,
    reference_of,
    segment_report,
)
from ludocast.recipes.segment_table import read_segment_table
from ludocast.recipes.stops import telling_of_stops
from ludocast.serve.bundle import write_bundle
from ludocast.serve.graph_inputs import schema_inputs
from ludocast.serve.segments_export import export_segments
from ludocast.serve.segments_report import IN_WORDS, SegmentReport, write_segments_report


def segment(
    data: Path,
    out: Path = Path("run"),
    method: str = "auto",
    k: str = "auto",
    exclude: list[str] | None = None,
    schema: Path | None = None,
    anomalies: bool = False,
    compare: Path | None = None,
    like: Path | None = None,
    entity: str = "row",
    name: str | None = None,
    version: str | None = None,
    seed: int = 0,
    logger: LoggerName | None = None,
    overwrite: bool = False,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> None:
    """Find segments in a table, tell in words what sets each apart, and export what tells the segment of any row.

    OUT holds report.html, metrics.json, schema.json, segments.parquet (that of each row), and bundle/, which `ludocast
    score` and `ludocast serve` take.

    Example: ludocast segment --data players.csv --exclude player_id --out run

    Args:
        data: CSV or Parquet file, one row for each of what is to be grouped.
        out: Folder of the run.
        method: auto, kmeans, mixture or hierarchical.
        k: Number of segments, or auto.
        exclude: Columns to leave out, such as ids; comma-separated or given again.
        schema: A schema.json to follow, as a run writes it.
        anomalies: Score too how odd each row is, by an isolation forest.
        compare: Another table of the same columns, such as last month's; the report tells how segments' shares differ.
        like: An earlier run whose numbers segments keep, where they are the same.
        entity: What a row is, such as customer, for the report's texts.
        name: Of the model, as servers show it; that of OUT by default.
        version: Of the model.
        seed: Equal seeds give equal segments.
        logger: Tells mlflow, tensorboard or a csv file the criteria of every number of segments; in OUT/logs, and
            MLflow's store beside OUT or where MLFLOW_TRACKING_URI says.
        overwrite: Replace OUT.
        encoding: Of a CSV file.
        delimiter: Of a CSV file; found by itself.
    """
    experiment = experiment_of("segment", locals())
    check_logger(logger)
    methods = _methods(method)
    size = _size(k)
    check_seed(seed)
    folder = RunFolder(out, resume=None, overwrite=overwrite, experiment=experiment)
    with _whole_or_not_at_all(folder):
        earlier = None if like is None else earlier_run(like)
        table = read_segment_table(data, exclude if exclude is not None else [], schema, encoding, delimiter)
        others = None if compare is None else other_columns(compare, table, encoding, delimiter)
        for warning in table.schema.warnings:
            print(f"note: {warning}", flush=True)
        partial = folder.begin(
            {"data_sha256": table.sha256, "method": method, "k": k, "exclude": exclude, "seed": seed}
        )
        tracker = None if logger is None else Tracker(logger, partial, out, experiment.options)
        found = find_segments(table, methods, size, anomalies, seed)
        if earlier is not None:
            found = named_as(found, table, earlier, seed)
        drifted = None if others is None else drift_to(found, others)
        other = "" if compare is None else compare.name
        known_as = out.name if name is None else name
        report = segment_report(found, table, known_as, entity, drifted, other, seed)
        _write(partial, report, found.fitted, reference_of(found, table, seed), table.sha256, version)
        Assignments(table.sha256, found.segment, found.fitted.names).write(partial)
        if tracker is not None:
            tracker.finish(partial)
        folder.finish()
    _tell(report, out, data)


@contextmanager
def _whole_or_not_at_all(folder: RunFolder) -> Iterator[None]:
    """There is nothing to go on with, so that whatever ends a run early leaves nothing behind."""
    try:
        with telling_of_stops(folder):
            yield
    except BaseException:
        folder.discard()
        raise


def _methods(method: str) -> tuple[str, ...]:
    if method == "auto":
        return tuple(METHODS)
    if method not in METHODS:
        near = get_close_matches(method, ["auto", *METHODS], n=1, cutoff=0.4)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise ValueError(f'--method is one of auto, {", ".join(METHODS)}, got "{method}"{hint}')
    return (method,)


def _size(k: str) -> int | None:
    if k == "auto":
        return None
    if not k.isdecimal() or not 2 <= int(k) <= 100:
        raise ValueError(f'--k is auto or a number from 2 to 100, got "{k}"')
    return int(k)


def _write(
    partial: Path, report: SegmentReport, fitted: Segmentation, reference: Reference, sha256: str, version: str | None
) -> None:
    metrics = report.metrics()
    fitted.schema.write(partial / "schema.json")
    write_metrics(partial, metrics)
    write_segments_report(report, partial / "report.html")
    write_bundle(
        partial / "bundle",
        export_segments(fitted, report.name).SerializeToString(),
        name=report.name,
        inputs=schema_inputs(fitted.schema),
        classes=fitted.names,
        missing_tokens=fitted.schema.missing_tokens,
        metrics=metrics["metrics"],
        libraries=libraries(),
        data_sha256=sha256,
        git_revision=git_revision(),
        version=version,
        task="segments",
        measures=fitted.measures,
        extra_files={REFERENCE_FILE: reference.to_json()},
    )


def _tell(report: SegmentReport, out: Path, data: Path) -> None:
    chosen = report.final
    measured = f"silhouette {chosen.silhouette:.2f}, stability {chosen.stability:.2f}"
    print(f"\n{chosen.k} segments by {IN_WORDS[chosen.method]}: {measured}")
    for profile in report.profiles:
        print(f"  {profile.sentence()}")
    if report.drift is not None:
        print(report.drift.sentence())
    print(f"\nreport: {out / 'report.html'}\nbundle: {out / 'bundle'}")
    print(f"next:   ludocast score --bundle {quoted(out / 'bundle')} --input {quoted(data)} --output scored.csv")
    print(f"        ludocast serve --bundle {quoted(out / 'bundle')}", flush=True)
