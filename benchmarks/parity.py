"""How far the bundle's answers are from the training side's: `python benchmarks/parity.py`.

Trains the default model on each table, writes its bundle, and prints the largest difference of a probability between
the training-side module and the bundle, in onnxruntime and in onnx's reference evaluator: on all rows of the table, and
on generated hostile ones (missing, unseen, extreme, unicode, leading spaces). The same cells go in on both sides, as
text, so the readers are compared as well. The evaluator takes milliseconds a row; `--evaluator-rows` asks for less.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.models.fitted import FittedClasses
from ludocast.models.table.deep import Training
from ludocast.models.table.frame import fit_frame, predict_frame
from ludocast.recipes.churn import CANDIDATES
from ludocast.serve.bundle import write_bundle
from ludocast.serve.graph_inputs import schema_inputs
from ludocast.serve.graph_table import export_table
from ludocast.serve.scorer import Scorer

from benchmarks.tables import DATA, TABLES, Table

TARGET = 5e-6
CHUNK = 512  # rows that the evaluator takes at once
NUMBERS = (
    "", "NA", " 0 ", "-0", "1e-45", "1e-320", "0.1", "16777217", "1e9", "123456789012345678901234567890",
    "3.4028235e38", "-3.4028235e38", "3.5e38", "1e400", "-inf", "NaN", "１２",
)  # fmt: skip
TEXTS = (
    "", " ", "NA", "NaN", "unseen", "🐉", "e\u0301", "\u00e9", "\u202eRTL", "a" * 3000, "true", "0", "0.0", "nul\u0001",
    "a\nb", "\ufeffx", "한국어 ",
)  # fmt: skip
TIMES = ("", "NaN", "0", "-1e12", "1e300", "0001-01-01", "9999-12-31T23:59:59.999999Z", "2024-02-29 12:00+14:00")
BOOLEANS = ("", "NULL", "TRUE", " false ", "0", "1")
ODD = {"number": NUMBERS, "category": TEXTS, "timestamp": TIMES, "boolean": BOOLEANS}


def hostile(frame: pd.DataFrame, kinds: dict[str, str], rows: int, seed: int = 1) -> pd.DataFrame:
    """Rows that no table has: half of the cells are odd ones, the others come from any row; some begin with a blank."""
    generator = np.random.default_rng(seed)
    columns = {}
    for name, kind in kinds.items():
        known = frame[name].astype(object).where(frame[name].notna(), "").astype(str).to_numpy(object)
        cells = generator.choice(known, rows)
        cells = np.where(generator.random(rows) < 0.1, [f" {cell}" for cell in cells], cells)
        odd = generator.choice(np.array(ODD[kind], object), rows)
        columns[name] = np.where(generator.random(rows) < 0.5, odd, cells)
    return pd.DataFrame(columns, dtype=object)


def bundled(fitted: FittedClasses, folder: Path) -> tuple[Scorer, ReferenceEvaluator]:
    """The bundle of a fitted model, written, loaded with all its checks, and its graph in the evaluator."""
    model = export_table(fitted).SerializeToString()
    write_bundle(
        folder, model, name="parity", inputs=schema_inputs(fitted.schema), classes=fitted.classes,
        positive=fitted.schema.positive, threshold=0.5, missing_tokens=fitted.schema.missing_tokens,
    )  # fmt: skip
    return Scorer.load(folder), ReferenceEvaluator(onnx.load(folder / "model.onnx"))


def in_evaluator(scorer: Scorer, evaluator: ReferenceEvaluator, frame: pd.DataFrame) -> np.ndarray:
    """Probabilities [N, classes] of the reference evaluator."""
    parts = []
    for start in range(0, len(frame), CHUNK):
        part = frame.iloc[start : start + CHUNK]
        feeds = scorer.bundle.reader.from_columns({name: part[name] for name in part.columns})
        parts += [np.asarray(evaluator.run(["probabilities"], tensors)[0]) for _, tensors in feeds.batches()]
    return np.concatenate(parts)


def compare(
    what: str,
    fitted: FittedClasses,
    scorer: Scorer,
    evaluator: ReferenceEvaluator,
    frame: pd.DataFrame,
    most: int | None,
) -> float:
    """Print the differences on some rows and return the largest."""
    wanted = predict_frame(fitted, frame)
    found = scorer.predict(frame).probabilities
    largest = float(np.abs(found - wanted).max())
    print(f"{what:<24} onnxruntime         {len(frame):>7,} rows  {largest:.2e}", flush=True)
    few = frame if most is None else frame.iloc[:most]
    if len(few):
        begin = time.perf_counter()
        slow = float(np.abs(in_evaluator(scorer, evaluator, few) - wanted[: len(few)]).max())
        each = (time.perf_counter() - begin) / len(few) * 1e3
        print(f"{what:<24} reference evaluator {len(few):>7,} rows  {slow:.2e}  ({each:.1f} ms a row)", flush=True)
        largest = max(largest, slow)
    return largest


def measure(name: str, table: Table, options: argparse.Namespace) -> float:
    """The largest difference on a table and on hostile rows made from it."""
    begin = time.perf_counter()
    fitted = fit_frame(
        table.frame, table.label, table.positive, exclude=table.exclude, task="classification",
        names=CANDIDATES["auto"], combine="blend", training=Training(options.members),
    ).model  # fmt: skip
    assert isinstance(fitted, FittedClasses)
    used = ", ".join(f"{part} {weight:.0%}" for part, weight in fitted.weights.items() if weight > 0)
    print(f"{name}: trained in {time.perf_counter() - begin:.0f} s ({used})", flush=True)
    kinds = {column.name: str(column.kind) for column in fitted.schema.inputs}
    with tempfile.TemporaryDirectory() as folder:
        scorer, evaluator = bundled(fitted, Path(folder) / "bundle")
        odd = hostile(table.frame, kinds, options.hostile_rows)
        # Hostile rows first: they are the fewer and say more.
        return max(
            compare(f"{name}, hostile rows", fitted, scorer, evaluator, odd, options.evaluator_rows),
            compare(f"{name}, all rows", fitted, scorer, evaluator, table.frame[list(kinds)], options.evaluator_rows),
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="*", default=["players_en", "players_ko", "telco"], choices=list(TABLES))
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--hostile-rows", type=int, default=10_000)
    parser.add_argument("--evaluator-rows", type=int, default=None, help="at most so many rows in onnx's evaluator")
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if not DATA.exists():
        print(f"the real tables are not part of the project, and {DATA} is absent; name others with --tables")
        return 2
    largest = max(measure(name, TABLES[name](), options) for name in options.tables)
    print(f"largest difference {largest:.2e}, target {TARGET:.0e}: {'kept' if largest <= TARGET else 'MISSED'}")
    return 0 if largest <= TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main())
