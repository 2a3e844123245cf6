"""A table to segments, their names, their drift and their report."""

# N rows, K segments

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from ludocast.datamodules.infer import RawColumns, raw_columns
from ludocast.datamodules.read import read_table
from ludocast.datamodules.reference import FEWEST, SEGMENT, Reference, class_counts, describe_column
from ludocast.models.segments.anomalies import fit_anomalies
from ludocast.models.segments.choose import MOST, Choice, choose, judge
from ludocast.models.segments.compare import Drift, aligned_names, drift
from ludocast.models.segments.fit import Points, by_size, different_rows, fit_points
from ludocast.models.segments.methods import Fit, refined
from ludocast.models.segments.partition import assign
from ludocast.models.segments.profiles import profile_segments
from ludocast.models.segments.segmentation import Segmentation
from ludocast.recipes.segment_table import SegmentTable
from ludocast.serve.scorer import Scorer
from ludocast.serve.segment_charts import MOST_POINTS
from ludocast.serve.segments_report import SegmentReport

SEEN_ROWS = 50_000  # at most, by the isolation forest, and by comparisons with another run


@dataclass(frozen=True)
class Found:
    """What the page and the bundle are made of.

    Attributes:
        fitted: For the bundle.
        fit: The partition, and its tree.
        points: The table as points.
        choice: What was tried.
        segment: Of each row, int64 [N].
        scores: Anomaly scores of some rows, or None.
    """

    fitted: Segmentation
    fit: Fit
    points: Points
    choice: Choice
    segment: np.ndarray
    scores: np.ndarray | None


def find_segments(table: SegmentTable, methods: Sequence[str], k: int | None, has_anomalies: bool, seed: int) -> Found:
    """Try, choose, and fit on all rows.

    Args:
        table: N rows.
        methods: To try.
        k: Number of segments; None to choose.
        has_anomalies: Whether to score how odd rows are.
        seed: Of everything.

    Raises:
        ValueError: If there are fewer different rows than segments.
    """
    points = fit_points(table.schema, table.columns, seed)
    most = different_rows(points.z, k if k is not None else MOST)
    if k is not None and k > most:
        raise ValueError(f"--k {k} is more than the {most:,} different rows of the table; give {most} or less")
    print(f"{table.rows:,} rows, {len(points.scales.schema.inputs)} columns: trying segments …", flush=True)
    choice = choose(points.z, methods, k, most, seed)
    fit = refined(choice.fit, points.z, seed)
    fit = replace(fit, partition=by_size(fit.partition, points.z))
    preprocessing = points.scales.preprocessing
    names = tuple(str(i + 1) for i in range(choice.chosen.k))
    fitted = Segmentation(points.scales.schema, preprocessing, points.space, fit.partition, names)
    scores = None
    if has_anomalies:
        rows = _some_rows(table.rows, SEEN_ROWS, seed)
        encoded = preprocessing.encode({name: values[rows] for name, values in table.columns.items()})
        forest = fit_anomalies(encoded, preprocessing.code_sizes, seed)
        fitted, scores = replace(fitted, anomalies=forest), forest.scores(encoded)
    return Found(fitted, fit, points, choice, assign(fit.partition, points.z), scores)


def earlier_run(like: Path) -> Scorer:
    """The bundle of an earlier run of segments.

    Raises:
        ValueError: If it is none.
    """
    earlier = Scorer.load(like / "bundle" if (like / "bundle").is_dir() else like)
    if earlier.manifest.task != "segments":
        raise ValueError(f"--like {like} is a run of {earlier.manifest.task}, not of segments")
    return earlier


def named_as(found: Found, table: SegmentTable, earlier: Scorer, seed: int) -> Found:
    """The same with the names of an earlier run's segments.

    Raises:
        ValueError: If that reads other columns.
    """
    rows = _some_rows(table.rows, SEEN_ROWS, seed)
    try:
        others = earlier.predict(table.table.take(pa.array(rows))).labels
    except ValueError as error:
        raise ValueError(f"--like, the run {earlier.manifest.name}: {error}") from error
    names = aligned_names(found.segment[rows], len(found.fitted.names), others, earlier.manifest.classes)
    return replace(found, fitted=replace(found.fitted, names=names))


def other_columns(compare: Path, table: SegmentTable, encoding: str, delimiter: str | None) -> RawColumns:
    """The raw columns of another table.

    Raises:
        ValueError: If it has not those of the table, or no row.
    """
    other = read_table(compare, encoding, delimiter)
    if not other.num_rows:
        raise ValueError(f"--compare {compare} has no row")
    try:
        return raw_columns(other, table.schema)[0]
    except ValueError as error:
        raise ValueError(f"--compare {compare}: {error}") from error


def drift_to(found: Found, columns: RawColumns) -> Drift:
    """How shares of segments differ in another table."""
    after, measured, _ = replace(found.fitted, anomalies=None).predict(columns)
    distances = None
    if found.fit.partition.measure == "distances":
        here = found.fit.partition.measured(found.points.z[_some_rows(len(found.segment), SEEN_ROWS, 0)])
        distances = (float(np.median(here.min(axis=1))), float(np.median(measured.min(axis=1))))
    return drift(found.segment, after, len(found.fitted.names), distances)


def reference_of(found: Found, table: SegmentTable, seed: int) -> Reference:
    """What the bundle keeps to tell later how far other rows have moved.

    Args:
        found: The segments.
        table: They were found in.
        seed: Of the rows that columns and distances are counted on.
    """
    fitted, rows = found.fitted, _some_rows(table.rows, SEEN_ROWS, seed)
    counts = np.bincount(found.segment, minlength=len(fitted.names)).tolist()
    label = replace(class_counts("segment", dict(zip(fitted.names, counts, strict=True))), kind=SEGMENT)
    measured = found.fit.partition.measured(found.points.z[rows])
    is_far = found.fit.partition.measure == "distances"
    own = measured.min(axis=1) if is_far else measured.max(axis=1)
    title = f"{'distance to' if is_far else 'probability of'} the segment"
    score = replace(describe_column(title, "number", own.astype(np.float32)), kind="score")
    columns = tuple(
        describe_column(one.name, one.kind, table.columns[one.name][rows], FEWEST) for one in fitted.schema.inputs
    )
    return Reference((label,), (score,), columns)


def segment_report(
    found: Found, table: SegmentTable, name: str, entity: str, drifted: Drift | None, other: str, seed: int
) -> SegmentReport:
    """What the page shows.

    Args:
        found: The segments.
        table: Of N rows.
        name: Of the model.
        entity: What a row is.
        drifted: To another table, or None.
        other: Its name.
        seed: Of halves and of the rows on the map.
    """
    z, fitted = found.points.z, found.fitted
    rows = _some_rows(len(z), MOST_POINTS, seed)
    flat = z[rows, :2] if z.shape[1] > 1 else np.column_stack([z[rows, 0], np.zeros(len(rows))])
    final, stability = judge(z, found.fit.partition, found.choice.chosen.method, seed)
    return SegmentReport(
        name=name,
        schema=fitted.schema,
        choice=found.choice,
        final=final,
        profiles=profile_segments(fitted.schema, table.columns, found.segment, fitted.names),
        stability=stability,
        told=found.points.told,
        points=flat,
        point_segments=found.segment[rows],
        held=float(found.points.space.variance[:2].sum()),
        fit=found.fit,
        scores=found.scores,
        drift=drifted,
        other=other,
        entity=entity,
    )


def _some_rows(rows: int, most: int, seed: int) -> np.ndarray:
    """Positions of at most so many rows, drawn at random, int64."""
    return np.arange(rows) if rows <= most else np.sort(np.random.default_rng(seed).choice(rows, most, False))
