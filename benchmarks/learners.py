"""Every classic learner for every task: how good, how equal its graph, how large and fast: `benchmarks/learners.py`.

One table, Telco, with four targets: who leaves (two classes), the contract (three), what a customer pays a month (a
number), and three labels at once. Each learner alone goes by `ludocast train table` from the file to report and
bundle, and is fitted once more by the same seed; the largest difference between training side and bundle is over all
rows of the table and 10,000 hostile ones (missing, unseen, extreme, unicode), of numbers in standard deviations of the
label. `ludocast serve` answers 200 of these rows one by one.

    python benchmarks/learners.py --results learners.jsonl            # learners that the file has already are passed by
    python benchmarks/learners.py --results learners.jsonl --show     # as a table in Markdown
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.infer import raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.models.fitted import Fitted, FittedClasses, FittedNumbers
from ludocast.models.table.fit import fit_table
from ludocast.models.table.learners import learner_names
from ludocast.recipes.labelled_table import LabelledTable, read_labelled_table
from ludocast.serve.scorer import Scorer

from benchmarks.parity import hostile
from benchmarks.tables import DATA
from ludocast.__main__ import main as ludocast

TELCO = DATA / "telco_churn" / "telco.csv"
LABELS = "PhoneService,PaperlessBilling,Churn"
EXCLUDED = {
    "Churn": "customerID", "Contract": "customerID", "MonthlyCharges": "customerID,TotalCharges",
    LABELS: "customerID,MultipleLines",  # which says whether there is a phone
}  # fmt: skip
HOSTILE_ROWS = 10_000
ASKED = 200


def read(label: str) -> LabelledTable:
    """The table as the command reads it."""
    excluded = EXCLUDED[label].split(",")
    asked = tuple(label.split(",")) if label == LABELS else label
    return read_labelled_table(TELCO, asked, None, excluded, None, None, None, 0, "utf-8", None, None, task="auto")


def measure(label: str, learner: str) -> dict[str, Any]:
    """All figures of one learner."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        option = "--labels" if label == LABELS else "--label"
        words = ["--data", str(TELCO), option, label, "--exclude", EXCLUDED[label], "--learners", learner]
        begin = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            if ludocast(["train", "table", *words, "--entity", "customer", "--out", str(run)]) != 0:
                raise RuntimeError(f"{learner} of {label} ended with an error")
        seconds = time.perf_counter() - begin
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        table = read(label)
        fitted = fit_table(table.schema, *table.part(table.split.train), None, names=learner).model
        frame = pd.read_csv(TELCO, dtype=str, keep_default_na=False)
        kinds = {column.name: str(column.kind) for column in table.schema.inputs}
        odd = hostile(frame, kinds, HOSTILE_ROWS)
        scorer = Scorer.load(run / "bundle")
        off = {what: difference(fitted, scorer, rows) for what, rows in (("all", frame[list(kinds)]), ("odd", odd))}
        begin = time.perf_counter()
        scorer.predict(odd)
        batch = (time.perf_counter() - begin) / HOSTILE_ROWS
        with listening(run / "bundle") as port:
            request, served = ask(fitted, port, odd.iloc[:ASKED])
        held, figures = metrics["learners"][0], metrics["metrics"]
        return {
            "label": label, "task": table_task(fitted), "learner": learner, "held_out": held["loss"],
            "fit_seconds": held["seconds"], "run_seconds": seconds, "report": (run / "report.html").stat().st_size,
            "test": figures["log_loss" if has_probabilities(fitted) else "rmse"]["value"], "all_rows": off["all"],
            "hostile_rows": off["odd"], "served_rows": served, "graph": (run / "bundle" / "model.onnx").stat().st_size,
            "batch_us": 1e6 * batch, "request_ms": 1e3 * request,
        }  # fmt: skip


def has_probabilities(fitted: Fitted) -> bool:
    """Whether it tells classes or labels."""
    return not isinstance(fitted, FittedNumbers)


def table_task(fitted: Fitted) -> str:
    """The task in words."""
    if isinstance(fitted, FittedNumbers):
        return "a number"
    return f"{len(fitted.classes)} {'classes' if isinstance(fitted, FittedClasses) else 'labels'}"


def wanted(fitted: Fitted, frame: pd.DataFrame) -> tuple[np.ndarray, float]:
    """What the training side says of some rows, and the unit in which differences are told."""
    found = fitted.predict(raw_columns(from_frame(frame), fitted.schema)[0])
    return found, fitted.width if isinstance(fitted, FittedNumbers) else 1.0


def difference(fitted: Fitted, scorer: Scorer, frame: pd.DataFrame) -> float:
    """The largest one between the training side and the bundle."""
    answer = scorer.predict(frame)
    expected, unit = wanted(fitted, frame)
    got = answer.probabilities if has_probabilities(fitted) else answer.labels
    return float(np.abs(got - expected).max()) / unit


@contextlib.contextmanager
def listening(bundle: Path) -> Iterator[int]:
    """The port of a server of its own."""
    command = [sys.executable, "-m", "ludocast", "serve", "--bundle", str(bundle), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # no access log
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().rsplit(":", 1)[1].split("/")[0].split()[0])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def ask(fitted: Fitted, port: int, frame: pd.DataFrame) -> tuple[float, float]:
    """Rows one by one: the median of seconds, and the largest difference from the training side."""
    connection = HTTPConnection("127.0.0.1", port)
    expected, unit = wanted(fitted, frame)
    seconds, largest = [], 0.0
    for record, sought in zip(frame.to_dict("records"), expected, strict=True):
        body = json.dumps([record])
        begin = time.perf_counter()
        connection.request("POST", "/predict", body)
        answer = json.loads(connection.getresponse().read())["predictions"][0]
        seconds.append(time.perf_counter() - begin)
        if isinstance(fitted, FittedNumbers):
            got = np.array(answer["value"])
        else:
            got = np.array([answer["probabilities"][name] for name in fitted.classes])
        largest = max(largest, float(np.abs(got - sought).max()) / unit)
    return median(seconds), largest


def show(rows: list[dict[str, Any]]) -> None:
    """The table in Markdown."""
    print(
        "| label | learner | held-out loss | test loss | s to fit | s in all | largest difference: all rows | hostile "
        "rows | served | graph, kB | µs a row, 10,000 at once | ms a request of one |"
    )
    print(f"|{' --- |' * 12}")
    for row in sorted(rows, key=lambda row: (list(EXCLUDED).index(row["label"]), row["held_out"])):
        cells = (
            f"{row['label']}, {row['task']}", f"`{row['learner']}`", f"{row['held_out']:.4f}", f"{row['test']:.4f}",
            f"{row['fit_seconds']:.1f}", f"{row['run_seconds']:.1f}", f"{row['all_rows']:.1e}",
            f"{row['hostile_rows']:.1e}", f"{row['served_rows']:.1e}", f"{row['graph'] / 1e3:,.0f}",
            f"{row['batch_us']:.1f}", f"{row['request_ms']:.2f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Measure what the file lacks, or show what it has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--labels", nargs="*", default=list(EXCLUDED), choices=list(EXCLUDED))
    parser.add_argument("--learners", nargs="*", default=None)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    known = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    if options.show:
        show(known)
        return
    done = {(row["label"], row["learner"]) for row in known}
    for label in options.labels:
        every = learner_names("all", 0 if label == "MonthlyCharges" else 2)
        for learner in every if options.learners is None else [one for one in every if one in options.learners]:
            if (label, learner) not in done:
                found = measure(label, learner)
                with options.results.open("a") as file:
                    file.write(json.dumps(found) + "\n")
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
