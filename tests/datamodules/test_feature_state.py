"""Features kept up event by event beside those of whole logs, made by DuckDB from the same expressions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ludocast.datamodules.day_bytes import DayPacker
from ludocast.datamodules.etl import features
from ludocast.datamodules.etl.compile import compile_features, compile_values, definition_of_document
from ludocast.datamodules.etl.features import Feature, Rows
from ludocast.datamodules.etl.rules import Contents, Rules, read_document
from ludocast.datamodules.feature_program import FeatureProgram, Output, Values, read_program
from ludocast.datamodules.feature_state import (
    Definition,
    Event,
    FeatureState,
    features_of,
    read_definition,
)
from ludocast.recipes.log_options import LogOptions, SnapshotOptions
from ludocast.recipes.snapshots import make_snapshots

from ludocast.__main__ import main
from tests.datamodules.etl.logs import START, random_events, snapshots_of
from tests.datamodules.etl.reference import DAY

COLUMNS = dict.fromkeys(("player", "time", "event", "amount", "level", "session"))
RULES = {
    "usual": (Rules(28, 0, 14, 7, 7), 0.35),
    "seldom": (Rules(15, 3, 10, 4, 6, time_zone="America/New_York"), 0.04),  # most pauses are longer than observe
    "daily": (Rules(8, 1, 5, 8, 1, session_ms=600_000, time_zone="Asia/Kolkata"), 0.35),
    "short": (Rules(5, 0, 30, 5, 9), 0.2),
}


def as_json(definition: Definition) -> Definition:
    """As a server gets it."""
    return read_definition(json.loads(json.dumps(definition.document())))


def check_online(definition: Definition, events: Sequence[tuple[str, Event]], wanted: pd.DataFrame) -> int:
    """Ask a state for each row of snapshots (player, s, features), which goes through bytes each time; rows asked."""
    states: dict[str, FeatureState] = {}
    names = set(wanted.columns) - {"player", "s"}
    whole = {output.name for output in definition.program.outputs if output.whole}
    ordered, taken = sorted(events, key=lambda event: event[1].time), 0
    for s in sorted(set(wanted.s.tolist())):
        rows = wanted[wanted.s == s]
        while taken < len(ordered) and ordered[taken][1].time < s * DAY:
            player, event = ordered[taken]
            states.setdefault(player, FeatureState(definition)).update(event)
            taken += 1
        for player, state in states.items():
            states[player] = FeatureState.from_bytes(definition, state.to_bytes())
        seen, found = features_of([states[player] for player in rows.player], s)
        assert len(seen) == len(rows)
        assert set(found) == names
        for name in names:
            want = rows[name].to_numpy(float)
            if name in whole:
                np.testing.assert_array_equal(found[name], want, err_msg=name)
            else:
                np.testing.assert_allclose(found[name], want, rtol=1e-9, atol=1e-9, err_msg=name)
    return len(wanted)


@pytest.mark.parametrize("name", RULES)
def test_random_logs(name: str) -> None:
    rules, busy = RULES[name]
    events = random_events(70 + len(name), players=60, days=130, busy=busy)
    wanted, plan = snapshots_of(events, rules)
    definition = Definition(plan.rules, plan.contents, compile_features(plan.rules, plan.contents))
    pairs = [(e.player, Event(e.time, e.event, e.amount, e.level)) for e in events]
    assert check_online(as_json(definition), pairs, wanted.drop(columns="churned")) > 60


def test_a_log_of_days() -> None:
    # Without times of day, and of one event a day.
    drawn = random_events(9, players=250, days=60, busy=0.6)
    events = list({(e.player, e.time // DAY): e._replace(time=e.time // DAY * DAY) for e in drawn}.values())
    wanted, plan = snapshots_of(events, Rules(28, 0, 7, 7, 7))
    assert not plan.contents.clock
    assert not plan.contents.several
    definition = Definition(plan.rules, plan.contents, compile_features(plan.rules, plan.contents))
    pairs = [(e.player, Event(e.time, e.event, e.amount, e.level)) for e in events]
    assert check_online(as_json(definition), pairs, wanted.drop(columns="churned")) > 100


def batch(log: Path, out: Path, rules: Rules) -> tuple[pd.DataFrame, Definition]:
    """Snapshots that the command writes, and the definition beside them."""
    out.mkdir()
    make_snapshots(LogOptions([str(log)]), SnapshotOptions(), rules, out)
    frame = pd.read_parquet(out)
    document = read_document(out)
    frame = frame.rename(columns={document["log"]["player"]: "player"})
    frame["s"] = frame.snapshot_time.astype("datetime64[ms]").astype("int64") // DAY
    return frame.drop(columns=["snapshot_time", "churned", "split"]), as_json(definition_of_document(document))


def read_pairs(log: Path, names: dict[str, str]) -> Iterator[tuple[str, Event]]:
    frame = pd.read_parquet(log)
    times = frame[names["time"]].dt.tz_localize(None).astype("datetime64[ms]").astype("int64")
    columns: dict[str, list[Any]] = {
        role: [None if pd.isna(value) else value for value in frame[name]]
        for role, name in names.items()
        if role != "time"
    }
    for number, time in enumerate(times.tolist()):
        values = {role: column[number] for role, column in columns.items()}
        event = Event(
            time, values.get("event"), values.get("amount"), values.get("level"), values.get("session")
        )  # fmt: skip
        yield values["player"], event


def test_the_simulated_game(tmp_path: Path) -> None:
    assert main(["simulate", "log", "--players=300", "--days=150", "--out", str(tmp_path / "game")]) == 0
    log = tmp_path / "game" / "events.parquet"
    wanted, definition = batch(log, tmp_path / "snaps", Rules())
    names = read_document(tmp_path / "snaps")["log"]
    assert check_online(definition, list(read_pairs(log, names)), wanted) > 250


def test_sessions_with_names(tmp_path: Path) -> None:
    events = random_events(5, players=40, days=90)
    generator = np.random.default_rng(5)
    session, frame = 0, []
    for event in events:
        session += int(generator.random() < 0.3)
        name = None if generator.random() < 0.1 else f"s{session:05d}"
        frame.append((event.player, event.time, event.event, event.amount, event.level, name))
    table = pd.DataFrame(frame, columns=list(COLUMNS)).drop_duplicates(["player", "time"])
    arrow = pa.Table.from_pandas(table.assign(time=table.time.astype("datetime64[ms]")), preserve_index=False)
    pq.write_table(arrow, tmp_path / "log.parquet")
    wanted, definition = batch(tmp_path / "log.parquet", tmp_path / "snaps", Rules(28, 0, 14, 7, 7))
    assert definition.contents.session
    pairs = list(read_pairs(tmp_path / "log.parquet", {name: name for name in COLUMNS}))
    assert check_online(definition, pairs, wanted) > 100


@pytest.fixture(scope="module")
def definition() -> Definition:
    rules, contents = Rules(28, 0, 14, 7, 7), Contents(("fight", "login"), amount=True, level=True)
    return as_json(Definition(rules, contents, compile_features(rules, contents)))


def test_a_player_by_hand(definition: Definition) -> None:
    state = FeatureState(definition)
    evening = (START + 3) * DAY - 600_000  # ten minutes to midnight
    state.update(Event(evening, "login", None, -2))
    state.update(Event(evening + 1_200_000, "fight", 4.99, 7))  # ten past
    found = state.features(START + 4)
    assert found["sessions_28d"] == 1
    assert found["sessions_1d"] == 0
    assert found["minutes_per_session"] == 20
    assert found["hours_since_last"] == pytest.approx(23 + 5 / 6, abs=1e-12)
    assert (found["streak"], found["active_days_28d"]) == (2, 2)
    assert (found["spent_28d"], found["payments_1d"], found["days_since_payment"]) == (4.99, 1, 1)
    assert (found["level"], found["levels_gained"]) == (7, 9)
    assert (found["type_0_fight_28d"], found["type_1_login_28d"], found["type_other"]) == (1, 1, 0)
    assert found["type_entropy"] == pytest.approx(1, abs=1e-12)
    assert found["mean_pause"] is None
    assert found["mean_gap"] == 1
    # The first day alone: midnight is not over yet; and from a window that opens between the two.
    assert state.features(START + 3)["level"] == -2
    later = state.features(START + 3 + 28)
    assert (later["sessions_28d"], later["minutes_per_session"], later["mean_gap"]) == (1, 0, None)


def test_what_is_forgotten_cannot_be_asked(definition: Definition) -> None:
    state = FeatureState(definition)
    for day in (0, 1, 60):
        state.update(Event((START + day) * DAY))
    assert state.features(START + 60 + 1)["active_days_28d"] == 1
    assert state.features(date(2024, 2, 8)) == state.features(START + 61)
    with pytest.raises(ValueError, match="forgotten; the latest event is of 2024-02-07 00:00:00"):
        state.features(START + 2)
    with pytest.raises(ValueError, match="no event in the 28 days before 2024-05-18 00:00:00"):
        state.features(START + 161)
    assert FeatureState.from_bytes(definition, state.to_bytes()).to_bytes() == state.to_bytes()


def test_late_and_impossible_events_change_nothing(definition: Definition) -> None:
    state = FeatureState(definition)
    state.update(Event(START * DAY + 5, "login", 1.0, 3))
    before = state.to_bytes()
    with pytest.raises(ValueError, match="came after one of 2023-12-09 00:00:00; events come in the order of time"):
        state.update(Event(START * DAY + 4))
    with pytest.raises(ValueError, match="level 3000000000 is larger than 2147483647"):
        state.update(Event(START * DAY + 6, level=3e9))
    for _ in range(5):
        state.update(Event(START * DAY + 6, amount=9e11))
    full = state.to_bytes()
    with pytest.raises(ValueError, match=r"amounts of a day are more than 4.6e12"):
        state.update(Event(START * DAY + 6, amount=9e11))
    assert state.to_bytes() == full != before
    state.update(Event(START * DAY + 6, amount=math.nan, level=math.inf))  # as in a log, these are missing
    assert state.features(START + 1)["level"] == 3


def test_bytes_of_another_kind_are_refused(definition: Definition) -> None:
    empty = FeatureState.from_bytes(definition, FeatureState(definition).to_bytes())
    with pytest.raises(ValueError, match="no event in the 28 days"):
        empty.features(START)
    state = FeatureState(definition)
    state.update(Event(START * DAY, "login"))
    data = state.to_bytes()
    for damaged in (b"", data[:-1], data[:-1] + bytes([data[-1] ^ 1]), data[:20] + b"\0" + data[21:]):
        with pytest.raises(ValueError, match="no state of a player, or a damaged one"):
            FeatureState.from_bytes(definition, damaged)
    rules, contents = Rules(14, 0, 14, 7, 7), definition.contents
    other = Definition(rules, contents, compile_features(rules, contents))
    with pytest.raises(ValueError, match="another definition of the features"):
        FeatureState.from_bytes(other, data)


def test_packed_rows() -> None:
    generator = np.random.default_rng(0)
    rows = (generator.integers(0, 2**62, (200, 19)) >> generator.integers(0, 63, (200, 19))).tolist()
    rows += [[0] * 19, [2**63 - 1] * 19]
    packer = DayPacker(19)
    assert packer.unpacked([packer.packed(row) for row in rows]).tolist() == rows


def test_values_that_are_missing() -> None:
    # DuckDB works out the same expressions, for a and b of 1, 0 and none.
    pairs = [(number, a, b) for number, (a, b) in enumerate((a, b) for a in (1, 0, None) for b in (1, 0, None))]
    rows = pa.table([pa.array(column, pa.int64()) for column in zip(*pairs, strict=True)], ["row", "a", "b"])
    table = ibis.memtable(rows)
    a, b = table.a, table.b
    values = {
        "and": (a == 1) & (b == 1), "or": (a == 1) | (b != 0), "not": ~(a >= 1), "if": ibis.ifelse(a == 1, b, a),
        "null_if": a.nullif(b), "coalesce": ibis.coalesce(a, b, 5), "greatest": ibis.greatest(a, b, -3),
        "greatest_of_two": ibis.greatest(a, b), "is_null": a.isnull(), "less": (a < b) | (b <= a), "sum": a + 2 * b,
        "not_null": a.notnull() & (a > b), "difference": a - b,
    }  # fmt: skip
    told = {
        name: (ibis.ifelse(value, 1, 0) if value.type().is_boolean() else value).max().cast("int64")
        for name, value in values.items()
    }
    told |= {"where": a.sum(where=b == 1), "least": a.min(where=b.notnull()), "known": (a == b).notnull().sum()}
    fractions = {
        "divide": a.max() / b.max().nullif(0), "root": a.max().cast("float64").sqrt(),
        "log": (a.max().cast("float64") + 1.0).ln(),
    }  # fmt: skip
    program = compile_values({name: (value, name in told) for name, value in (told | fractions).items()}, ["a", "b"])
    columns = {
        name: Values(np.array([pair[k] or 0 for pair in pairs]), np.array([pair[k] is not None for pair in pairs]))
        for k, name in ((1, "a"), (2, "b"))
    }
    found = read_program(json.loads(json.dumps(program.document()))).run(columns, np.arange(9), 9)
    asked = table.group_by("row").aggregate(**told, **fractions).order_by("row")
    wanted = ibis.duckdb.connect().to_pandas(asked)
    for name, got in found.items():
        np.testing.assert_allclose(got, wanted[name].to_numpy(float), rtol=1e-12, err_msg=name)


def test_what_cannot_be_compiled_is_named() -> None:
    def odd(rows: Rows) -> Iterator[Feature]:
        yield Feature("odd_days", rows.table.day.nunique(), "days", whole=True)

    features.FAMILIES["odd"] = odd
    try:
        with pytest.raises(ValueError, match='the feature "odd_days" uses CountDistinct, which players cannot be'):
            compile_features(Rules(), Contents())
    finally:
        del features.FAMILIES["odd"]


def test_programs_from_anywhere() -> None:
    output = [Output("x", 0, True)]
    with pytest.raises(ValueError, match=r"step 0 \(day\) of the features is not known here; install a newer"):
        FeatureProgram(["day"], [["day"]], output)
    with pytest.raises(ValueError, match=r"step 0 \(add\)"):
        FeatureProgram(["day"], [["add", 0, 0]], output)
    for step in (["add", 0], ["if", 0, 0], ["ln", 0, 0], ["coalesce"], ["sum", 0, 0, 0], ["number", 1, 2], ["number"]):
        with pytest.raises(ValueError, match=rf"step 1 \({step[0]}\)"):
            FeatureProgram(["day"], [["column", "day"], step], output)
    with pytest.raises(ValueError, match="a feature names a step that there is not"):
        FeatureProgram(["day"], [["column", "day"]], [Output("x", 1, True)])
    for document in (None, {}, {"columns": 3}, {"columns": ["day"], "steps": [[]], "features": []}):
        with pytest.raises(ValueError, match="no program of features"):
            read_program(document)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no definition of features"):
        read_definition({"format": 1})
    with pytest.raises(ValueError, match="it has format 2, this release reads 1"):
        read_definition({"format": 2})
