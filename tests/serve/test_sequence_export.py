"""Raw names and times in: onnxruntime and onnx's evaluator answer as the training side does, one sequence at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from ludocast.datamodules.sequence import SequenceParts
from ludocast.models.stacked_rnn.recurrent import Kind
from ludocast.serve.bundle import Bundle
from ludocast.serve.scorer import Predictions, Scorer
from ludocast.serve.sequence_export import LIKELIEST, export_sequence
from ludocast.serve.sequence_feeds import SequenceFeeds
from onnx.reference import ReferenceEvaluator

from ludocast.__main__ import main
from tests.serve.made_sequences import NAMES, TAGS, Made, Row, answer, drawn, encoded, kept, made, write

TOLERANCE = 1e-5
ALL = ("days", "events", "stream", "next", "sessions", "tags", "text", "tied", "adaptive")
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
        rows = [row for row in drawn(one, lengths) if kept(one.inputs, row).any()]
        assert_answers(one, rows, scorer.predict_rows(rows))


@pytest.mark.parametrize("what", ALL)
def test_a_thousand_rows(what: str, tmp_path: Path) -> None:
    one = made(what)
    write(one, tmp_path / "b")
    lengths = np.random.default_rng(2).integers(1, 25, 1000).tolist()
    rows = [row for row in drawn(one, lengths) if kept(one.inputs, row).any()]
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
        np.testing.assert_allclose(np.asarray(p), native[1], rtol=0, atol=TOLERANCE)


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


@each_kind
@pytest.mark.parametrize("what", ALL)
def test_the_core_graph_reads_ids_and_numbers(what: str, kind: Kind, tmp_path: Path) -> None:
    """What preprocessing.json says, done by hand on the training side, goes in; plain operators alone."""
    one = made(what, kind)
    write(one, tmp_path / "b")
    assert main(["export", "core", "--bundle", str(tmp_path / "b"), "--out", str(tmp_path / "core")]) == 0
    document = json.loads((tmp_path / "core" / "preprocessing.json").read_text(encoding="utf-8"))
    core = onnx.load(tmp_path / "core" / "model_core.onnx")
    assert {opset.domain for opset in core.opset_import} == {""}
    (row,) = (row for row in drawn(one, [9, 30])[1:])
    token, numbers, length, last_age = encoded(one.inputs, row)
    fed: dict[str, np.ndarray] = {"steps": np.array([length])}
    if token is not None:
        known = document["tokens"]
        names = [name for name, is_in in zip(row[known["column"]], kept(one.inputs, row), strict=True) if is_in]
        assert [known["values"].get(name, known["unknown"]) for name in names] == token.tolist()
        fed["tokens"] = token[None].astype(np.int64)
    if numbers is not None:
        fed["numbers"] = numbers[None]
        assert sum(entry.get("days", 1) for entry in document["numbers"]) == numbers.shape[1]
    if document["last_age"]:
        fed["last_age"] = np.array([[last_age]], np.float32)
    wanted = answer(one, row)
    for run in (ort.InferenceSession(core.SerializeToString()).run, ReferenceEvaluator(core).run):
        p = np.asarray(next(iter(run(None, fed))))
        assert p.shape[-1] == len(document["probabilities"])
        known_p = p[0][2:] if document["probabilities"][0] is None else p[0]
        np.testing.assert_allclose(known_p, wanted, rtol=0, atol=TOLERANCE)


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
