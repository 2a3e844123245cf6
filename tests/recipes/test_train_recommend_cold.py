"""`ludocast train recommend` with attributes: new players and new items are answered, or it is said why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.recipes.test_train_recommend import log
from tests.serve.listening import ask, served

COLUMNS = ["--data", "log.csv", "--user", "player", "--item", "thing", "--model", "ease_weighted"]
PLAYERS, ITEMS = 300, 36


def players() -> pd.DataFrame:
    """A row of each player of the log, and of twenty others: KR are those of even things, DE those of odd ones."""
    number = np.arange(PLAYERS + 20)
    age = np.random.default_rng(0).integers(15, 60, len(number))
    return pd.DataFrame(
        {"player": [f"p{k}" for k in number], "country": np.where(number % 2 == 0, "KR", "DE"), "age": age}
    )


def catalogue() -> pd.DataFrame:
    """Things of the log, and two that nobody has."""
    thing = np.arange(ITEMS + 2)
    words = np.where(thing % 2 == 0, "sword of the east", "gem of the west")
    return pd.DataFrame({"thing": thing, "title": [f"{one} {k}" for k, one in enumerate(words)], "price": thing % 7})


@pytest.fixture(autouse=True)
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log(PLAYERS).to_csv("log.csv", index=False)
    players().to_csv("players.csv", index=False)
    catalogue().to_csv("items.csv", index=False)


def train(*options: str) -> int:
    return main(["train", "recommend", *COLUMNS, "--out", "run", *options])


def test_new_players_and_new_items_are_answered_in_table_bundle_and_service() -> None:
    assert train("--users", "players.csv", "--items", "items.csv", "--item-name", "title") == 0
    document = json.loads(Path("run", "metrics.json").read_text())
    about_players, about_items = document["newcomers"]
    ways = {one["way"]: one for one in about_players["ways"]}
    assert set(ways) == {"popularity", "popularity by segment", "tower of attributes", "tower and segments"}
    assert about_players["ways"][0]["way"] != "popularity"
    assert about_players["ways"][0]["ndcg@10"] > ways["popularity"]["ndcg@10"] + 0.05
    assert about_items["ways"][0]["way"] == "weights of items alike"
    assert "2 new items joined the catalogue" in about_items["sentence"]
    page = Path("run", "report.html").read_text()
    assert "Players without a history" in page
    assert "Items that nobody has yet" in page

    shown = pd.read_parquet("run/suggestions.parquet")
    own = shown[shown["player"] == "p300"].head(8)
    assert own["rank"].tolist() == list(range(1, 9))
    assert (own["thing"] % 2 == 0).all()
    assert (shown["thing"] >= ITEMS).any()

    scorer = Scorer.load("run/bundle")
    assert scorer.manifest.classes[-2:] == ("36", "37")
    asked = [
        {"history": [], "country": country, "age": int(age), "k": 20}
        for country, age in players()[["country", "age"]].tail(20).itertuples(index=False)
    ]
    found = scorer.predict_rows(asked)
    for k in range(20):
        wanted = shown[shown["player"] == f"p{PLAYERS + k}"]
        assert found.labels[k] == [str(one) for one in wanted["thing"]]
        np.testing.assert_allclose(found.probabilities[k], wanted["score"], rtol=1e-5)

    with served("run/bundle") as url:
        _, answer = ask(f"{url}/predict", {"history": [], "age": 31, "country": "KR", "k": 5})
    assert [int(one["item"]) % 2 for one in answer["predictions"][0]["items"]] == [0] * 5
    assert answer["warnings"] == []


@pytest.mark.parametrize(
    "more", [[], ["--weights-precision", "float16"], ["--model", "network", "--epochs", "1", "--draws", "1"]]
)
def test_the_score_table_is_that_of_training(more: list[str]) -> None:
    assert train("--users", "players.csv", "--items", "items.csv", "--new-items", "always", *more) == 0
    options = ["--input", "log.csv", "--users", "players.csv", "--output", "out.parquet"]
    assert main(["score", "--bundle", "run/bundle", *options]) == 0
    keys = ["player", "rank"]
    shown = pd.read_parquet("run/suggestions.parquet").sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(pd.read_parquet("out.parquet").sort_values(keys, ignore_index=True), shown)


def test_suggestions_written_in_parts_are_those_of_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for some in (10_000, 7):
        monkeypatch.setattr("ludocast.recipes.recommend_answers.SOME_USERS", some)
        assert train("--users", "players.csv", "--items", "items.csv", "--overwrite") == 0
        found.append(pd.read_parquet("run/suggestions.parquet"))
    pd.testing.assert_frame_equal(found[0], found[1])
    assert found[0]["player"].nunique() == PLAYERS + 20
    pd.testing.assert_frame_equal(found[0], found[0].sort_values(["player", "rank"], ignore_index=True))


def test_attributes_that_tell_nothing_leave_popularity_and_new_items_may_stay_out() -> None:
    frame = players().assign(country="KR", age=np.random.default_rng(1).permutation(PLAYERS + 20) % 3)
    frame.to_csv("players.csv", index=False)
    assert train("--users", "players.csv", "--items", "items.csv", "--new-items", "never") == 0
    (about,) = json.loads(Path("run", "metrics.json").read_text())["newcomers"]
    gain = about["ways"][0]["validation_ndcg@10"] - min(one["validation_ndcg@10"] for one in about["ways"])
    assert 0 <= gain < 0.1
    assert len(Scorer.load("run/bundle").manifest.classes) == ITEMS
    shown = pd.read_parquet("run/suggestions.parquet")
    assert len(shown[shown["player"] == "p310"]) == 20


def test_a_small_game_keeps_new_items_out_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    frame = log(PLAYERS)
    frame[frame["thing"] < 12].to_csv("log.csv", index=False)
    catalogue().head(14).to_csv("items.csv", index=False)
    assert train("--items", "items.csv", "--item-name", "title") == 0
    assert "new items stay out: 12 items have both attributes and pairs" in capsys.readouterr().out
    assert len(Scorer.load("run/bundle").manifest.classes) == 12
    assert "too few items" in Path("run", "report.html").read_text()
    assert train("--items", "items.csv", "--new-items", "always", "--overwrite") == 2
    said = capsys.readouterr()
    assert "12 items have both attributes and pairs; 20 or more tell of new ones" in said.err
    assert "NDCG" not in said.out  # before anything is trained
    catalogue().head(14).assign(title=[f"name{k}" for k in range(14)], price=1).to_csv("items.csv", index=False)
    assert train("--items", "items.csv", "--overwrite") == 0


@pytest.mark.parametrize(
    ("table", "options", "sentence"),
    [
        (players().drop(columns="player"), ["--users"], 'needs the column "player"'),
        (pd.concat([players(), players().head(1)]), ["--users"], '"player" = "p0" twice'),
        (players().assign(player="x" + players()["player"]), ["--users"], "no user of the pairs is in it"),
        (players().head(49), ["--users"], "49 users have both attributes and pairs"),
        (players().assign(country="KR", age=1), ["--users"], "no column that tells one from another"),
        (players().rename(columns={"age": "k"}), ["--users"], 'a request has a "k" of its own'),
        (catalogue().drop(columns="thing"), ["--items"], 'needs the columns "thing"'),
        (catalogue().assign(thing=catalogue()["thing"] + 100), ["--items"], "no item of the pairs is in it"),
        (catalogue()[["thing"]].assign(price=1), ["--items"], "no column that tells one item from another"),
        (pd.concat([catalogue(), catalogue().head(1)]), ["--items"], '"thing" = "0" twice'),
    ],
)
def test_tables_that_cannot_be_used(
    table: pd.DataFrame, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table.to_csv("table.csv", index=False)
    assert train(*options, "table.csv") == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not Path("run").exists()
    assert not Path("run.partial").exists()
