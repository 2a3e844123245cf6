"""Credit, retail and machines: from a table to report, scores, a served answer and an evaluation, without a game's word."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
from ludocast.datamodules.infer import raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.schema import read_schema
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.serve.foreign import core_inputs
from tests.serve.listening import ask, served

ROWS = 500
GAMES_WORDS = re.compile(r"(?<![a-z])(player|game|guild|churn)s?(?![a-z])", re.IGNORECASE)


def credit(generator: np.random.Generator) -> pd.DataFrame:
    """Applicants: amounts of heavy tails, categories, a date, gaps; who did not pay back."""
    income = generator.lognormal(10, 0.7, ROWS).round()
    ratio = generator.beta(2, 4, ROWS).round(3)
    late = generator.poisson(0.7, ROWS)
    risk = -2 + 3 * ratio + 0.9 * late - 0.6 * (np.log(income) - 10)
    grade = np.digitize(risk + generator.normal(0, 0.7, ROWS), [-1, 0.2])
    return pd.DataFrame({
        "applicant_id": [f"A{k:05}" for k in range(ROWS)],
        "income": np.where(generator.random(ROWS) < 0.08, np.nan, income),
        "debt_ratio": ratio,
        "late_payments": late,
        "employment": np.array(["salaried", "self-employed", "retired", ""])[generator.integers(4, size=ROWS)],
        "opened": pd.to_datetime(1.5e9 + generator.integers(0, 10**8, ROWS), unit="s").astype(str),
        "owner": np.array(["yes", "no"])[generator.integers(2, size=ROWS)],
        "defaulted": np.where(generator.random(ROWS) < 1 / (1 + np.exp(-risk)), "yes", "no"),
        "grade": np.array(["A", "B", "C"])[grade],
    })  # fmt: skip


def retail(generator: np.random.Generator) -> pd.DataFrame:
    """Customers of a shop: how often they will order, and for how much."""
    visits, coupons = generator.poisson(4, ROWS), generator.random(ROWS) < 0.3
    rate = np.exp(0.3 + 0.15 * visits + 0.5 * coupons)
    orders = generator.poisson(rate)
    return pd.DataFrame({
        "customer_id": np.arange(ROWS) + 10_000,
        "visits_30d": visits,
        "coupons": coupons,
        "channel": np.array(["web", "app", "shop"])[generator.integers(3, size=ROWS)],
        "basket": generator.gamma(2, 20, ROWS).round(2),
        "orders": orders,
        "spent": (orders * generator.gamma(2, 15, ROWS)).round(2),
    })  # fmt: skip


def machines(generator: np.random.Generator) -> pd.DataFrame:
    """Sensors of machines: their state, and the hours until they stop."""
    wear = generator.random(ROWS)
    return pd.DataFrame({
        "vibration": (0.2 + wear**2 + generator.normal(0, 0.05, ROWS)).round(4),
        "temperature": (40 + 30 * wear + generator.normal(0, 3, ROWS)).round(1),
        "pressure": generator.normal(5, 0.4, ROWS).round(2),
        "rpm": generator.integers(900, 1500, ROWS),
        "model": np.array(["M1", "M2", "M3"])[generator.integers(3, size=ROWS)],
        "state": np.array(["fine", "worn", "failing"])[np.digitize(wear, [0.5, 0.8])],
        "hours_left": (1000 * (1 - wear) + generator.normal(0, 20, ROWS)).round(1),
    })  # fmt: skip


@dataclass(frozen=True)
class Trade:
    """A table and what is asked of it.

    Attributes:
        table: Makes it.
        label: The column to predict.
        exclude: Left out.
        entity: What a row is.
        words: More options of the training.
        measure: Gate of the evaluation on the rows of another year.
    """

    table: Callable[[np.random.Generator], pd.DataFrame]
    label: str
    exclude: str
    entity: str
    words: tuple[str, ...]
    measure: tuple[str, str]


TRADES = {
    "binary": Trade(
        credit, "defaulted", "applicant_id,grade", "applicant",
        ("--positive", "yes", "--learners", "tree,logistic", "--cost-missed", "5"), ("--fail-below", "auc=0.6"),
    ),
    "multiclass": Trade(
        machines, "state", "hours_left", "machine", ("--learners", "forest,naive_bayes", "--combine", "blend"),
        ("--fail-below", "accuracy=0.7"),
    ),
    "regression": Trade(
        machines, "hours_left", "state", "machine", ("--learners", "boosting,knn"), ("--fail-above", "mae=60"),
    ),
    "counts": Trade(
        retail, "orders", "customer_id,spent", "customer",
        ("--task", "regression", "--loss", "poisson", "--learners", "boosting,linear"), ("--fail-above", "rmse=4"),
    ),
    "quantiles": Trade(
        retail, "spent", "customer_id,orders", "customer",
        ("--loss", "quantile", "--quantile", "0.9", "--learners", "boosting,linear"), ("--fail-below", "coverage=0.8"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRADES)
def test_from_a_table_to_an_answer(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trade = TRADES[name]
    this_year, next_year = tmp_path / "this.csv", tmp_path / "next.csv"
    for path, seed in ((this_year, 1), (next_year, 2)):
        trade.table(np.random.default_rng(seed)).to_csv(path, index=False)
    run, bundle = tmp_path / "run", tmp_path / "run" / "bundle"
    words = ["--data", str(this_year), "--label", trade.label, "--exclude", trade.exclude, "--entity", trade.entity]
    assert main(["train", "table", *words, *trade.words, "--out", str(run)]) == 0
    scored = tmp_path / "scored.csv"
    assert main(["score", "--bundle", str(bundle), "--input", str(next_year), "--output", str(scored)]) == 0
    evaluation = tmp_path / "evaluation"
    asked = ["--bundle", str(bundle), "--data", str(next_year), "--out", str(evaluation), *trade.measure]
    assert main(["evaluate", *asked, "--fail-above", "drift=0.25"]) == 0
    assert main(["export", "core", "--bundle", str(bundle), "--out", str(tmp_path / "core")]) == 0
    rows = pd.read_csv(next_year, dtype=str, keep_default_na=False)
    with served(bundle) as url:
        status, answer = ask(f"{url}/predict", [rows.drop(columns=trade.label).iloc[7].to_dict()])
        _, described = ask(f"{url}/openapi.json")
    assert status == 200
    check(answer["predictions"][0], pd.read_csv(scored).iloc[7])
    check_core(tmp_path / "core", run, rows)
    for title in ("run/report.html", "evaluation/report.html"):
        assert trade.label in (tmp_path / title).read_text(encoding="utf-8")
    told = capsys.readouterr()
    texts = {"printed": told.out + told.err, "openapi.json": json.dumps(described)}
    texts |= {str(path): visible(path) for path in tmp_path.rglob("*") if path.suffix in TEXTS}
    assert len(texts) > 12
    for where, text in texts.items():
        assert not GAMES_WORDS.findall(text), where


def check_core(core: Path, run: Path, rows: pd.DataFrame) -> None:
    """The core graph, fed with what preprocessing.json says, answers as the bundle does."""
    columns, _ = raw_columns(from_frame(rows), read_schema(run / "schema.json"))
    document = json.loads((core / "preprocessing.json").read_text(encoding="utf-8"))
    session = ort.InferenceSession(core / "model_core.onnx", providers=["CPUExecutionProvider"])
    inputs = core_inputs(document, columns)
    answer = session.run(None, {item.name: inputs[item.name] for item in session.get_inputs()})[0]
    found = Scorer.load(run / "bundle").predict(rows)
    wanted = found.labels if answer.ndim == 1 else found.probabilities
    np.testing.assert_allclose(answer, wanted.astype(float), rtol=1e-4, atol=1e-5)


TEXTS = {".html", ".json", ".yaml", ".csv"}


def visible(path: Path) -> str:
    """A file's text; of a page what people see."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"(?s)<style>.*?</style>|<[^>]*>", " ", text) if path.suffix == ".html" else text


def check(answer: dict[str, Any], scored: pd.Series[Any]) -> None:
    """One answer is told the same over HTTP and in the file."""
    told = [key for key in answer if f"scored_{key}" in scored.index]
    assert told == (["value", "lower", "upper"] if "value" in answer else ["label", "probability"])
    for key in told:
        expected = scored[f"scored_{key}"]
        assert answer[key] == (expected if isinstance(expected, str) else pytest.approx(expected, rel=1e-5))
