"""Records of raw events: what is read of them, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ludocast.datamodules.etl.compile import compile_features
from ludocast.datamodules.etl.rules import Contents, Rules
from ludocast.datamodules.feature_state import Definition, Event, FeatureState
from ludocast.serve.codecs.table import CODECS
from ludocast.serve.manifest import Input
from ludocast.serve.openapi import openapi
from ludocast.serve.raw_events import FEATURES_FILE, EventReader
from ludocast.serve.scorer import Scorer

from tests.serve.logistic import BIAS, Term, write_logistic


def definition(session: bool = False) -> Definition:
    rules, contents = Rules(28, 0, 14, 7, 7), Contents(("fight", "login"), amount=True, level=True, session=session)
    return Definition(rules, contents, compile_features(rules, contents))


@pytest.fixture(scope="module")
def reader() -> EventReader:
    return EventReader(definition())


def asked(reader: EventReader, *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    found = reader.from_records([{"events": list(events), **more}])
    return {name: column[0] for name, column in found.columns.items()}


def test_any_form_of_time_is_the_same(reader: EventReader) -> None:
    wanted = None
    seconds = 1_706_724_000
    for time in (
        "2024-01-31T18:00:00Z", "2024-01-31 18:00", "2024-01-31T19:00:00+01:00", seconds, seconds + 0.0,
        seconds * 10**3, seconds * 10**6, seconds * 10**9 + 999_999,
    ):  # fmt: skip
        found = asked(reader, {"time": time, "event": " login ", "amount": "1.5", "level": 3})
        wanted = found if wanted is None else wanted
        assert found == wanted, time
    assert wanted is not None
    assert (wanted["hours_since_last"], wanted["spent_28d"], wanted["type_1_login_28d"]) == (6.0, 1.5, 1)


def test_order_and_the_day_of_the_question(reader: EventReader) -> None:
    events = [{"time": f"2024-01-{day:02d}", "event": "fight"} for day in (9, 3, 30, 4)]
    assert asked(reader, *events)["days_since_last"] == 1
    found = reader.from_records([{"events": events, "at": "2024-01-10"}, {"events": events, "at": "2024-01-20"}])
    assert found.columns["active_days_28d"] == [3, 3]
    assert found.columns["days_since_last"] == [1, 11]
    assert sorted(note.sentence(count) for note, count in found.notes.items()) == [
        '1 row has no event in the 7 days before "at", as all had in training',
        '2 events at or after "at" were left out',
    ]


def test_what_is_not_read_is_told(reader: EventReader) -> None:
    record = {"player_id": 7, "events": [{"time": "2024-01-31", "event": None, "session": "s", "map": "north"}]}
    assert reader.from_records([record]).ignored == ("player_id", "session", "map")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, 'row 1 has no "events"; all records of a request hold events, or none does'),
        (3, 'row 1 has no "events"'),
        ({"events": []}, 'row 1: "events" is a list of one event or more'),
        ({"events": "login"}, 'row 1: "events" is a list of one event or more'),
        ({"events": [3]}, 'row 1, event 1: expected a record such as {"time": "2026-01-31T18:00:00Z"}, got 3'),
        ({"events": [{"event": "login"}]}, 'row 1, event 1: has no "time"'),
        ({"events": [{"time": "2024-01-01"}]}, 'row 1, event 1: has no "event"; give null where there is none'),
        ({"events": [{"time": "soon", "event": ""}]}, "row 1, event 1: \"time\" is ISO 8601 text such as"),
        ({"events": [{"time": None, "event": ""}]}, "got None"),
        ({"events": [{"time": True, "event": ""}]}, "got True"),
        ({"events": [{"time": float("nan"), "event": ""}]}, "got nan"),
        ({"events": [{"time": 12, "event": ""}]}, "of the years 2000 to 2099; got 12"),
        ({"events": [{"time": 10**400, "event": ""}]}, "got 1000"),
        ({"events": [{"time": "1999-12-31", "event": ""}]}, "of the years 2000 to 2099; got '1999-12-31'"),
        ({"events": [{"time": "2024-01-01", "event": ["a"]}]}, "\"event\" is text, got ['a']"),
        ({"events": [{"time": "2024-01-01", "event": "", "amount": "much"}]}, "\"amount\" is a number, got 'much'"),
        ({"events": [{"time": "2024-01-01", "event": "", "level": {}}]}, '"level" is a number, got {}'),
        ({"events": [{"time": "2024-01-01", "event": "", "level": 3e9}]}, "row 1: level 3000000000 is larger than"),
        ({"events": [{"time": "2024-01-01", "event": ""}], "at": 5}, 'row 1: "at" is a date such as 2026-01-31, got 5'),
        ({"events": [{"time": "2024-01-01", "event": ""}], "at": "soon"}, "\"at\" is a date such as 2026-01-31"),
        ({"events": [{"time": "2024-01-01", "event": ""}], "at": "2024-03-01"}, "no event in the 28 days before 2024-"),
        ({"events": [{"time": "2024-01-01", "event": ""}], "at": "0001-01-01"}, "no event in the 28 days before 0001-"),
        ({"events": [{"time": "2024-01-01", "event": ""}], "at": "9999-12-31"}, "no event in the 28 days before 9999-"),
        ({"events": [{"time": "2024-01-01", "event": ""}], "at": "2023-01-01"}, "no event in the 28 days before 2023-"),
    ],
)  # fmt: skip
def test_hostile_records_are_refused_in_a_sentence(reader: EventReader, record: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"row 1") as caught:
        reader.from_records([record])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_named_sessions_have_to_be_told() -> None:
    reader = EventReader(definition(session=True))
    events = [{"time": "2024-01-31T10:00", "event": "login", "session": name} for name in ("b", None, "a", "b", 7)]
    assert asked(reader, *events)["sessions_28d"] == 4
    with pytest.raises(ValueError, match='row 1, event 1: has no "session"; give null where there is none'):
        asked(reader, {"time": "2024-01-31", "event": "login"})


TERMS = (
    Term(Input("days_since_last", "x0", "number"), weight=0.25, missing=9.0),
    Term(Input("days_since_payment", "x1", "number"), weight=0.5, missing=1.5),
)


def test_a_bundle_by_hand(tmp_path: Path) -> None:
    content = json.dumps(definition().document()).encode()
    scorer = Scorer.load(write_logistic(tmp_path / "b", terms=TERMS, extra_files={FEATURES_FILE: content}))
    record = {"events": [{"time": "2024-01-31", "event": None}], "at": "2024-02-03"}
    wanted = 1 / (1 + math.exp(-(BIAS + 0.25 * 3 + 1.5)))
    for found in (scorer.predict(record), scorer.predict([record, record])):
        assert found.probabilities[:, 1] == pytest.approx([wanted] * len(found.labels), rel=1e-6)
        assert not found.warnings
    assert scorer.predict([{"days_since_last": 3, "days_since_payment": None}]).probabilities[0, 1] == pytest.approx(
        wanted, rel=1e-6
    )
    assert scorer.features is not None
    state = FeatureState(scorer.features)
    state.update(Event(1_706_659_200_000))
    assert scorer.predict([state.features(date(2024, 2, 3))]).probabilities[0, 1] == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(ValueError, match='row 2 has no "events"; all records of a request hold events'):
        scorer.predict([record, {"days_since_last": 3, "days_since_payment": None}])
    columns = {"columns": {name: [value, value] for name, value in record.items()}}
    rows = CODECS["records"].read(json.dumps(columns).encode(), {}, scorer.manifest).rows
    assert rows == [record, record]
    schemas = openapi([scorer.manifest])["components"]["schemas"]
    assert schemas["Events"]["required"] == ["events"]


def test_a_bundle_whose_features_do_not_fit_is_refused(tmp_path: Path) -> None:
    content = json.dumps(definition().document()).encode()
    other = (Term(Input("luck", "x0", "number")),)
    with pytest.raises(ValueError, match=r'features.json: it does not tell "luck", which the model reads'):
        Scorer.load(write_logistic(tmp_path / "a", terms=other, extra_files={FEATURES_FILE: content}))
    with pytest.raises(ValueError, match=r"features.json: it holds no definition of features"):
        Scorer.load(write_logistic(tmp_path / "b", terms=TERMS, extra_files={FEATURES_FILE: b"[]"}))
    with pytest.raises(ValueError, match=r"features.json: "):
        Scorer.load(write_logistic(tmp_path / "c", terms=TERMS, extra_files={FEATURES_FILE: b"\xff{"}))


def test_events_need_no_engine_where_they_are_served(tmp_path: Path) -> None:
    content = json.dumps(definition().document()).encode()
    bundle = write_logistic(tmp_path / "b", terms=TERMS, extra_files={FEATURES_FILE: content})
    code = (
        "import sys\nfrom ludocast.serve.scorer import Scorer\n"
        'Scorer.load(sys.argv[1]).predict({"events": [{"time": "2024-01-31", "event": None}]})\n'
        "heavy = {'ibis', 'duckdb', 'torch', 'pandas', 'sklearn', 'pytorch_lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
