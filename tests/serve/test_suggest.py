"""Options of suggestions in a process, over HTTP and on the command line, against loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from ludocast.models.recommend.item_item import Popularity
from ludocast.models.recommend.item_vectors import item_vectors
from ludocast.recipes.recommend_bundle import write_recommend_bundle
from ludocast.serve.bundle import write_bundle
from ludocast.serve.catalogue import Catalogue
from ludocast.serve.diversity import diverse_order
from ludocast.serve.manifest_sequences import PairColumns
from ludocast.serve.scorer import Scorer
from ludocast.serve.suggest_options import SuggestOptions

from ludocast.__main__ import main
from tests.models.recommend.made import random_history
from tests.serve.listening import ask, served
from tests.serve.made_shop import CATEGORIES, HISTORY, IDS, write_shop

OWN = IDS[[3, 8, 12]].tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("suggest") / "bundle")


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return Scorer.load(folder)


def asked(scorer: Scorer, **options: Any) -> list[str]:
    found: list[str] = scorer.predict_rows([{"history": OWN, **options}]).labels[0]
    return found


def test_filters_leave_the_order_of_what_is_left(scorer: Scorer) -> None:
    every = asked(scorer, k=40)
    assert len(every) == 37
    assert asked(scorer) == every[:20]
    assert asked(scorer, k=5, exclude=every[:3]) == every[3:8]
    assert asked(scorer, only=[every[9], every[2], OWN[0]]) == [every[2], every[9]]
    assert asked(scorer, only=[]) == []
    assert asked(scorer, k=2**63) == every
    told = scorer.predict_rows([{"history": IDS.tolist()}, {"history": [], "k": 99}]).warnings
    assert told == ("1 history has no item left to suggest",)  # all 40 were ranked for the other one
    swords = [one for one in every if CATEGORIES[IDS.tolist().index(one)] == "swords"]
    assert asked(scorer, k=40, category="swords") == swords
    assert asked(scorer, k=40, category=["swords", "gems"], exclude=swords[:1])[0] != swords[0]
    assert set(asked(scorer, k=40, exclude_owned=False)) == set(IDS)
    assert asked(scorer, k=None, exclude=None, only=None, category=None, diversity=None) == every[:20]


def test_each_record_has_options_of_its_own(scorer: Scorer) -> None:
    rows: list[dict[str, Any]] = [{"history": OWN[: n % 4], "k": n + 1} for n in range(10)]
    rows[2]["exclude"], rows[5]["exclude_owned"], rows[7]["diversity"] = [IDS[0]], False, 0.5
    together = scorer.predict_rows(rows).labels.tolist()
    assert together == [scorer.predict_rows([row]).labels[0] for row in rows]
    assert [len(row) for row in together] == list(range(1, 11))


def test_what_is_not_known_is_told(scorer: Scorer) -> None:
    found = scorer.predict_rows([{"history": [], "exclude": ["gone", IDS[0]], "only": ["i01", "newer"]}])
    assert found.labels[0] == ["i01"]
    assert found.warnings == (
        '"only": ignored what the catalogue has not ("newer"): 1 item',
        '"exclude": ignored what the catalogue has not ("gone"): 1 item',
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"k": 0}, 'row 1, "k": expected a whole number from 1 on, got 0'),
        ({"k": "5"}, "got '5'"),
        ({"k": True}, "got True"),
        ({"exclude_owned": "no"}, '"exclude_owned": expected true or false'),
        ({"exclude": 1.5}, '"exclude": expected a list, got float'),
        ({"only": ["i01", None]}, '"only": expected texts or whole numbers, got null'),
        ({"category": ["shields"]}, '"category": no item is of "shields"; there are gems, swords'),
        ({"diversity": 1.5}, '"diversity": expected a number from 0 to 1, got 1.5'),
        ({"diversity": float("nan")}, "got nan"),
    ],
)
def test_options_that_do_not_fit_are_refused(scorer: Scorer, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^row 1, ") as error:
        scorer.predict_rows([{"history": OWN, **options}])
    assert sentence in str(error.value)


def test_more_than_is_ranked_is_told(tmp_path: Path) -> None:
    history = random_history(60, 120)
    ids = np.array([str(k) for k in range(120)], object)
    write_recommend_bundle(
        tmp_path / "bundle", "shop", Popularity().fit(history), ids, history.toarray().sum(0),
        PairColumns("player", "thing"), {}, "",
    )  # fmt: skip
    found = Scorer.load(tmp_path / "bundle").predict_rows([{"history": [], "k": 110}, {"history": [], "k": 100}])
    assert [len(row) for row in found.labels] == [100, 100]
    assert found.warnings == ("1 history asked for more items than the 100 that are ranked",)


def test_a_bundle_of_before_options_has_k_alone(scorer: Scorer, tmp_path: Path) -> None:
    """Its inputs were history and length alone."""
    model = onnx.load(scorer.bundle.folder / "model.onnx")
    kept = [one for one in model.graph.input if one.name in ("history", "length")]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    manifest = scorer.manifest
    write_bundle(
        tmp_path / "old", model.SerializeToString(), name="old", inputs=manifest.inputs, classes=manifest.classes,
        task="items", sequence=manifest.sequence, pairs=manifest.pairs,
    )  # fmt: skip
    old = Scorer.load(tmp_path / "old")
    assert asked(old, k=4) == asked(scorer, k=4)
    assert asked(old, k=40) == asked(scorer, k=40)
    options: list[dict[str, Any]] = [{"exclude": ["i01"]}, {"only": []}, {"exclude_owned": False}]
    for option in options:
        with pytest.raises(ValueError, match=r"row 1, options need a bundle that was written since"):
            asked(old, **option)
    with pytest.raises(ValueError, match=r'row 1, "diversity": this bundle knows no likeness of items'):
        asked(old, diversity=0.5)
    with pytest.raises(ValueError, match=r"since there are any; train it again"):
        asked(old, category=["gems"])


def test_diverse_suggestions_equal_a_loop(scorer: Scorer) -> None:
    every = scorer.predict_rows([{"history": OWN, "k": 40}])
    items, scores = every.labels[0], every.probabilities[0].astype(np.float64)
    vector = Catalogue.load(scorer.bundle.folder, scorer.manifest.classes).vectors
    assert vector is not None
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    for diversity in (0.2, 0.7, 1.0):
        taken: list[int] = []
        while len(taken) < 8:
            gains = []
            for place in range(len(items)):
                likeness = [
                    vector[IDS.tolist().index(items[place])] @ vector[IDS.tolist().index(items[t])] for t in taken
                ]
                gains.append((1 - diversity) * relevance[place] - diversity * max([0.0, *likeness]))
            taken.append(next(p for p in sorted(range(len(items)), key=lambda p: -gains[p]) if p not in taken))
        assert asked(scorer, k=8, diversity=diversity) == [items[place] for place in taken]
    assert asked(scorer, k=8, diversity=0) == items[:8]


def test_diversity_of_lists_that_end_early() -> None:
    scores = np.array([[2.0, 1.0, -np.inf], [-np.inf] * 3, [1.0, 1.0, 1.0]])
    vectors = np.array([[[1.0, 0], [1, 0], [1, 0]]] * 2 + [[[1.0, 0], [1, 0], [0, 1]]])
    order = diverse_order(scores, vectors, np.isfinite(scores), 0.5, 3)
    assert order.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 1]]


def test_vectors_tell_who_has_the_same_users() -> None:
    whole = item_vectors(HISTORY, 40)
    dense = HISTORY.toarray()
    length = np.linalg.norm(dense, axis=0)
    np.testing.assert_allclose(whole @ whole.T, dense.T @ dense / np.outer(length, length), atol=1e-5)


def test_over_http_and_by_command_line(
    scorer: Scorer, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = asked(scorer, k=40)

    with served(scorer.bundle.folder) as url:
        body = [{"history": OWN, "k": 3, "exclude": every[:2], "category": "gems"}, {"history": OWN, "k": 2}]
        _, answer = ask(f"{url}/predict", body)
        _, refused = ask(f"{url}/predict", {"history": OWN, "category": 7})
        _, described = ask(f"{url}/openapi.json")
    gems = [one for one in every[2:] if CATEGORIES[IDS.tolist().index(one)] == "gems"]
    assert [one["item"] for one in answer["predictions"][0]["items"]] == gems[:3]
    assert [one["item"] for one in answer["predictions"][1]["items"]] == every[:2]
    assert answer["warnings"] == []
    assert 'no item is of "7"' in refused["error"]
    assert {"exclude", "only", "category", "diversity", "exclude_owned"} <= set(
        described["components"]["schemas"]["Record"]["properties"]
    )
    table = tmp_path / "pairs.csv"
    pd.DataFrame({"player": ["a"] * 3, "thing": OWN}).to_csv(table, index=False)
    sold_out = tmp_path / "sold_out.txt"
    sold_out.write_text(f"{every[0]}\n\n{every[1]}\ngone\n")
    words = ["score", "--bundle", str(folder), "--input", str(table), "--output"]
    out = tmp_path / "out.csv"
    assert main([*words, str(out), "--k", "3", "--exclude", str(sold_out), "--category", "gems"]) == 0
    assert pd.read_csv(out)["thing"].tolist() == gems[:3]
    assert 'note: "exclude": ignored what the catalogue has not ("gone"): 1 item' in capsys.readouterr().out
    assert main([*words, str(out), "--overwrite", "--exclude-owned", "false", "--k", "40", "--diversity", "0.3"]) == 0
    assert set(pd.read_csv(out)["thing"]) == set(IDS)
    assert main([*words, str(out), "--overwrite", "--diversity", "2"]) == 2
    assert main([*words, str(out), "--overwrite", "--only", f"{every[4]},{every[2]}"]) == 0
    assert pd.read_csv(out)["thing"].tolist() == [every[2], every[4]]


def test_options_of_columns_are_those_of_records(scorer: Scorer) -> None:
    options = SuggestOptions(k=4, exclude=("i01",), diversity=0.4)
    found = scorer.predict_columns({"history": [OWN, []]}, options=options)
    more = {"k": 4, "exclude": ["i01"], "diversity": 0.4}
    wanted = scorer.predict_rows([{"history": OWN, **more}, {"history": [], **more}])
    assert found.labels.tolist() == wanted.labels.tolist()
