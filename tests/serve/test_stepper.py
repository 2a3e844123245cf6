"""A state renewed at each event answers as the whole sequence does."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from ludocast.models.stacked_rnn.recurrent import Kind
from ludocast.serve.scorer import Scorer
from ludocast.serve.stepper import Stepper

from tests.serve.made_sequences import DAY, NOW, drawn, made, write

TOLERANCE = 1e-5
each_kind = pytest.mark.parametrize("kind", get_args(Kind))


def events(row: dict[str, Any]) -> list[dict[str, Any]]:
    lists = {column: values for column, values in row.items() if column != "now"}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


@each_kind
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("what", ["next", "sessions", "text", "tied", "adaptive"])
def test_each_step_answers_as_the_sequence_up_to_it(what: str, kind: Kind, layers: int, tmp_path: Path) -> None:
    one = made(what, kind, layers)
    write(one, tmp_path / "b")
    stepper, scorer = Stepper.load(tmp_path / "b"), Scorer.load(tmp_path / "b")
    (row,) = drawn(one, [25])
    state = stepper.new_state()
    for count, event in enumerate(events(row), 1):
        state, found = stepper.update(state, event)
        wanted = scorer.predict_rows([{column: values[:count] for column, values in row.items()}])
        np.testing.assert_allclose(found.probabilities[0], wanted.probabilities[0], rtol=0, atol=TOLERANCE)
        assert found.labels[0] == wanted.labels[0]


@each_kind
@pytest.mark.parametrize("layers", [1, 2])
def test_who_leaves_is_asked_at_any_moment_after_the_last_event(kind: Kind, layers: int, tmp_path: Path) -> None:
    one = made("stream", kind, layers)
    write(one, tmp_path / "b")
    stepper, scorer = Stepper.load(tmp_path / "b"), Scorer.load(tmp_path / "b")
    (row,) = drawn(one, [12])
    state = stepper.new_state()
    for count, event in enumerate(events(row), 1):
        state, at_once = stepper.update(state, event)
        for wait in (0.0, 3_600.0, 30 * DAY):
            now = event["time"] + wait
            found = stepper.ask([state], now)
            # To the whole graph events at the moment itself are not yet known.
            record = {column: values[:count] for column, values in row.items()} | {"now": now + 1e-3}
            wanted = scorer.predict_rows([record])
            np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=TOLERANCE)
            if wait == 0:
                np.testing.assert_array_equal(found.probabilities, at_once.probabilities)


def test_several_players_at_once_and_states_through_bytes(tmp_path: Path) -> None:
    one = made("next", "lstm")
    write(one, tmp_path / "b")
    stepper = Stepper.load(tmp_path / "b")
    rows = [events(row) for row in drawn(one, [6, 6, 6])]
    states = [stepper.new_state() for _ in rows]
    alone = [stepper.new_state() for _ in rows]
    for now in zip(*rows, strict=True):
        states, together = stepper.update_many(states, now)
        for place, event in enumerate(now):
            alone[place], answer = stepper.update(alone[place], event)
            np.testing.assert_allclose(answer.probabilities[0], together.probabilities[place], atol=1e-6)
        kept = [stepper.to_bytes(state) for state in states]
        states = [stepper.from_bytes(content) for content in kept]
        for state, content in zip(states, kept, strict=True):
            # 8 bytes of the mark, the time, and of 2 layers of 8 units h and c.
            assert len(content) == 8 + 8 + 4 * 2 * 2 * 8
            assert struct.unpack_from("<d", content, 8) == (state.last_time,)
            assert struct.unpack_from("<32f", content, 16) == tuple(state.numbers.tolist())


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    for kind in ("gru", "tanh"):
        write(made("next", kind), tmp_path / kind)  # type: ignore[arg-type]
    gru, tanh = (Stepper.load(tmp_path / kind) for kind in ("gru", "tanh"))
    content = gru.to_bytes(gru.new_state())
    assert math.isnan(gru.from_bytes(content).last_time)
    for wrong in (content[:-1], content + b"\0", b""):
        with pytest.raises(ValueError, match=r"no state of model made .* which has 80; begin anew"):
            gru.from_bytes(wrong)
    with pytest.raises(ValueError, match="these 80 bytes are no state of model made"):
        tanh.from_bytes(content)


@pytest.mark.parametrize("what", ["days", "events", "tags"])
def test_a_model_without_a_step_says_so(what: str, tmp_path: Path) -> None:
    write(made(what), tmp_path / "b")
    with pytest.raises(ValueError, match="it has no step graph; its whole sequences are answered by Scorer"):
        Stepper.load(tmp_path / "b")


def test_bad_events_are_named(tmp_path: Path) -> None:
    write(made("next"), tmp_path / "b")
    stepper = Stepper.load(tmp_path / "b")
    state, _ = stepper.update(stepper.new_state(), {"event": None, "time": NOW})
    good = {"event": "login", "time": NOW}
    stepper.update(state, good)  # two at one time
    bad: list[tuple[dict[str, Any], str]] = [
        ({"event": "login", "time": NOW - 1}, 'row 2, column "time": a time before the player\'s last event'),
        ({"event": "login", "time": None}, 'row 2, column "time": no time; give events in the order of time'),
        ({"event": ["login"], "time": NOW}, 'row 2, column "event": expected text'),
        ({"event": "login"}, 'row 2: column "time" is absent'),
    ]
    for event, sentence in bad:
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
            stepper.update_many([state, state], [good, event])
    with pytest.raises(ValueError, match="2 states and 1 events"):
        stepper.update_many([state, state], [good])
    with pytest.raises(ValueError, match="hold until the next event"):
        stepper.ask([state], NOW)
    assert stepper.update_many([], [])[0] == []


def test_who_leaves_needs_an_event_and_a_later_moment(tmp_path: Path) -> None:
    write(made("stream"), tmp_path / "b")
    stepper = Stepper.load(tmp_path / "b")
    event = {"event": "login", "time": NOW, "gold": 1, "rank": None}
    state, _ = stepper.update(stepper.new_state(), event)
    for states, now in (([state], NOW - 1), ([state], None), ([stepper.new_state()], NOW)):
        with pytest.raises(ValueError, match="not before the last event of each player"):
            stepper.ask(states, now)


def test_a_step_graph_of_another_network_is_refused(tmp_path: Path) -> None:
    from ludocast.serve.sequence_export import export_sequence

    one, other = made("next", "gru"), made("next", "gru")
    assert other.module.averaged is not None
    for parameter in other.module.averaged.parameters():
        parameter.mul_(0.5)
    write(one, tmp_path / "b", step=export_sequence(other.module, other.parts).step)
    with pytest.raises(ValueError, match=r"its step graph fails \(it does not reproduce check row 1\)"):
        Stepper.load(tmp_path / "b")
