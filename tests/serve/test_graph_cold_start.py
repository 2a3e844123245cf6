"""Attributes in the graph of a recommender answer as training does; without any the answer is popularity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
from ludocast.datamodules.attributes import attributes_of_frame, user_schema
from ludocast.datamodules.infer import RawColumns
from ludocast.models.recommend.cold_start import ColdData, ColdStart, ColdTried, fit_cold
from ludocast.models.recommend.item_item import EASE, CosineNeighbours, Popularity
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import Recommender, top_items
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.recommend.signals import Signals
from ludocast.models.recommend.tower_network import TowerSettings
from ludocast.models.trainer import TrainerSettings
from ludocast.recipes.recommend_bundle import write_recommend_bundle
from ludocast.serve import score_pairs
from ludocast.serve.graph_cold_start import attribute_inputs
from ludocast.serve.manifest_sequences import PairColumns
from ludocast.serve.openapi import openapi
from ludocast.serve.recommend_export import export_recommender
from ludocast.serve.scorer import Scorer
from onnx.reference import ReferenceEvaluator

from ludocast.__main__ import main
from tests.models.recommend.made import random_history

USERS, ITEMS = 120, 40
HISTORY = random_history(USERS, ITEMS)
IDS = np.array([f"item {k}" for k in range(ITEMS)], object)
SETTINGS = TowerSettings(width=4, hidden=8, epochs=3, batch=16, learning_rate=0.02)


def players() -> pd.DataFrame:
    """Attributes of all kinds, gaps among them; the country says which taste a player has."""
    generator = np.random.default_rng(0)
    parity = np.arange(USERS) % 2
    frame = pd.DataFrame(
        {
            "player": np.arange(USERS),
            "country": np.where(parity == 0, "KR", "DE"),
            "age": generator.integers(15, 60, USERS).astype(float),
            "spent": generator.exponential(3, USERS),
            "vip": generator.random(USERS) < 0.3,
            "since": pd.Timestamp("2024-01-01") + pd.to_timedelta(generator.integers(0, 9_000, USERS), unit="h"),
        }
    )
    for column in ("country", "age", "spent"):
        frame.loc[generator.random(USERS) < 0.1, column] = None
    return frame


SCHEMA, RAW, _ = user_schema(attributes_of_frame(players(), "player"))


def cold_of(kind: str) -> ColdStart:
    segments, epochs = None if kind == "tower" else (6, 20.0), None if kind == "segments" else 3
    chosen = ColdTried(kind, "", 0.0, segments, epochs, 0.5)
    found = fit_cold(chosen, ColdData(SCHEMA, RAW, HISTORY), SETTINGS, TrainerSettings())
    assert found is not None
    return found


def asked() -> RawColumns:
    """The training players, then strange ones: nothing told, nothing known, out of range, and one attribute alone."""
    strange: RawColumns = {
        "country": np.array(["", "never seen", "KR", "DE", ""], object),
        "age": np.array([np.nan, 1e9, np.nan, -5, 30], np.float32),
        "spent": np.array([np.nan, -1e9, np.nan, 0, np.nan], np.float32),
        "vip": np.array(["", "", "", "true", ""], object),
        "since": np.array([np.nan, 4e9, np.nan, 0, np.nan]),
    }
    return {name: np.concatenate([RAW[name], strange[name]]) for name in RAW}


def models() -> dict[str, Recommender]:
    signals = Signals({"ease": EASE(5.0, 0.5), "cosine": CosineNeighbours()}, candidates=15)
    return {
        "popularity": Popularity(), "ease": EASE(5.0, 0.5), "reranker": Reranker(signals, RerankSettings(epochs=2))
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["segments", "tower", "both"])
@pytest.mark.parametrize("name", ["popularity", "ease", "reranker"])
def test_new_players_are_ranked_as_training_does(kind: str, name: str) -> None:
    cold, model = cold_of(kind), models()[name].fit(HISTORY)
    export = export_recommender(model, IDS, 12, cold=cold)
    raw = asked()
    rows = len(raw["country"])
    feeds: dict[str, Any] = {item.tensor: raw[item.column][:, None] for item in attribute_inputs(cold.columns)}
    feeds |= {"history": np.full((rows, 1), "unknown", object), "length": np.ones(rows, np.int64)}
    session = ort.InferenceSession(export.model.SerializeToString(), providers=["CPUExecutionProvider"])
    items, scores, _ = session.run(None, feeds)
    wanted, wanted_scores = top_items(cold.scores(raw), 12)
    assert items.tolist() == IDS[wanted].tolist()
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6, atol=1e-6)
    popular, _ = top_items(owners(HISTORY)[None], 12)
    assert items[USERS].tolist() == IDS[popular[0]].tolist()
    if name == "ease":
        again = ReferenceEvaluator(export.model).run(None, {key: value[-8:] for key, value in feeds.items()})
        assert isinstance(again, list)
        assert np.asarray(again[0]).tolist() == items[-8:].tolist()


def test_attributes_change_nothing_where_there_is_a_history() -> None:
    model = EASE(5.0).fit(HISTORY)
    plain, cold = export_recommender(model, IDS, 12), export_recommender(model, IDS, 12, cold=cold_of("tower"))
    feeds = {"history": IDS[:20, None], "length": np.ones(20, np.int64)}
    told = {item.tensor: RAW[item.column][:20].reshape(-1, 1) for item in attribute_inputs(cold_of("tower").columns)}
    found = [
        ort.InferenceSession(export.model.SerializeToString()).run(None, fed)
        for export, fed in ((plain, feeds), (cold, feeds | told))
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = tmp_path_factory.mktemp("cold") / "bundle"
    model = EASE(5.0, 0.5).fit(HISTORY)
    pairs = PairColumns("player", "thing")
    write_recommend_bundle(folder, "game", model, IDS, owners(HISTORY), pairs, {}, "0" * 64, cold=cold_of("tower"))
    return Scorer.load(folder)


def test_records_may_have_some_attributes_or_none(scorer: Scorer) -> None:
    some = scorer.predict_rows([{"history": [], "age": 31, "country": "KR", "k": 5}, {"history": [], "k": 5}])
    assert not some.warnings
    raw = {**cold_of("tower").columns.blank(), "age": np.array([31], np.float32), "country": np.array(["KR"], object)}
    wanted, _ = top_items(cold_of("tower").scores(raw), 5)
    assert some.labels[0] == IDS[wanted[0]].tolist()
    popular, _ = top_items(owners(HISTORY)[None], 5)
    assert some.labels[1] == IDS[popular[0]].tolist()
    columns = scorer.predict_columns({"history": [[], []], "country": ["KR", None]})
    assert columns.labels[1][:5] == IDS[popular[0]].tolist()


def test_what_does_not_fit_is_told_by_row_and_column(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match='row 2, column "age"'):
        scorer.predict_rows([{"history": []}, {"history": [], "age": "old"}])
    with pytest.raises(ValueError, match='column "history" is absent'):
        scorer.predict_rows([{"age": 31}])


def test_the_service_describes_attributes_as_optional(scorer: Scorer) -> None:
    record = openapi([scorer.manifest])["components"]["schemas"]["Record"]
    assert record["required"] == ["history"]
    assert {"age", "country", "since", "vip", "spent"} <= set(record["properties"])


def scored(scorer: Scorer, *options: str) -> pd.DataFrame:
    assert (
        main(["score", "--bundle", str(scorer.bundle.folder), "--output", "out.parquet", "--overwrite", *options]) == 0
    )
    return pd.read_parquet("out.parquet")


def ranked_of(found: pd.DataFrame, player: int) -> list[str]:
    own = found[found["player"] == player]
    assert own["rank"].tolist() == list(range(1, len(own) + 1))
    return [str(one) for one in own["thing"]]


def test_score_answers_players_of_both_tables(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    users, items = HISTORY[:30].nonzero()
    pd.DataFrame({"player": users, "thing": IDS[items]}).to_parquet("pairs.parquet")
    players().iloc[20:60].to_parquet("players.parquet")
    whole = scored(scorer, "--input", "pairs.parquet", "--users", "players.parquet", "--k", "7")
    assert sorted(whole["player"].unique()) == list(range(60))
    monkeypatch.setattr(score_pairs, "PART_BYTES", 500)
    parted = scored(scorer, "--input", "pairs.parquet", "--users", "players.parquet", "--k", "7")
    assert [ranked_of(parted, one) for one in range(60)] == [ranked_of(whole, one) for one in range(60)]
    wanted, _ = top_items(cold_of("tower").scores(RAW), 7)
    assert ranked_of(whole, 45) == IDS[wanted[45]].tolist()
    pairs_alone = scored(scorer, "--input", "pairs.parquet", "--k", "7")
    assert [ranked_of(pairs_alone, one) for one in range(30)] == [ranked_of(whole, one) for one in range(30)]
    players_alone = scored(scorer, "--input", "players.parquet", "--k", "7")
    assert sorted(players_alone["player"].unique()) == list(range(20, 60))
    assert ranked_of(players_alone, 25) == IDS[wanted[25]].tolist()


def test_score_refuses_what_does_not_fit(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"player": [1, 2], "thing": ["item 1", "item 2"]}).to_parquet("pairs.parquet")
    players().iloc[[3, 4, 3]].to_csv("twice.csv", index=False)
    players().iloc[[3]].assign(player="x").to_csv("text.csv", index=False)
    pd.DataFrame({"who": [1], "age": [3]}).to_csv("other.csv", index=False)
    for table, sentence in (
        ("twice.csv", '"player" = "3" twice'),
        ("text.csv", 'column "player" is int64 in the table of pairs'),
        ("other.csv", 'needs the columns "player" and one of country'),
    ):
        options = ["--input", "pairs.parquet", "--users", table, "--output", "o.csv"]
        assert main(["score", "--bundle", str(scorer.bundle.folder), *options]) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert "Traceback" not in said
        assert not Path("o.csv").exists()
