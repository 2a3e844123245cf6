"""The graph of a recommender ranks as training does, for all users and hostile histories."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from ludocast.models.recommend.als import ImplicitALS
from ludocast.models.recommend.item_item import (
    EASE,
    ConditionalNeighbours,
    CosineNeighbours,
    ItemItem,
    Popularity,
    RP3Beta,
)
from ludocast.models.recommend.precision import BYTES, Precision, quantised, rounded
from ludocast.models.recommend.ranking import Recommender, recommend
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.recommend.signals import Signals
from ludocast.models.recommend.stored_weights import item_models, store_at
from ludocast.serve import recommend_export
from ludocast.serve.recommend_export import RecommendExport, export_recommender
from onnx.reference import ReferenceEvaluator
from scipy import sparse

from tests.models.recommend.made import random_history

HISTORY = random_history(120, 40)
IDS = np.array([f"item {k}" if k % 3 else f"물건\n{k}" for k in range(40)], object)


def reranker(few: int | None = None) -> Reranker:
    models: dict[str, ItemItem] = {
        "ease": EASE(5.0, 0.5, neighbours=few), "cosine": CosineNeighbours(few), "walks": RP3Beta(neighbours=few),
        "conditional": ConditionalNeighbours(few),
    }  # fmt: skip
    return Reranker(
        Signals(models, 15, ("ease", "conditional"), ("ease", "cosine", "walks")), RerankSettings(epochs=3, members=2)
    )


MAKERS: dict[str, Callable[[], Recommender]] = {
    "popularity": Popularity, "cosine": CosineNeighbours, "ease": lambda: EASE(5.0, 0.5), "reranker": reranker,
    "cosine, two neighbours": lambda: CosineNeighbours(2), "ease, few neighbours": lambda: EASE(5.0, 0.5, neighbours=9),
    "reranker, few neighbours": lambda: reranker(9),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(MAKERS.values()), ids=list(MAKERS))
def exported(request: pytest.FixtureRequest) -> tuple[Recommender, RecommendExport, ort.InferenceSession]:
    model = request.param().fit(HISTORY)
    export = export_recommender(model, IDS, 12)
    return model, export, ort.InferenceSession(export.model.SerializeToString(), providers=["CPUExecutionProvider"])


def padded(histories: list[list[str]]) -> dict[str, np.ndarray]:
    longest = max(1, *(len(history) for history in histories))
    cells = np.full((len(histories), longest), "", object)
    for row, history in enumerate(histories):
        cells[row, : len(history)] = history
    return {"history": cells, "length": np.array([len(history) for history in histories])}


def of_training(model: Recommender, history: sparse.csr_matrix, k: int) -> tuple[list[list[str]], np.ndarray]:
    items, scores = recommend(model, history, k)
    return [[IDS[item] if item >= 0 else "" for item in row] for row in items], scores


def test_ranks_all_users_as_training_does(
    exported: tuple[Recommender, RecommendExport, ort.InferenceSession],
) -> None:
    model, export, session = exported
    histories = [IDS[HISTORY[user].indices].tolist() for user in range(HISTORY.shape[0])]
    items, scores, _ = session.run(None, padded(histories))
    wanted, wanted_scores = of_training(model, HISTORY, export.answers)
    assert items.tolist() == wanted
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6, atol=1e-6)


def test_hostile_histories(exported: tuple[Recommender, RecommendExport, ort.InferenceSession]) -> None:
    model, export, session = exported
    some, every = [IDS[3], IDS[0], IDS[7]], IDS.tolist()
    known = [some, some, some, [], [], every, every[:-2]]
    histories = [some, [*some, *some], ["never seen", *some, "", "item 999"], [], ["never seen"], every, every[:-2]]
    items, scores, _ = session.run(None, padded(histories))
    history = sparse.lil_matrix((len(known), 40))
    for row, own in enumerate(known):
        history[row, [IDS.tolist().index(item) for item in own]] = 1
    wanted, wanted_scores = of_training(model, sparse.csr_matrix(history), export.answers)
    assert items.tolist() == wanted
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6, atol=1e-6)
    assert items[5].tolist() == [""] * export.answers
    assert set(items[6]) == {"", *every[-2:]}


def test_what_lies_beyond_the_length_counts_nothing(
    exported: tuple[Recommender, RecommendExport, ort.InferenceSession],
) -> None:
    _, _, session = exported
    feeds = padded([[IDS[3], IDS[0], IDS[7]]])
    shorter = {**feeds, "length": np.array([2])}
    alone = padded([[IDS[3], IDS[0]]])
    for one, other in zip(session.run(None, shorter), session.run(None, alone), strict=True):
        np.testing.assert_array_equal(one, other)


def test_histories_of_no_width_get_what_most_have(
    exported: tuple[Recommender, RecommendExport, ort.InferenceSession],
) -> None:
    model, export, session = exported
    items, _, because = session.run(None, {"history": np.zeros((2, 0), object), "length": np.zeros(2, np.int64)})
    assert items.tolist() == of_training(model, sparse.csr_matrix((2, 40)), export.answers)[0]
    assert set(because.ravel()) == {""}


def test_another_runtime_ranks_alike(exported: tuple[Recommender, RecommendExport, ort.InferenceSession]) -> None:
    _, export, session = exported
    feeds = padded([IDS[HISTORY[user].indices].tolist() for user in range(20)])
    items, scores, because = map(np.asarray, ReferenceEvaluator(export.model).run(None, feeds))
    wanted, wanted_scores, wanted_because = session.run(None, feeds)
    assert np.asarray(items).tolist() == wanted.tolist()
    assert np.asarray(because).tolist() == wanted_because.tolist()
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6, atol=1e-6)


def test_what_is_not_allowed_is_no_candidate(
    exported: tuple[Recommender, RecommendExport, ort.InferenceSession],
) -> None:
    model, _, session = exported
    generator = np.random.default_rng(3)
    histories = [IDS[HISTORY[user].indices].tolist() for user in range(30)]
    allowed = generator.random((30, 40)) < 0.5
    allowed[3] = False
    exclude = generator.random((30, 1)) < 0.5
    feeds = padded(histories) | {"allowed": allowed, "exclude_owned": exclude, "k": np.array([9])}
    items, scores, because = session.run(None, feeds)
    excluded = ~allowed | ((HISTORY[:30].toarray() > 0) & exclude)
    found, wanted_scores = recommend(model, HISTORY[:30], 9, excluded=sparse.csr_matrix(excluded))
    is_ranked = found >= 0
    if isinstance(model, Reranker):  # it answers its candidates alone; training ranks the rest behind them
        is_ranked &= np.arange(9) < model.signals.candidates
    assert items.tolist() == [[IDS[k] if k >= 0 else "" for k in row] for row in found]
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6, atol=1e-6)
    assert because.shape == (30, 9, 3)
    assert set(items[3]) == {""}
    # One row of each option for all, and a k beyond what the graph ranks.
    feeds = padded(histories) | {"allowed": allowed[:1], "exclude_owned": np.array([[False]]), "k": np.array([99])}
    found, _ = recommend(model, HISTORY[:30], 12, excluded=sparse.csr_matrix(np.repeat(~allowed[:1], 30, axis=0)))
    assert session.run(["items"], feeds)[0].tolist() == [[IDS[k] if k >= 0 else "" for k in row] for row in found]


def test_what_is_bought_again_is_suggested_though_owned() -> None:
    model = EASE(5.0).fit(HISTORY)
    repeatable = np.arange(40) % 4 == 0
    export = export_recommender(model, IDS, 40, repeatable=repeatable)
    session = ort.InferenceSession(export.model.SerializeToString(), providers=["CPUExecutionProvider"])
    histories = [IDS[HISTORY[user].indices].tolist() for user in range(20)]
    items, _, _ = session.run(None, padded(histories))
    for history, row in zip(histories, items, strict=True):
        owned_once = {one for one in history if not repeatable[IDS.tolist().index(one)]}
        assert sorted(one for one in row if one) == sorted(set(IDS) - owned_once)


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("make", [MAKERS["ease"], MAKERS["reranker"]], ids=["ease", "reranker"])
def test_fewer_bits_rank_as_the_model_that_has_their_values(
    make: Callable[[], Recommender], precision: Precision
) -> None:
    model = make().fit(HISTORY)
    whole = len(export_recommender(model, IDS, 12).model.SerializeToString())
    store_at(model, precision)
    export = export_recommender(model, IDS, 12)
    content = export.model.SerializeToString()
    assert whole - len(content) > len(item_models(model)) * 41 * 40 * (4 - BYTES[precision]) - 2_000
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    items, scores, because = session.run(None, padded([IDS[HISTORY[user].indices].tolist() for user in range(120)]))
    wanted, wanted_scores = of_training(model, HISTORY, export.answers)
    assert items.tolist() == wanted
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6, atol=1e-6)
    told = item_models(model)[0].because(HISTORY[0], IDS.tolist().index(items[0, 0]))
    assert [name for name in because[0, 0] if name] == IDS[told].tolist()


def test_int8_is_exact_where_it_is_taken_again() -> None:
    generator = np.random.default_rng(0)
    weights = (generator.normal(size=(30, 30)) * 10.0 ** generator.integers(-6, 3, 30)).astype(np.float32)
    weights[:, 4] = 0
    once = rounded(weights, "int8")
    np.testing.assert_array_equal(rounded(once, "int8"), once)
    largest = np.abs(weights).max(axis=0)
    assert (np.abs(once - weights) <= largest / 127 * 0.51).all()
    assert np.abs(rounded(weights, "float16") - weights).max() <= np.abs(weights).max() * 2.0**-11
    whole, scale = quantised(once)
    np.testing.assert_array_equal(whole.astype(np.float64) * scale.astype(np.float64), once.astype(np.float64))


def test_what_has_no_graph_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="ImplicitALS has no graph yet"):
        export_recommender(ImplicitALS(4, epochs=1).fit(HISTORY), IDS)
    ease = EASE(5.0).fit(HISTORY)
    with pytest.raises(ValueError, match="one text for an id"):
        export_recommender(ease, np.array(["1", 1, *IDS[2:]], object))
    monkeypatch.setattr(recommend_export, "TWO_GB", 4 * 40 * 40 - 1)
    with pytest.raises(ValueError, match="1 matrices of 40 × 40 items pass the 2 GB"):
        export_recommender(ease, IDS)


def test_whole_numbers_are_texts_in_the_graph() -> None:
    export = export_recommender(Popularity().fit(HISTORY), np.arange(40))
    onnx.checker.check_model(export.model)
    assert export.items[:3] == ("0", "1", "2")
    assert export.answers == 40


def test_because_names_what_speaks_most(
    exported: tuple[Recommender, RecommendExport, ort.InferenceSession],
) -> None:
    model, export, session = exported
    every = IDS.tolist()
    histories = [IDS[HISTORY[user].indices].tolist() for user in range(30)]
    histories += [["never seen", histories[0][0], histories[0][0]], []]
    items, _, because = session.run(None, padded(histories))
    assert because.shape == (32, export.answers, 3)
    linear = next(iter(model.signals.models.values())) if isinstance(model, Reranker) else model
    for history, shown, reasons in zip(histories, items, because, strict=True):
        row = sparse.lil_matrix((1, 40))
        row[0, sorted({every.index(item) for item in history if item in every})] = 1
        for item, told in zip(shown, reasons, strict=True):
            wanted = []
            if isinstance(linear, ItemItem) and item:
                wanted = [IDS[k] for k in linear.because(sparse.csr_matrix(row), every.index(item))]
            assert told.tolist() == wanted + [""] * (3 - len(wanted))
