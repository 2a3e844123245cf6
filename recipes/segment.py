"""`ludocast segment`: a table in; segments told in words, a report and a bundle out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from ludocast.models.segments.anomalies import fit_anomalies
from ludocast.models.segments.fit import by_size, different_rows, fit_points
from ludocast.models.segments.methods import METHODS
from ludocast.models.segments.segmentation import Segmentation
from ludocast.recipes.provenance import git_revision, libraries
from ludocast.recipes.run_folder import RunFolder
from ludocast.recipes.segment_table import SegmentTable, read_segment_table
from ludocast.recipes.stops import telling_of_stops
from ludocast.serve.bundle import write_bundle
from ludocast.serve.graph_inputs import schema_inputs
from ludocast.serve.segments_export import export_segments


def segment(
    data: Path,
    out: Path = Path("run"),
    method: str = "auto",
    k: str = "auto",
    exclude: list[str] | None = None,
    schema: Path | None = None,
    anomalies: bool = False,
    name: str | None = None,
    version: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> None:
    """Find segments in a table, tell in words what sets each apart, and export what tells the segment of any row.

    OUT holds report.html, metrics.json, schema.json, and bundle/, which `ludocast score` and `ludocast serve` take.

    Example: ludocast segment --data players.csv --exclude player_id --out run

    Args:
        data: CSV or Parquet file, one row a player.
        out: Folder of the run.
        method: auto, kmeans, mixture or hierarchical.
        k: Number of segments, or auto.
        exclude: Columns to leave out, such as ids; comma-separated or given again.
        schema: A schema.json to follow, as a run writes it.
        anomalies: Score too how odd each row is, by an isolation forest.
        name: Of the model, as servers show it; that of OUT by default.
        version: Of the model.
        seed: Equal seeds give equal segments.
        overwrite: Replace OUT.
        encoding: Of a CSV file.
        delimiter: Of a CSV file; found by itself.
    """
    methods = _methods(method)
    size = _size(k)
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed is a number from 0 to {2**32 - 1}, got {seed}")
    folder = RunFolder(out, resume=None, overwrite=overwrite)
    with _whole_or_not_at_all(folder):
        table = read_segment_table(data, exclude if exclude is not None else [], schema, encoding, delimiter)
        for warning in table.schema.warnings:
            print(f"note: {warning}", flush=True)
        partial = folder.begin(
            {"data_sha256": table.sha256, "method": method, "k": k, "exclude": exclude, "seed": seed}
        )
        fitted = _fit(table, methods, size, anomalies, seed)
        _write(partial, table, fitted, out.name if name is None else name, version)
        folder.finish()
    _tell(out)


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


def _fit(table: SegmentTable, methods: tuple[str, ...], k: int | None, anomalies: bool, seed: int) -> Segmentation:
    points = fit_points(table.schema, table.columns, seed)
    most = different_rows(points.z, k if k is not None else 2)
    if k is not None and k > most:
        raise ValueError(f"--k {k} is more than the {most:,} different rows of the table; give {most} or less")
    assert k is not None
    partition = by_size(METHODS[methods[0]](points.z, k, seed).partition, points.z)
    preprocessing = points.scales.preprocessing
    names = tuple(str(i + 1) for i in range(k))
    fitted = Segmentation(points.scales.schema, preprocessing, points.space, partition, names)
    if anomalies:
        found = fit_anomalies(preprocessing.encode(table.columns), preprocessing.code_sizes, seed)
        fitted = replace(fitted, anomalies=found)
    return fitted


def _write(partial: Path, table: SegmentTable, fitted: Segmentation, name: str, version: str | None) -> None:
    fitted.schema.write(partial / "schema.json")
    write_bundle(
        partial / "bundle",
        export_segments(fitted, name).SerializeToString(),
        name=name,
        inputs=schema_inputs(fitted.schema),
        classes=fitted.names,
        missing_tokens=fitted.schema.missing_tokens,
        libraries=libraries(),
        data_sha256=table.sha256,
        git_revision=git_revision(),
        version=version,
        task="segments",
        measures=fitted.measures,
    )


def _tell(out: Path) -> None:
    print(f"bundle: {out / 'bundle'}")
    print(f"next:   ludocast score --bundle {out / 'bundle'} --input players.csv --output scored.csv", flush=True)
