"""New players: what attributes tell is found, what they do not is left; nothing is learnt from who is asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.attributes import attributes_of_frame, fit_user_columns, of_rows, user_schema
from ludocast.models.recommend import user_tower
from ludocast.models.recommend.cold_start import ColdData, ColdTried, fit_cold, try_cold, widened
from ludocast.models.recommend.segments import SegmentPopularity, _tree_of
from ludocast.models.recommend.tower_network import TowerSettings
from ludocast.models.recommend.user_tower import TowerScores
from ludocast.models.trainer import TrainerSettings
from scipy import sparse
from sklearn.tree import DecisionTreeRegressor

QUICK = TowerSettings(width=8, hidden=16, epochs=6, batch=32, learning_rate=1e-2)
TRAINER = TrainerSettings()


def made(users: int = 400, items: int = 24, seed: int = 0, told: bool = True) -> ColdData:
    """Players of KR like even items, those of DE odd ones, low numbers more; without `told` the country says nothing."""
    generator = np.random.default_rng(seed)
    taste = generator.integers(0, 2, users)
    shown = taste if told else generator.integers(0, 2, users)
    frame = pd.DataFrame({"player": np.arange(users), "country": np.where(shown == 0, "KR", "DE"),
                          "age": generator.normal(30, 8, users).round(1)})  # fmt: skip
    logits = -np.arange(items) / 8 + np.where(taste[:, None] == np.arange(items) % 2, 3.0, 0.0)
    drawn = np.argsort(-(logits + generator.gumbel(size=logits.shape)), axis=1)[:, :4]
    has = np.zeros((users, items))
    np.put_along_axis(has, drawn, 1, 1)
    schema, raw, _ = user_schema(attributes_of_frame(frame, "player"))
    return ColdData(schema, raw, sparse.csr_matrix(has))


def asked_of(country: str, age: float) -> dict[str, np.ndarray]:
    return {"country": np.array([country], object), "age": np.array([age], np.float32)}


WAYS = (
    ColdTried("segments", "", 0, (4, 20.0)),
    ColdTried("tower", "", 0, epochs=6),
    ColdTried("both", "", 0, (4, 20.0), 6, 0.5),
)


@pytest.mark.parametrize("chosen", WAYS, ids=[one.kind for one in WAYS])
def test_tastes_of_countries_are_learnt_and_nothing_told_is_popularity(chosen: ColdTried) -> None:
    data = made()
    model = fit_cold(chosen, data, QUICK, TRAINER)
    assert model is not None
    for parity, country in enumerate(("KR", "DE")):
        best = np.argsort(-model.scores(asked_of(country, 30.0))[0])[:5]
        assert (best % 2 == parity).all()
    np.testing.assert_array_equal(model.scores(asked_of("", np.nan))[0], data.history.toarray().sum(0))
    assert np.isfinite(model.scores(asked_of("never seen", 1e9))).all()


def test_the_choice_is_measured_on_players_that_took_part_in_nothing() -> None:
    tried, model = try_cold(made(), QUICK, TRAINER)
    assert model is not None
    assert [one.kind for one in tried][-1] == "popularity"
    assert tried[0].validation > tried[-1].validation + 0.1
    test = {one.kind: one.test["ndcg@10"].value for one in tried if one.test is not None}
    assert min(test["tower"], test["segments"]) > test["popularity"] + 0.1


def test_pairs_of_the_test_players_change_no_choice() -> None:
    data = made(seed=3)
    users = data.history.shape[0]
    test = np.random.default_rng(QUICK.seed).permutation(users)[: users // 5]
    other = data.history.toarray()
    other[test] = other[test][:, ::-1]
    turned = ColdData(data.schema, data.raw, sparse.csr_matrix(other))
    first, second = try_cold(data, QUICK, TRAINER)[0], try_cold(turned, QUICK, TRAINER)[0]
    assert [(one.kind, one.settings, one.validation) for one in first] == [
        (one.kind, one.settings, one.validation) for one in second
    ]
    assert first[0].test != second[0].test


def test_too_few_players_are_refused() -> None:
    with pytest.raises(ValueError, match="40 players have both attributes and pairs; 50 or more"):
        try_cold(made(40), QUICK, TRAINER)


def test_segments_are_those_of_the_grown_tree_and_shares_are_smoothed() -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 6, (300, 3)).astype(np.float32) / 3
    y = (x[:, :1] > 1) + generator.random((300, 4))
    grower = DecisionTreeRegressor(max_leaf_nodes=9, random_state=0).fit(x, y)
    tree = _tree_of(grower)
    leaves = np.unique(grower.apply(x), return_inverse=True)[1]
    assert tree.segments(x).tolist() == leaves.tolist()

    history = sparse.csr_matrix(np.array([[1, 0], [1, 0], [0, 1], [0, 1]] * 15, float))
    split = np.array([[0], [0], [1], [1]] * 15, np.float32)
    scores = SegmentPopularity(2, smoothing=10.0).fit(split, history).scores(split[[0, 2]])
    # 30 players of a segment have it, and 10 are added of whom half have: (30 + 5) / 40 and 5 / 40.
    np.testing.assert_allclose(scores, [[0.875, 0.125], [0.125, 0.875]])


def test_equal_seeds_give_equal_towers() -> None:
    data = made(100)
    columns = fit_user_columns(data.schema, data.raw, np.arange(100))
    vectors, blank = columns.vectors(data.raw), columns.vectors(columns.blank())[0]
    found = [TowerScores(QUICK, 2).fit(vectors, data.history, blank, columns.groups).scores(vectors) for _ in range(2)]
    np.testing.assert_array_equal(found[0], found[1])
    rows = of_rows(data.raw, np.array([4]))
    np.testing.assert_allclose(found[0][4], TowerScores(QUICK, 2).fit(
        vectors, data.history, blank, columns.groups).scores(columns.vectors(rows))[0], rtol=1e-12)  # fmt: skip


def test_of_a_long_catalogue_the_rare_items_keep_their_popularity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_tower, "MOST_ITEMS", 10)
    data = made(200)
    columns = fit_user_columns(data.schema, data.raw, np.arange(200))
    vectors, blank = columns.vectors(data.raw), columns.vectors(columns.blank())[0]
    scores = TowerScores(QUICK, 3).fit(vectors, data.history, blank, columns.groups).scores(vectors)
    popularity = data.history.toarray().sum(0)
    rare = np.argsort(-popularity, kind="stable")[10:]
    wanted = np.log((popularity + 1) / (popularity + 1).sum())
    np.testing.assert_allclose(scores[:, rare], np.tile(wanted[rare], (200, 1)), rtol=1e-5)
    common = np.setdiff1d(np.arange(24), rare)
    assert (scores[:, common].std(axis=0) > 0.01).all()


@pytest.mark.parametrize("chosen", WAYS, ids=[one.kind for one in WAYS])
def test_a_twin_of_an_item_is_scored_as_the_item_and_a_scale_lowers_it(chosen: ColdTried) -> None:
    data = made()
    model = fit_cold(chosen, data, QUICK, TRAINER)
    assert model is not None
    twin = np.eye(24)[:, [5]]
    raw = asked_of("DE", 30.0)
    scores = widened(model, twin, 1.0).scores(raw)[0]
    np.testing.assert_allclose(scores[:24], model.scores(raw)[0])
    np.testing.assert_allclose(scores[24], scores[5], rtol=1e-6)
    halved = widened(model, twin, 0.5).scores(raw)[0]
    shift = 0.5 * scores[24] if chosen.kind == "segments" else scores[24] + np.log(0.5)
    np.testing.assert_allclose(halved[24], shift, rtol=1e-6)
