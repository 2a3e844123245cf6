"""Raw names and times in: onnxruntime and onnx's evaluator answer as the training side does, one sequence at a time."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from ludocast.datamodules.sequence import SequenceParts
from ludocast.models.stacked_rnn.recurrent import Kind
from ludocast.serve.bundle import Bundle
from ludocast.serve.scorer import Predictions, Scorer
from ludocast.serve.sequence_export import LIKELIEST, export_sequence
from ludocast.serve.sequence_feeds import SequenceFeeds
from onnx.reference import ReferenceEvaluator

from tests.serve.made_sequences import DAY, NAMES, TAGS, Made, Row, answer, drawn, made, write

TOLERANCE = 1e-5
ALL = ("days", "events", "stream", "next", "sessions", "tags", "text", "tied")
each_kind = pytest.mark.parametrize("kind", get_args(Kind))
# What stands at padding is computed too, and may be no number.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")


def assert_answers(one: Made, rows: list[Row], found: Predictions) -> None:
    """Each row's probabilities, in the rows' order, and labels that go with them."""
    assert len(found.labels) == len(rows)
    for row, labels, p in zip(rows, found.labels, found.probabilities, strict=True):
        wanted = answer(one, row)
        if one.inputs.has_now:
            np.testing.assert_allclose(p, wanted, rtol=0, atol=TOLERANCE)
            assert abs(wanted[1] - 0.5) < TOLERANCE or labels == ("leaves" if wanted[1] >= 0.5 else "stays")
            continue
        names = TAGS if wanted.ndim == 2 else NAMES
        best = np.sort(wanted, axis=-1)[..., ::-1]
        best = best[:, 0] if wanted.ndim == 2 else best[:LIKELIEST]
        np.testing.assert_allclose(p, best, rtol=0, atol=TOLERANCE)
        places = [names.index(label) for label in labels]
        own = wanted[np.arange(len(places)), places] if wanted.ndim == 2 else wanted[places]
        np.testing.assert_allclose(own, best, rtol=0, atol=TOLERANCE)


@each_kind
@pytest.mark.parametrize("what", ALL)
def test_batches_and_lengths(what: str, kind: Kind, tmp_path: Path) -> None:
    one = made(what, kind)
    write(one, tmp_path / "b")
    scorer = Scorer.load(tmp_path / "b")
    generator = np.random.default_rng(1)
    for lengths in ([2000], [1], [700, 3, 1999, 1], generator.integers(1, 120, 33).tolist()):
        # Beyond the window there may be no step, to which the training side has no answer.
        rows = [row for row in drawn(one, lengths) if "now" not in row or has_steps(one, row)]
        assert_answers(one, rows, scorer.predict_rows(rows))


@pytest.mark.parametrize("what", ALL)
def test_a_thousand_rows(what: str, tmp_path: Path) -> None:
    one = made(what)
    write(one, tmp_path / "b")
    lengths = np.random.default_rng(2).integers(1, 25, 1000).tolist()
    rows = [row for row in drawn(one, lengths) if "now" not in row or has_steps(one, row)]
    assert len(rows) > 900
    assert_answers(one, rows, Scorer.load(tmp_path / "b").predict_rows(rows))


@each_kind
@pytest.mark.parametrize("what", ALL)
def test_the_evaluator_of_onnx_gives_the_same(what: str, kind: Kind, tmp_path: Path) -> None:
    one = made(what, kind)
    write(one, tmp_path / "b")
    bundle = Bundle.load(tmp_path / "b")
    feeds = bundle.reader.from_rows(drawn(one, [5, 1, 9, 2]))
    assert isinstance(feeds, SequenceFeeds)
    evaluator = ReferenceEvaluator(onnx.load(tmp_path / "b" / "model.onnx"))
    for _, tensors in feeds.batches():
        native = bundle.session.run(None, tensors)
        labels, p = evaluator.run(None, tensors)
        np.testing.assert_array_equal(np.asarray(labels, object), native[0])
        np.testing.assert_allclose(p, native[1], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("what", ["days", "events", "stream"])
def test_the_graph_alone_leaves_out_what_is_not_known(what: str, tmp_path: Path) -> None:
    """Another runtime may feed all events: those before the window and from now on change nothing."""
    one = made(what)
    write(one, tmp_path / "b")
    bundle = Bundle.load(tmp_path / "b")
    (row,) = drawn(one, [60])
    time = np.array([row["time"]])
    now = bundle.reader.from_rows([row])
    assert isinstance(now, SequenceFeeds)
    assert len(now.steps["times"]) - 1 < 60, "some of the events lie beyond"
    tensors = {"times": time, "length": np.array([60]), "now": now.cells["now"]}
    if what != "days":
        tensors["names"] = np.array([row["event"]], object)
        for i, column in enumerate(("gold", "rank")):
            tensors[f"x{i}"] = np.array([row[column]], np.float32)
    _, p = bundle.session.run(None, tensors)
    np.testing.assert_allclose(p[0], answer(one, row), rtol=0, atol=TOLERANCE)


def has_steps(one: Made, row: Row) -> bool:
    now = dt.datetime.fromisoformat(row["now"]).timestamp()
    first = -np.inf if one.inputs.observe is None else now - one.inputs.observe * DAY
    return any(first <= time < now for time in row["time"])


def test_a_vocabulary_of_one_name(tmp_path: Path) -> None:
    one = made("next", names=("login",))
    write(one, tmp_path / "b")
    row = {"event": ["login", "never seen"], "time": [0, 1]}
    found = Scorer.load(tmp_path / "b").predict(row)
    assert found.labels[0] == ["login"]
    np.testing.assert_allclose(found.probabilities[0], answer(one, row), rtol=0, atol=TOLERANCE)


def test_what_no_graph_has_is_told() -> None:
    one = made("next")
    none = one.parts.train
    with pytest.raises(ValueError, match="does not tell how raw events become its steps"):
        export_sequence(one.module, SequenceParts(none, none, none, {}))
