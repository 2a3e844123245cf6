"""`ludocast train recommend` through the command line: what it leaves, what serves it, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ludocast.serve.score_pairs import reads_pairs
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.serve.listening import ask, served

COLUMNS = ["--data", "log.csv", "--user", "player", "--item", "thing"]


def log(players: int = 90, seed: int = 0) -> pd.DataFrame:
    """Players of two tastes; ids of items are whole numbers."""
    generator = np.random.default_rng(seed)
    rows = []
    for player in range(players):
        own = generator.choice(np.arange(player % 2, 36, 2), int(generator.integers(2, 9)), replace=False)
        hours = generator.integers(0, 4_000, len(own))
        rows += [(f"p{player}", int(thing), 1.0, hour) for thing, hour in zip(own, hours, strict=True)]
    frame = pd.DataFrame(rows, columns=["player", "thing", "hours", "at"])
    return frame.assign(at=pd.Timestamp("2024-01-01") + pd.to_timedelta(frame["at"], unit="h"))


@pytest.fixture(autouse=True)
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    log().to_csv("log.csv", index=False)
    return tmp_path


def train(*options: str) -> int:
    return main(["train", "recommend", *COLUMNS, "--out", "run", *options])


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("run", "metrics.json").read_text())
    return found


def test_auto_leaves_a_leaderboard_a_report_and_a_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--epochs", "2") == 0
    assert not Path("run.partial").exists()
    found = document()
    board = found["leaderboard"]
    assert len(board) == 9
    best = max(one["validation_ndcg@10"] for one in board if one["model"] != "implicit ALS")
    assert board[0]["validation_ndcg@10"] == best
    assert found["metrics"]["ndcg@10"]["value"] == board[0]["ndcg@10"]
    assert "20% of each user's items hidden" in found["protocol"][0]
    page = Path("run", "report.html").read_text()
    assert all(one["model"] in page for one in board)
    assert "<script" not in page
    assert "within chance" in page or "beyond chance" in page
    assert ">+0." not in page  # levels have no sign
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["network", "ease_weighted", "popularity"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_score_answers_every_user_as_training_does(model: str, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--model", model, "--epochs", "2") == 0
    table = pd.concat([log().sample(frac=1, random_state=0), pd.DataFrame({"player": ["new"], "thing": [999]})])
    table.to_parquet("asked.parquet") if suffix == "parquet" else table.to_csv("asked.csv", index=False)
    words = ["score", "--bundle", "run/bundle", "--input", f"asked.{suffix}", "--output", f"found.{suffix}", "--k", "7"]
    assert main(words) == 0
    assert "note: ignored what the catalogue has not: 1 item\n" in capsys.readouterr().out
    found = pd.read_parquet("found.parquet") if suffix == "parquet" else pd.read_csv("found.csv")
    assert list(found.columns) == ["player", "thing", "rank", "score"]
    assert found["thing"].dtype.kind == "i"
    wanted = pd.read_parquet("run/suggestions.parquet").query("rank <= 7")
    if suffix == "parquet":
        assert found.dtypes.to_dict() == wanted.dtypes.to_dict()
    both = found.merge(wanted, on=["player", "thing", "rank"])
    assert len(both) == len(wanted) == len(found) - 7
    np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=1e-5, atol=1e-5)
    new = found[found["player"] == "new"]
    owners = log()["thing"].value_counts()
    assert new["rank"].tolist() == list(range(1, 8))
    assert new["thing"].tolist() == sorted(owners.index, key=lambda thing: (-owners[thing], thing))[:7]


def test_a_table_dealt_into_many_files_is_answered_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--model", "ease_weighted") == 0
    words = ["score", "--bundle", "run/bundle", "--input", "log.csv", "--output"]
    assert main([*words, "one.csv"]) == 0
    monkeypatch.setattr("ludocast.serve.score_pairs.PART_BYTES", 300)
    monkeypatch.setattr("ludocast.serve.score_pairs.CHUNK_USERS", 2)
    capsys.readouterr()
    assert main([*words, "many.csv"]) == 0
    assert capsys.readouterr().out == "90 users answered: many.csv\n"
    one, many = (
        pd.read_csv(name).sort_values(["player", "rank"], ignore_index=True) for name in ("one.csv", "many.csv")
    )
    pd.testing.assert_frame_equal(one, many)


def test_served_over_http() -> None:
    assert train("--model", "network", "--epochs", "2") == 0
    scorer = Scorer.load("run/bundle")
    assert reads_pairs(scorer.manifest, ["thing", "player"])

    with served("run/bundle") as url:
        _, answer = ask(f"{url}/predict", [{"history": [2, "4", "gone"], "k": 5}, {"history": []}])
        status, refused = ask(f"{url}/predict", {"history": [], "k": 0})
        _, described = ask(f"{url}/openapi.json")
    assert status == 422
    assert "from 1 on, got 0" in refused["error"]
    first, second = answer["predictions"]
    assert (len(first["items"]), len(second["items"])) == (5, 20)
    assert not {"2", "4"} & {one["item"] for one in first["items"]}
    assert set(first["items"][0]["because"]) <= {"2", "4"}
    assert second["items"][0]["because"] == []
    assert [one["score"] for one in first["items"]] == sorted((one["score"] for one in first["items"]), reverse=True)
    assert answer["warnings"] == ['ignored what the catalogue has not ("gone"): 1 item']
    assert "items" in described["components"]["schemas"]["Prediction"]["properties"]


def test_ids_of_a_csv_are_the_numbers_that_training_took_them_for() -> None:
    log().assign(player=lambda one: one["player"].str[1:].astype(int)).to_csv("log.csv", index=False)
    assert train("--model", "popularity") == 0
    assert main(["score", "--bundle", "run/bundle", "--input", "log.csv", "--output", "found.parquet"]) == 0
    one, other = pq.read_schema("found.parquet"), pq.read_schema("run/suggestions.parquet")
    assert one.types == other.types
    assert [str(kind) for kind in one.types] == ["int64", "int64", "int32", "float"]


def test_what_is_bought_again_is_learnt_and_suggested_where_wished(capsys: pytest.CaptureFixture[str]) -> None:
    once = log().assign(at="2024-01-01")
    again = once[once["thing"] == 4].assign(at="2024-02-01")  # all who have it bought it twice
    same = once[once["thing"] == 7]  # rows of one time are one purchase
    pd.concat([once, again, same]).to_csv("log.csv", index=False)
    options = ("--model", "ease_weighted", "--time", "at", "--split", "share")
    assert train(*options) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if "bought again" in line)
    assert told.startswith("note: 1 of 36 items are bought again by 25% of their buyers or more (4 ")
    assert told.endswith("they are not suggested to those who have them; --repeats auto would")
    assert train(*options, "--repeats", "auto", "--overwrite") == 0
    assert "they are suggested to those who have them too" in capsys.readouterr().out
    owners = once[once["thing"] == 4]["player"].tolist()
    assert main(["score", "--bundle", "run/bundle", "--input", "log.csv", "--k", "40", "--output", "found.csv"]) == 0
    pairs = set(once[["player", "thing"]].itertuples(index=False, name=None))
    shown = set(pd.read_csv("found.csv")[["player", "thing"]].itertuples(index=False, name=None))
    assert pairs & shown == {(player, 4) for player in owners}
    trained = pd.read_parquet("run/suggestions.parquet")
    assert {thing for _, thing in pairs & set(trained[["player", "thing"]].itertuples(index=False, name=None))} <= {4}
    assert train(*options, "--repeats", "always", "--overwrite") == 0
    assert main(["score", "--bundle", "run/bundle", "--input", "log.csv", "--k", "40", "--output", "all.csv"]) == 0
    assert len(pd.read_csv("all.csv")) == 90 * 36


def test_categories_of_a_catalogue_filter() -> None:
    kinds = pd.DataFrame({"thing": range(35), "kind": ["swords" if k % 2 else "gems" for k in range(35)]})
    kinds.to_csv("items.csv", index=False)
    assert train("--model", "popularity", "--items", "items.csv", "--item-category", "kind") == 0
    assert any("1 of 36 items have no category" in note for note in document()["notes"])
    words = ["score", "--bundle", "run/bundle", "--input", "log.csv", "--output", "found.csv", "--overwrite"]
    assert main([*words, "--category", "gems", "--k", "40"]) == 0
    assert set(pd.read_csv("found.csv")["thing"]) == set(range(0, 35, 2))
    found = Scorer.load("run/bundle").predict_rows([{"history": [], "category": ["swords"], "diversity": 0.5}])
    assert {int(one) % 2 for one in found.labels[0]} == {1}


def test_times_split_by_time_and_weights_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--model", "ease", "--time", "at", "--value", "hours", "--at-least", "1") == 0
    found = document()
    assert "UTC on hidden" in found["protocol"][0]
    assert found["rows"]["known pairs"] + found["rows"]["hidden pairs"] == len(log())
    assert train("--model", "ease", "--time", "at", "--split", "last", "--overwrite") == 0
    assert "each user's last item hidden" in document()["protocol"][0]


def test_equal_seeds_give_equal_runs() -> None:
    found = []
    for _ in range(2):
        assert train("--model", "network", "--epochs", "2", "--overwrite") == 0
        found.append(pq.read_table("run/suggestions.parquet"))
    assert found[0].equals(found[1])
    assert main(["run", "run/experiment.yaml", "--out", "again"]) == 0
    assert pq.read_table("again/suggestions.parquet").equals(found[0])


def test_two_recommenders_are_compared_by_the_users_of_their_test(capsys: pytest.CaptureFixture[str]) -> None:
    for out, model in (("a", "popularity"), ("b", "ease")):
        assert main(["train", "recommend", *COLUMNS, "--model", model, "--out", out]) == 0
    kept = pq.read_table("b/users.parquet").to_pandas()
    reported = json.loads(Path("b", "metrics.json").read_text())["metrics"]["ndcg@10"]["value"]
    assert kept["ndcg@10"].mean() == pytest.approx(reported)
    capsys.readouterr()
    assert main(["runs", "compare", "a", "b"]) == 0
    assert "b is better than a: NDCG@10" in capsys.readouterr().out
    assert train("--model", "ease", "--share", "0.4") == 0
    assert main(["runs", "compare", "a", "run"]) == 2
    assert "other rows of the same data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "als"], "--model als has no graph for a bundle"),
        (["--draws", "0"], "--draws is 1 or more, got 0"),
        (["--at-least", "2"], "name its column with --value"),
        (["--time", "gone"], 'there is no column "gone" for --time'),
        (["--users-of-item", "500"], "lower the limits"),
        (["--split", "time"], "name the column of times"),
        (["--items", "log.csv"], "twice; give one row each"),
        (["--items", "log.csv", "--item-category", "colour"], 'needs the columns "thing" and --item-category; it has'),
        (["--item-category", "kind"], "name it with --items"),
    ],
)
def test_refused_by_a_sentence(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*options) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not Path("run").exists()
    assert not Path("run.partial").exists()


ODD_IDS = ["a\nb", "새 검", "\u202eRTL", "x,y", 'q"q', "🐉"]


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (lambda one: one.drop(columns="player"), [], 'no column "player" for --user'),
        (lambda one: one.drop(columns="thing"), [], 'no column "thing" for --item'),
        (lambda one: one.assign(player="p1"), [], "there is 1 user in all"),
        (lambda one: one.assign(thing=4), [], "there is 1 item in all"),
        (lambda one: one.assign(player="p1", thing=4), [], "there is 1 user in all"),
        (lambda one: one.drop_duplicates("player"), [], "every user has one item"),
        (lambda one: one.assign(hours=-1), ["--value", "hours"], "row 1: a weight of -1"),
        (lambda one: one.assign(player=None), [], 'no row has both "player" and "thing"'),
        (lambda one: one.assign(at="soon"), ["--time", "at"], 'row 1, column "at"'),
    ],
)
def test_tables_of_which_nothing_can_be_learnt(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    options: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(log()).to_csv("log.csv", index=False)
    assert train("--model", "ease", *options) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert sentence in said
    assert not Path("run").exists()
    assert not Path("run.partial").exists()


def test_odd_ids_missing_ones_and_a_player_with_all_items(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[str | None, str | None]] = [
        (f"p\n{player}", item) for player in range(40) for k, item in enumerate(ODD_IDS) if (player + k) % 3
    ]
    rows += [("한", item) for item in ODD_IDS] + [(None, "x,y"), ("NaN", "x,y"), ("p\n1", None)]
    table = pd.DataFrame(rows, columns=["player", "thing"])
    table.to_csv("log.csv", index=False)
    assert train("--model", "ease") == 0
    assert 'note: 3 rows have no "player" or no "thing" and were left out' in capsys.readouterr().out
    assert main(["score", "--bundle", "run/bundle", "--input", "log.csv", "--output", "found.csv", "--k", "99"]) == 0
    assert "note: 1 history has no item left to suggest\n" in capsys.readouterr().out
    found = pd.read_csv("found.csv", keep_default_na=False)
    assert "한" not in set(found["player"])  # nothing is left for who has all
    for player, own in table.dropna().groupby("player")["thing"]:
        if player not in ("NaN", "한"):
            assert sorted(found[found["player"] == player]["thing"]) == sorted(set(ODD_IDS) - set(own))


def test_k_and_keep_are_refused_where_they_mean_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--model", "popularity") == 0
    words = ["score", "--bundle", "run/bundle", "--input", "log.csv", "--output", "found.csv"]
    assert main([*words, "--keep", "player"]) == 2
    assert "--keep is for tables of one row an answer" in capsys.readouterr().err
    assert main([*words, "--k", "0"]) == 2
    assert "--k is 1 or more" in capsys.readouterr().err
    assert not Path("found.csv").exists()
    log().rename(columns={"thing": "item"}).to_csv("other.csv", index=False)
    assert main(["score", "--bundle", "run/bundle", "--input", "other.csv", "--output", "found.csv"]) == 2
    assert 'other.csv needs the columns "player" and "thing", or "history"' in capsys.readouterr().err
    assert not Path("found.csv").exists()


def test_what_a_stopped_run_left_is_discarded_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.partial").mkdir()
    assert train("--model", "popularity") == 2
    said = capsys.readouterr().err
    assert "--overwrite discards it" in said
    assert "--resume" not in said  # there is no such option here
    assert train("--model", "popularity", "--overwrite") == 0


def test_many_items_are_trained_sparse_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ludocast.models.recommend.memory.MOST_ITEMS", 30)
    monkeypatch.setattr("ludocast.models.recommend.item_item.NEIGHBOURS", 9)
    monkeypatch.setattr("ludocast.models.recommend.scale.ASKED", 60)
    monkeypatch.setattr("ludocast.models.recommend.scale.MANY_PAIRS", 100)
    assert train("--epochs", "1") == 0
    said = capsys.readouterr().out
    assert "nearest items alone" in said
    assert "60 users are asked about" in said
    assert "implicit ALS" not in {one["model"] for one in document()["leaderboard"]}
    words = ["score", "--bundle", "run/bundle", "--input", "log.csv", "--output", "found.parquet", "--k", "5"]
    assert main(words) == 0
    wanted = pd.read_parquet("run/suggestions.parquet").query("rank <= 5")
    both = pd.read_parquet("found.parquet").merge(wanted, on=["player", "thing", "rank"])
    assert len(both) == len(wanted)
