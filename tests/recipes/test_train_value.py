"""`ludocast train value`: a table with amounts to a report and a bundle that answers as was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.simulate_value import simulate_value
from ludocast.models.value.measures import normalised_gini
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main

LABEL = "spent_next_90d"
FAST = "hurdle_linear,tweedie,boosting"


def players(rows: int = 1_500) -> pd.DataFrame:
    frame: pd.DataFrame = simulate_value(rows, 3)[0].to_pandas()
    return frame


def train(folder: Path, frame: pd.DataFrame, *words: str) -> int:
    frame.to_csv(folder / "players.csv", index=False)
    given = ["--data", str(folder / "players.csv"), "--label", LABEL, "--exclude", "player_id"]
    return main(["train", "value", *given, "--out", str(folder / "run"), *words])


def test_from_a_table_to_a_bundle_that_answers_as_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = players()
    assert train(tmp_path, frame, "--learners", FAST, "--entity", "customer") == 0
    said = capsys.readouterr().out
    nothing = int((frame[LABEL] == 0).sum())
    assert f"{nothing:,} of 1,500 customers ({nothing / 1500:.1%}) have a {LABEL} of 0" in said
    run = tmp_path / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    assert {row["learner"] for row in metrics["learners"]} == set(FAST.split(","))
    split = pd.read_csv(run / "split.csv")
    test = frame.iloc[split.loc[split["part"] == "test", "row"].to_numpy() - 1]
    found = Scorer.load(run / "bundle").predict(test.drop(columns=LABEL))
    value, label = np.asarray(found.labels, np.float64), test[LABEL].to_numpy()
    # The report's figures, of what the bundle answers.
    assert metrics["metrics"]["gini"]["value"] == pytest.approx(normalised_gini(value, label), abs=1e-6)
    assert metrics["metrics"]["total"]["value"] == pytest.approx(value.sum() / label.sum(), rel=1e-5)
    inside = (found.probabilities[:, 0] <= label) & (label <= found.probabilities[:, 1])
    assert metrics["metrics"]["coverage"]["value"] == pytest.approx(inside.mean(), abs=0.01)
    assert (found.probabilities[:, 0] >= 0).all()
    assert json.loads((run / "bundle" / "bundle.json").read_text())["loss"] == {"name": "tweedie", "quantile": None}
    assert [entry["name"] for entry in metrics["leaderboard"]][-1] == "the mean"
    assert len(metrics["tenths"]) == 10
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"how large is {LABEL} of each customer?" in page
    assert "player" not in page.replace("player_id", "").replace("players.csv", "")


def test_equal_seeds_give_equal_bundles(tmp_path: Path) -> None:
    models = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert train(tmp_path / name, players(600), "--learners", "hurdle_linear,tweedie", "--name", "model") == 0
        models.append((tmp_path / name / "run" / "bundle" / "model.onnx").read_bytes())
    assert models[0] == models[1]


@pytest.mark.parametrize(
    ("column", "words", "sentence"),
    [
        ([0.0, 9.5, -4.99] * 50, [], f'the label "{LABEL}" is below 0 in 50 of 150 rows (the first is row 3: -4.99)'),
        ([0.0] * 150, [], f'the label "{LABEL}" is always 0'),
        ([0.0] * 140 + [1.0] * 10, [], f'of the training part have a "{LABEL}" above 0, and 25 are needed'),
        (["0", "free", "3"] * 50, [], f'the label "{LABEL}", row 2: '),
        ([0.0, 1.0, 3.0] * 50, ["--learners", "tweedy"], 'there is no learner "tweedy"; did you mean "tweedie"?'),
    ],
)
def test_what_is_no_amount_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: list[float | str], words: list[str], sentence: str
) -> None:
    assert train(tmp_path, pd.DataFrame({"player_id": 1, "x": np.arange(150) % 7, LABEL: column}), *words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["players.csv"]


def test_where_all_pay_there_is_no_hurdle_to_take(tmp_path: Path) -> None:
    frame = players(400)
    frame[LABEL] += 1
    assert train(tmp_path, frame, "--learners", FAST, "--combine", "best") == 0
    found = Scorer.load(tmp_path / "run" / "bundle").predict(frame.drop(columns=LABEL))
    assert (np.asarray(found.labels) > 0.5).all()
