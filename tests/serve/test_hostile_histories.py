"""Histories as they should not be, asked of a bundle: the ranking is that of training on what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ludocast.models.recommend.item_item import EASE, CosineNeighbours
from ludocast.models.recommend.ranking import Recommender, recommend
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.recommend.signals import Signals
from ludocast.recipes.recommend_bundle import LONGEST, write_recommend_bundle
from ludocast.serve.manifest_sequences import PairColumns
from ludocast.serve.scorer import Scorer
from scipy import sparse

from tests.models.recommend.made import random_history
from tests.serve.listening import ask, served

HISTORY = random_history(120, 40)
ODD = ["line\nbreak", "새 검", "\u202eRTL", "e\u0301", "🐉", 'a"b', "a,b", " lead", "007", "x" * 3000]
IDS = np.array([*ODD, *(str(k) for k in range(10, 40))], object)


@pytest.fixture(scope="module", params=["ease", "reranker"])
def recommending(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recommender, Scorer]:
    signals = Signals({"ease": EASE(5.0, 0.5), "cosine": CosineNeighbours()}, candidates=15)
    model: Recommender = EASE(5.0) if request.param == "ease" else Reranker(signals, RerankSettings(epochs=2))
    model.fit(HISTORY)
    folder = tmp_path_factory.mktemp("hostile") / "bundle"
    write_recommend_bundle(folder, "shop", model, IDS, HISTORY.toarray().sum(0), PairColumns("player", "thing"), {}, "")
    return model, Scorer.load(folder)


HOSTILE: list[tuple[list[Any], list[int], str | None]] = [
    ([], [], None),
    (["never seen"], [], 'ignored what the catalogue has not ("never seen"): 1 item'),
    (["12", "12", "12", "🐉"], [4, 12], None),
    ([12, "13", 14.0], [12, 13, 14], None),
    ([None, "12", float("nan"), ""], [12], None),
    (["7", "0007", "07"], [], 'ignored what the catalogue has not ("7", "0007", "07"): 3 items'),
    (ODD, list(range(10)), None),
    (IDS.tolist(), list(range(40)), "1 history has no item left to suggest"),
    (IDS[:-2].tolist()[::-1], list(range(38)), None),
    (["é"], [], 'ignored what the catalogue has not ("é"): 1 item'),  # another spelling of e\u0301
    (["🐉", *(f"gone {k}" for k in range(100_000)), "12"], [4, 12], "100000 items"),
    ([*IDS[:20].tolist()] * 5_000, list(range(20)), None),
]


@pytest.mark.parametrize(("history", "meant", "warning"), HOSTILE)
def test_hostile_histories(
    recommending: tuple[Recommender, Scorer], history: list[Any], meant: list[int], warning: str | None
) -> None:
    model, scorer = recommending
    found = scorer.predict_rows([{"history": history, "k": 12}])
    row = sparse.csr_matrix((np.ones(len(meant)), ([0] * len(meant), meant)), shape=(1, 40))
    items, scores = recommend(model, row, 12)
    wanted = [IDS[item] for item in items[0] if item >= 0]
    assert found.labels[0] == wanted
    np.testing.assert_allclose(found.probabilities[0], scores[0][: len(wanted)], rtol=1e-5, atol=1e-5)
    told = " ".join(found.warnings).replace(",", "" if warning == "100000 items" else ",")
    assert (warning in told) if warning is not None else not found.warnings


def test_all_of_them_together_are_answered_as_each_alone(recommending: tuple[Recommender, Scorer]) -> None:
    _, scorer = recommending
    rows = [{"history": history, "k": 12} for history, _, _ in HOSTILE]
    assert scorer.predict_rows(rows).labels.tolist() == [scorer.predict_rows([row]).labels[0] for row in rows]


def test_a_request_of_a_hundred_thousand_items_is_answered(recommending: tuple[Recommender, Scorer]) -> None:
    _, scorer = recommending
    assert LONGEST < 100_000

    with served(scorer.bundle.folder) as url:
        status, answer = ask(f"{url}/predict", {"history": [IDS[k % 39] for k in range(100_000)]})
    assert status == 200
    assert [one["item"] for one in answer["predictions"][0]["items"]] == ["39"]


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ("not a list", "expected a list, in text a JSON array"),
        (7, "expected a list, got int"),
        ([["12"]], 'column "history": step 1: '),
        ([{"item": "12"}], 'column "history": step 1: '),
        ([True], None),
    ],
)
def test_what_is_no_history_is_refused(
    recommending: tuple[Recommender, Scorer], history: Any, sentence: str | None
) -> None:
    _, scorer = recommending
    if sentence is None:  # a flag is a category like any text, and no item here
        assert "catalogue has not" in scorer.predict_rows([{"history": history}]).warnings[0]
        return
    with pytest.raises(ValueError, match=r"^row 1, ") as error:
        scorer.predict_rows([{"history": history}])
    assert sentence in str(error.value)
    with pytest.raises(ValueError, match=r"^row 1: column .history. is absent"):
        scorer.predict_rows([{"k": 3}])


def test_scored_from_a_file_with_odd_ids(
    recommending: tuple[Recommender, Scorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    from ludocast.__main__ import main

    _, scorer = recommending
    monkeypatch.chdir(tmp_path)
    users = ["a\nb", "한", "a\nb", "한", "c,d"]
    table = pd.DataFrame({"player": users, "thing": ["line\nbreak", "🐉", 'a"b', "x" * 3000, "new"]})
    table.to_csv("pairs.csv", index=False)
    assert main(["score", "--bundle", str(scorer.bundle.folder), "--input", "pairs.csv", "--output", "o.csv"]) == 0
    found = pd.read_csv("o.csv", keep_default_na=False, dtype={"thing": str})
    for user, history in table.groupby("player")["thing"]:
        wanted = scorer.predict_rows([{"history": history.tolist()}]).labels[0]
        assert found[found["player"] == user]["thing"].tolist() == wanted
