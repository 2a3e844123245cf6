import csv
import math
import time
from pathlib import Path

import numpy as np
import pytest
from ludocast.datamodules.infer import infer_schema
from ludocast.datamodules.read import read_table
from ludocast.datamodules.simulate import BASE, STRENGTH, _device_effect, _logit, simulate, simulate_players
from sklearn.metrics import roc_auc_score


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_files_agree_and_have_the_known_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(2_000, tmp_path / "demo", seed=3)
    players, truth = read(tmp_path / "demo" / "players.csv"), read(tmp_path / "demo" / "truth.csv")
    assert len(players) == len(truth) == 2_000
    assert [row["player_id"] for row in players] == [row["player_id"] for row in truth]
    assert len({row["player_id"] for row in players}) == 2_000
    assert {row["churned"] for row in players} == {"yes", "no"}
    assert 0.2 < np.mean([row["age"] == "" for row in players]) < 0.4
    assert "2,000 simulated players" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_quarter_leaves_and_the_truth_is_calibrated_and_sharp() -> None:
    table, probability = simulate_players(20_000, seed=11)
    churned = np.asarray(table["churned"]) == "yes"
    assert 0.22 < churned.mean() < 0.28
    assert 0.85 < roc_auc_score(churned, probability) < 0.9
    # Each tenth of the players leaves as often as its mean probability says, within four standard errors.
    for rows in np.array_split(np.argsort(probability), 10):
        expected = probability[rows].mean()
        assert abs(churned[rows].mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / len(rows))


def test_the_logit_of_one_player_worked_out_by_hand() -> None:
    one = {
        "sessions_per_week": 4, "days_since_login": 5.0, "guild_member": False, "win_rate": 0.38, "crashes_per_week": 1.0,
        "days": 10.0, "spend_usd": math.nan, "level": 12, "channel": 1, "country": 2, "in_event": True, "store": 1,
        "device": 7, "age": 61.0, "survey_score": 2.0,
    }  # fmt: skip
    play = 1.1 / math.e + (1 - 1 / math.e) + 1.6 / math.e * (1 - 1 / math.e)
    losing = 0.9  # one deviation of 0.12 below one half, outside a guild
    crashes = 0.9 * math.log(2)
    content, origin, age, survey = 0.6, 1.3 + 0.5, 0.2 * 4.0, 0.35 * 1.5
    codes = 0.9 + float(_device_effect(np.array([7]))[0])
    causes = play + losing + crashes + content + origin + age + survey + codes
    found = _logit({name: np.array([value]) for name, value in one.items()})
    assert found[0] == pytest.approx(BASE + STRENGTH * (causes - 1.4))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(300, tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name / "players.csv").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_schema_finds_what_each_column_was_made_as(tmp_path: Path) -> None:
    simulate(3_000, tmp_path / "demo")
    schema = infer_schema(read_table(tmp_path / "demo" / "players.csv"), "churned", "yes")
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds["player_id"] == "id"
    assert kinds["registered_at"] == "timestamp"
    assert kinds["guild_member"] == "boolean"
    assert kinds["device_model"] == kinds["country"] == "category"
    assert kinds["store_code"] == kinds["spend_usd"] == kinds["age"] == "number"


def test_existing_files_stay_unless_overwrite_is_said(tmp_path: Path) -> None:
    (tmp_path / "players.csv").write_text("mine")
    with pytest.raises(ValueError, match=r"players\.csv exists; give another --out, or --overwrite"):
        simulate(200, tmp_path)
    assert (tmp_path / "players.csv").read_text() == "mine"
    simulate(200, tmp_path, overwrite=True)
    assert len(read(tmp_path / "players.csv")) == 200


def test_too_few_players_and_a_file_as_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--players has to be 100 or more for a table to learn from, got 3"):
        simulate(3, tmp_path / "demo")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        simulate(200, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_no_table_behind(tmp_path: Path) -> None:
    # A folder where the second file belongs cannot be replaced: what was begun has to go.
    (tmp_path / "demo" / "truth.csv").mkdir(parents=True)
    with pytest.raises(OSError, match="truth"):
        simulate(200, tmp_path / "demo", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert not (tmp_path / "demo" / "players.csv").exists()


def test_twenty_thousand_players_take_less_than_two_seconds(tmp_path: Path) -> None:
    start = time.process_time()
    simulate(20_000, tmp_path / "demo")
    assert time.process_time() - start < 2
