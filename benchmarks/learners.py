"""Every classic learner for every task: how good, how equal its graph, how large and fast: `benchmarks/learners.py`.

One table, Telco, with three labels: who leaves (two classes), the contract (three), what a customer pays a month (a
number). Each learner is tried on the training part in five folds, fitted on it, exported by itself and measured on the
test part; the largest difference between training side and bundle is over all rows of the table and 10,000 hostile ones
(missing, unseen, extreme, unicode), of numbers in standard deviations of the label. Prints a table in Markdown.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.infer import raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.models.fitted import FittedClasses
from ludocast.models.metrics import log_loss
from ludocast.models.table.fit import fit_table
from ludocast.recipes.labelled_table import read_labelled_table
from ludocast.serve.bundle import write_bundle
from ludocast.serve.graph_inputs import schema_inputs
from ludocast.serve.graph_table import export_table
from ludocast.serve.scorer import Scorer

from benchmarks.parity import hostile
from benchmarks.tables import DATA

TELCO = DATA / "telco_churn" / "telco.csv"
LABELS = {"Churn": ["customerID"], "Contract": ["customerID"], "MonthlyCharges": ["customerID", "TotalCharges"]}
HOSTILE_ROWS = 10_000


def measure(label: str, exclude: list[str]) -> None:
    """Print a row for each learner."""
    table = read_labelled_table(
        TELCO, label, None, exclude, None, None, None, 0, "utf-8", None, None, task="auto"
    )  # fmt: skip
    found = fit_table(table.schema, *table.part(table.split.train), None)
    frame = pd.read_csv(TELCO, dtype=str, keep_default_na=False)
    kinds = {column.name: column.kind for column in table.schema.inputs}
    odd = hostile(frame, dict(kinds), HOSTILE_ROWS)
    test_columns, test_label = table.part(table.split.test)
    for row in found.leaderboard:
        fitted = found.every[row.learner]
        is_class = isinstance(fitted, FittedClasses)
        graph = export_table(fitted).SerializeToString()
        predicted = fitted.predict(test_columns)
        loss = log_loss(predicted, test_label) if is_class else float(np.sqrt(np.mean((predicted - test_label) ** 2)))
        with tempfile.TemporaryDirectory() as folder:
            answers = (
                {"classes": fitted.classes, "positive": fitted.schema.positive, "threshold": fitted.threshold}
                if isinstance(fitted, FittedClasses)
                else {"classes": (), "task": "regression", "coverage": fitted.interval.coverage}
            )
            inputs = schema_inputs(fitted.schema)
            write_bundle(Path(folder) / "b", graph, name="b", inputs=inputs, **answers)  # type: ignore[arg-type]
            scorer = Scorer.load(Path(folder) / "b")
            largest = 0.0
            for rows in (frame[list(kinds)], odd):
                wanted = fitted.predict(raw_columns(from_frame(rows), table.schema)[0])
                start = time.perf_counter()
                answer = scorer.predict(rows)
                seconds = time.perf_counter() - start
                got = answer.probabilities if is_class else answer.labels
                scale = 1.0 if isinstance(fitted, FittedClasses) else fitted.width
                largest = max(largest, float(np.abs(got - wanted).max()) / scale)
        print(
            f"| {label} | `{row.learner}` | {row.loss:.4f} | {loss:.4f} | {row.seconds:.1f} | {largest:.1e} "
            f"| {len(graph) / 1e3:,.0f} | {1e6 * seconds / HOSTILE_ROWS:.1f} |",
            flush=True,
        )


def main() -> None:
    """All labels."""
    warnings.simplefilter("ignore")
    print("| label | learner | held-out loss | test loss | s to train | largest difference | graph, kB | µs a row |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for label, exclude in LABELS.items():
        measure(label, exclude)


if __name__ == "__main__":
    main()
