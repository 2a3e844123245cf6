"""`ludocast score`: every row of a table, in order, with its prediction; streamed, and written whole or not at all."""

from __future__ import annotations

import inspect
import shlex
import sys
from pathlib import Path
from typing import Any

from ludocast.serve.batch.batch import Batch, Outcome, Progress
from ludocast.serve.batch.run import run_batch
from ludocast.serve.batch.work import is_begun, work_folder
from ludocast.serve.notes import sentences
from ludocast.serve.suggest_options import USUAL_K, SuggestOptions, ids_of_words
from ludocast.serve.tables.formats import STREAM
from tqdm import tqdm


def score(
    bundle: Path,
    input: Path,  # noqa: A002 - the option's name
    output: Path,
    keep: list[str] | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
    k: int | None = None,
    exclude_owned: bool = True,
    exclude: list[str] | None = None,
    only: list[str] | None = None,
    category: list[str] | None = None,
    diversity: float = 0.0,
    users: Path | None = None,
    on_error: str = "fail",
    bad_rows: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    dask: str | None = None,
) -> None:
    """Score every row of a table, in order.

    Tables are CSV, Parquet, JSON Lines and XLSX, by their suffixes; CSV and JSON Lines may be compressed (.csv.gz).

    OUTPUT gets all columns of INPUT, then scored_label and scored_probability (of the positive class; with more than
    two classes that of the label, and scored_probability_CLASS for each). A model of numbers gives scored_value, and
    scored_lower and scored_upper of its interval. OUTPUT appears when it is complete. Memory stays bounded, however
    large the file. What a run had answered before it was stopped is kept in OUTPUT.partial, and
    --resume goes on with it, to the same bytes.

    A model of sequences reads columns of lists, in CSV and XLSX as JSON arrays; where its answers are lists, they are
    scored_labels and scored_probabilities in the same way.

    To a recommender a table of pairs is a history of each user: OUTPUT then has a row for each suggestion, with the
    columns of users and items under their own names, rank from 1 and score. A table of users and the attributes that
    the model knows, as INPUT or as --users beside the pairs, is answered too: by attributes where there is no history.

    Example: ludocast score --bundle run/bundle --input players.csv --output scored.parquet --keep player_id

    Args:
        bundle: Folder of the bundle, RUN/bundle of a training.
        input: Table, one row each; or a folder of Parquet files, also one with folders such as country=KR; or -
            for standard input.
        output: Table of the answers; without a suffix a folder of files as INPUT is one; or - for standard output.
        keep: Only these input columns in the output; comma-separated or given again.
        encoding: Of a CSV input, such as cp949; outputs are UTF-8.
        delimiter: Of a CSV input; found by itself.
        format: Of standard input and output, and of files with other suffixes: csv, parquet, jsonl or xlsx.
        k: To a recommender, suggestions a user; 20 by default.
        exclude_owned: Whether it leaves out what a user has.
        exclude: Items that it does not suggest: ids, or text files with one a line.
        only: Items of which alone it suggests, given likewise.
        category: Values of the catalogue's category; it suggests items of these alone.
        diversity: From 0, the order of scores, to 1, as different as can be.
        users: Table of users and their attributes; those without pairs in INPUT are answered too.
        on_error: What a row does that the model cannot be asked about: fail ends the run; skip leaves it out; null
            gives it no answer. OUTPUT.bad_rows.csv then tells of each.
        bad_rows: Another file for these rows.
        resume: Go on with a run that was stopped.
        overwrite: Replace OUTPUT, and begin anew.
        dask: Address of a Dask cluster that answers, such as tcp://host:8786; or local:N for N processes here.
    """
    batch = Batch(
        bundle, input, output, format, keep, encoding, delimiter,
        _suggest(k, exclude_owned, exclude, only, category, diversity), users, on_error, bad_rows, overwrite, resume,
        dask,
    )  # fmt: skip
    check_places(batch)
    command = _command(locals())
    try:
        with tqdm(unit=" rows", desc="scoring", unit_scale=True, disable=None) as bar:
            outcome = run_batch(batch, lambda progress: _show(bar, progress))
    except (KeyboardInterrupt, OSError):
        if is_begun(batch.output):
            print(f"stopped; what was answered is kept, go on with:\n  {command}", file=sys.stderr)
        raise
    _tell(outcome, batch)


def check_places(batch: Batch) -> None:
    """Refuse to write over what is there, or where nothing can be written.

    Raises:
        ValueError: With what to do about it.
    """
    if batch.output == STREAM:
        return
    goes_on = batch.resume and is_begun(batch.output)
    places = [batch.output] if batch.on_error == "fail" else [batch.output, batch.side_file]
    for place in places:
        if place.exists() and not batch.overwrite and not goes_on:
            raise ValueError(f"{place} exists; choose another --output, or --overwrite to replace it")
        if not place.absolute().parent.is_dir():
            raise ValueError(f"there is no folder {place.absolute().parent}; make it, or choose another --output")
    if batch.resume and not goes_on:
        print(f"note: there is no {work_folder(batch.output)} to go on with, so this begins anew", file=sys.stderr)


def _suggest(
    k: int | None,
    exclude_owned: bool,
    exclude: list[str] | None,
    only: list[str] | None,
    category: list[str] | None,
    diversity: float,
) -> SuggestOptions:
    """Of the command line."""
    if k is not None and k < 1:
        raise ValueError(f"--k is 1 or more, got {k}")
    if not 0 <= diversity <= 1:
        raise ValueError(f"--diversity is a number from 0 to 1, got {diversity:g}")
    excluded = ids_of_words(exclude)
    return SuggestOptions(
        USUAL_K if k is None else k, exclude_owned, () if excluded is None else excluded, ids_of_words(only),
        None if category is None else tuple(category), diversity,
    )  # fmt: skip


def _command(values: dict[str, Any]) -> str:
    """The command that goes on."""
    words = ["ludocast", "score"]
    for name, parameter in inspect.signature(score).parameters.items():
        value = values[name]
        if name in ("resume", "overwrite") or value == parameter.default:
            continue
        for one in value if isinstance(value, list) else [value]:
            text = str(one).lower() if isinstance(one, bool) else str(one)
            words += [f"--{name}", f'"{text}"' if isinstance(value, list) and "," in text else text]
    return shlex.join([*words, "--resume"])


def _show(bar: Any, progress: Progress) -> None:
    bar.total = int(progress.rows / progress.share) if progress.share > 0 else None
    bar.update(progress.rows - bar.n)


def _tell(outcome: Outcome, batch: Batch) -> None:
    out = sys.stderr if batch.output == STREAM else sys.stdout
    for sentence in sentences(outcome.notes):
        print(f"note: {sentence}", file=out)
    if outcome.bad:
        what = "left out" if batch.on_error == "skip" else "without an answer"
        print(f"note: {outcome.bad:,} bad {'row' if outcome.bad == 1 else 'rows'} {what}: {batch.side_file}", file=out)
    done = "answered" if outcome.what == "users" else "scored"
    where = "" if batch.output == STREAM else f": {batch.output}"
    print(f"{outcome.rows:,} {outcome.what} {done}{where}", file=out)
