"""Columns of players beside their sequences: joined by name, fitted on training players alone, refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.event_sources import ChurnSource, LogColumns
from ludocast.datamodules.player_columns import PlayerTable

from tests.recipes.made_events import make_files


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """240 players, of whom the first 200 are in training: a number, a country with a gap, a note of everyone's own, and an outcome."""
    generator = np.random.default_rng(0)
    rows = {
        "player_id": [f"p{k}" for k in range(240)],
        "level": generator.integers(1, 1_000, 240).astype(float),
        "country": np.where(np.arange(240) == 3, "", np.array(["KR", "DE"])[np.arange(240) % 2]),
        "churned": np.arange(240) % 3 == 0,
    }
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "players.csv", index=False)
    return frame


def fit(folder: Path, exclude: tuple[str, ...] = ("churned",)) -> tuple[object, np.ndarray, np.ndarray]:
    train = np.array([f"p{k % 200}" for k in range(600)], object)  # three snapshots each
    label = (np.arange(600) % 7 == 0).astype(np.int64)
    columns, held_out = PlayerTable(folder / "players.csv", "player_id", exclude).fit(train, label, seed=0)
    return columns, held_out, columns.of(np.array(["p205", "p3", "p0"], object))


def test_columns_are_joined_by_name_whatever_the_order(table: pd.DataFrame, tmp_path: Path) -> None:
    _, held_out, found = fit(tmp_path)
    assert held_out.shape == (600, found.shape[1])
    np.testing.assert_array_equal(held_out[0], held_out[200])  # the same player
    table.sample(frac=1, random_state=1).to_csv(tmp_path / "players.csv", index=False)
    _, shuffled_out, shuffled = fit(tmp_path)
    np.testing.assert_array_equal(found, shuffled)
    np.testing.assert_array_equal(held_out, shuffled_out)
    # One-hot: unknown, missing, DE, KR; of p205, p3 (which has a gap) and p0.
    assert found[:, -4:].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_other_players_than_those_of_training_change_nothing_that_is_fitted(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    _, held_out, found = fit(tmp_path)
    changed = table.copy()
    changed.loc[200:, "level"] = 1e6  # these are in no training snapshot
    changed.loc[200:, "country"] = "FR"
    changed.to_csv(tmp_path / "players.csv", index=False)
    _, same_out, same = fit(tmp_path)
    np.testing.assert_array_equal(held_out, same_out)
    np.testing.assert_array_equal(found[1:], same[1:])
    assert (found[0] != same[0]).any()


def test_numbers_are_on_the_normal_scale_of_their_ranks(table: pd.DataFrame, tmp_path: Path) -> None:
    columns, _, _ = fit(tmp_path)
    level = columns.of(np.array([f"p{k}" for k in range(200)], object))[:, 0]  # type: ignore[attr-defined]
    order = np.argsort(table["level"][:200].to_numpy(), kind="stable")
    assert (np.diff(level[order]) >= 0).all()
    assert abs(level.mean()) < 0.05
    assert level.std() == pytest.approx(1, abs=0.1)


def test_the_source_hands_them_to_all_parts_and_moments(tmp_path: Path) -> None:
    make_files(tmp_path)
    names = [f"p{k}" for k in range(80)]
    pd.DataFrame({"player_id": names, "level": np.arange(80.0) ** 2}).to_csv(tmp_path / "players.csv", index=False)
    log = LogColumns(tmp_path / "events.csv", "player_id", "time")
    parts = ChurnSource(log, days_per_step=7, players=PlayerTable(tmp_path / "players.csv", "player_id")).read()
    assert parts.sizes["columns"] == parts.test.static["columns"].shape[1]
    assert parts.players is not None
    assert parts.timelines is not None
    order = np.argsort([int(parts.players[k][1:]) for k in parts.test.static["player"]], kind="stable")
    assert (np.diff(parts.test.static["columns"][order, 0]) >= 0).all()
    row = 0
    name = parts.players[parts.test.static["player"][row]]
    asked = parts.timelines.asked(name, float(parts.test.static["time"][row]))
    np.testing.assert_array_equal(asked.sequences.static["columns"][0], parts.test.static["columns"][row])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame[frame["player_id"] != "p7"], 'has no row with "player_id" = "p7"; add a row'),
        (lambda frame: frame[:10], '"p10" and 189 others of the log'),
        (lambda frame: pd.concat([frame, frame[:1]]), 'has the player "p0" twice'),
        (
            lambda frame: frame.rename(columns={"player_id": "id"}),
            'the table has no column "player_id"; its columns are "id"',
        ),
        (lambda frame: frame[["player_id", "churned"]], 'has no column beside "player_id"'),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(
    table: pd.DataFrame, tmp_path: Path, change: object, said: str
) -> None:
    change(table).to_csv(tmp_path / "players.csv", index=False)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"players\.csv") as error:
        fit(tmp_path)
    assert said in str(error.value)


def test_no_such_file_or_column_is_one_sentence(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'no column "nothere"'):
        fit(tmp_path, ("nothere",))
    (tmp_path / "players.csv").unlink()
    with pytest.raises(ValueError, match="there is no file"):
        fit(tmp_path)


def test_a_players_own_label_is_no_part_of_their_training_columns(table: pd.DataFrame, tmp_path: Path) -> None:
    """A guild of one player, whose mean label in later answers is moved by that player's own, in training is not."""
    guild = np.array([f"g{k % 7}" for k in range(240)], object)
    guild[0] = "solo"
    table[["player_id"]].assign(level=table["level"], guild=guild).to_csv(tmp_path / "players.csv", index=False)
    train = np.array([f"p{k % 200}" for k in range(600)], object)
    label = (np.arange(600) % 7 == 1).astype(np.int64)
    found = []
    for own in (0, 1):
        label[[0, 200, 400]] = own
        columns, held_out = PlayerTable(tmp_path / "players.csv", "player_id").fit(train, label, seed=0)
        found.append((float(columns.of(train[:1])[0, 1]), float(held_out[0, 1])))  # level, then guild's mean label
    assert found[0][0] < found[1][0]
    # Mean labels are scaled by those of all players, so it moves a little.
    assert abs(found[0][1] - found[1][1]) < 0.1 * (found[1][0] - found[0][0])
