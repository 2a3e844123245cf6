"""Sources of sequences for the tasks on an event log: who leaves, and which event is next."""

# T events, S snapshots, D numbers

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from ludocast.datamodules.event_log import NO_EVENT, EventLog, read_event_log
from ludocast.datamodules.player_columns import PlayerColumns, PlayerTable
from ludocast.datamodules.ragged import flat_positions, offsets_of
from ludocast.datamodules.sequence import SequenceParts, SequenceSource
from ludocast.datamodules.sequences import Sequences, from_offsets
from ludocast.datamodules.snapshots import Snapshots, daily_activity_bits, find_snapshots, split_snapshots
from ludocast.datamodules.split import Split, time_split
from ludocast.datamodules.step_inputs import StepInputs
from ludocast.datamodules.time_features import log_ages, log_gaps, periodic
from ludocast.datamodules.timelines import Encode, Timelines
from ludocast.datamodules.vocabulary import UNKNOWN, fit_vocabulary

ChurnInputs = Literal["days", "events", "stream"]


@dataclass(frozen=True)
class LogColumns:
    """An event log and what its columns mean, as `read_event_log` takes them."""

    path: Path
    player: str
    time: str
    event: str | None = None
    numbers: tuple[str, ...] = ()
    encoding: str = "utf-8"

    @property
    def name(self) -> str:
        """Column of the names, or what stands for it in a log of one kind of event."""
        return NO_EVENT if self.event is None else self.event

    def read(self) -> EventLog:
        """Read the log.

        Raises:
            ValueError: If it cannot be read.
        """
        return read_event_log(self.path, self.player, self.time, self.event, self.numbers, encoding=self.encoding)


class Labelled(NamedTuple):
    """A log, the moments at which its players are asked about, and the parts in which these fall."""

    log: EventLog
    snapshots: Snapshots
    split: Split


class ChurnSource(SequenceSource):
    """Snapshots of players: the static "label", 1 for who has churned, and what was known of each at the time.

    Args:
        log: The event log.
        inputs: "days": a step a day, "numbers" [observe, 1] with 1 on days with an event; "events": a step an event,
            "token" and "numbers" (log gap, log age at the snapshot, then the log's numbers, scaled); "stream": the same
            without ages, from a player's first event on, and the static "columns", the last event's log age.
        calendar: With "events" and "stream": sines and cosines of the hour and the weekday too.
        observe: See `find_snapshots`.
        gap: The same.
        horizon: The same.
        active_within: The same.
        step: The same.
        validation: Share of the snapshot times.
        test: Share of the snapshot times.
        min_count: Events seen less often are unknown.
        days_per_step: With "days": days of a step, oldest first; 7 take a seventh of the time of 1.
        players: What is known of each player beside the log, as the static "columns"; None for nothing.
        seed: Of what is fitted on `players`.

    Raises:
        ValueError: If `observe` is not made of whole steps.
    """

    is_whole: ClassVar[bool] = True  # whether players can be asked about at moments other than the snapshots
    longest: int | None = None  # most events of a sequence, None for any number

    def __init__(
        self,
        log: LogColumns,
        inputs: ChurnInputs = "days",
        calendar: bool = False,
        observe: int = 56,
        gap: float = 0,
        horizon: float = 28,
        active_within: float = 7,
        step: float = 14,
        validation: float = 0.05,
        test: float = 0.25,
        min_count: int = 1,
        days_per_step: int = 1,
        players: PlayerTable | None = None,
        seed: int = 0,
    ) -> None:
        if days_per_step < 1 or observe % days_per_step:
            raise ValueError(f"observe ({observe} days) has to be whole steps of days_per_step ({days_per_step} days)")
        self.days_per_step = days_per_step
        self.log, self.inputs, self.calendar, self.observe = log, inputs, calendar, observe
        self.gap, self.horizon, self.active_within, self.step = gap, horizon, active_within, step
        self.validation, self.test, self.min_count = validation, test, min_count
        self.players, self.seed = players, seed

    def labelled(self) -> Labelled:
        """Read the log and look at it at all snapshot times.

        Raises:
            ValueError: If the log cannot be read, or is too short.
        """
        log = self.log.read()
        snapshots = find_snapshots(
            log.times,
            log.offsets,
            observe=self.observe,
            gap=self.gap,
            horizon=self.horizon,
            active_within=self.active_within,
            step=self.step,
        )
        return Labelled(log, snapshots, split_snapshots(snapshots, self.validation, self.test))

    def read(self) -> SequenceParts:
        """Read, split and encode.

        Raises:
            ValueError: As `labelled`.
        """
        log, snapshots, split = self.labelled()
        encode, inputs = self._encoding(log, float(snapshots.time[split.train].max()))
        train_columns = None
        if self.players is not None:
            rows = split.train
            names, label = log.players[snapshots.player[rows]], snapshots.churned[rows].astype(np.int64)
            columns, train_columns = self.players.fit(names, label, self.seed)
            encode = partial(_with_columns, encode=encode, columns=columns)
            inputs = replace(inputs, players=columns)
        sequences = encode(log, snapshots)
        vocabulary, numbers = inputs.vocabulary, sequences.steps["numbers"].shape[1]
        sizes = {"tokens": 0 if vocabulary is None else len(vocabulary), "numbers": numbers, "classes": 2}
        if "columns" in sequences.static:
            sizes["columns"] = sequences.static["columns"].shape[1]
        parts = _split_parts(sequences, split, sizes, inputs)
        if train_columns is not None:  # not those that later answers read: a player's own label is no part of them
            parts.train.static["columns"][:, -train_columns.shape[1] :] = train_columns
        timelines = None
        if self.is_whole:
            timelines = Timelines(log, encode, self.observe, self.active_within, by_event=self.inputs != "days")
        return replace(parts, classes=("stays", "leaves"), players=log.players, timelines=timelines)

    def _encoding(self, log: EventLog, end: float) -> tuple[Encode, StepInputs]:
        """How snapshots become sequences; fitted on the events before `end`, the last training snapshot."""
        inputs = StepInputs(
            time=self.log.time, has_now=True, observe=self.observe, active_within=self.active_within,
            times=(float(log.times.min()), end), longest=self.longest,
        )  # fmt: skip
        if self.inputs == "days":
            encode = partial(day_sequences, observe=self.observe, days_per_step=self.days_per_step)
            return encode, replace(inputs, days_per_step=self.days_per_step)
        seen = log.times < end  # events that no training snapshot knows are not its own
        inputs = replace(
            inputs, vocabulary=fit_vocabulary(log.tokens().filter(seen), self.min_count), name=self.log.name,
            numbers=tuple(self.log.numbers), scale=log_scale(log.numbers[seen]), has_gaps=True,
            has_calendar=self.calendar,
        )  # fmt: skip
        if self.inputs == "events":
            inputs = replace(inputs, has_ages=True)
            return partial(event_sequences, inputs=inputs), inputs
        inputs = replace(inputs, has_last_age=True, observe=None)
        return partial(stream_sequences, inputs=inputs), inputs


class NextEventSource(SequenceSource):
    """Sessions of players: steps "token", "numbers" (log gap) and "target", the event that follows; static "time".

    That time, float64 seconds since 1970, is of the session's last event.

    Args:
        log: The event log; its numbers are not used.
        pause: Hours without an event that end a session; None takes all of a player's events as one.
        validation: Share of the sessions before the test part, the last of them.
        test: Share of the sessions, the last to begin.
        min_count: Events seen less often are unknown.
        max_size: Most ids, padding and unknown among them.
        is_known_only: Whether unknown events are left out of all parts, as the literature on sessions does, and then
            sessions of which a single event is left; if not, they stay as the unknown one.
    """

    def __init__(
        self,
        log: LogColumns,
        pause: float | None = None,
        validation: float = 0.1,
        test: float = 0.2,
        min_count: int = 1,
        max_size: int | None = None,
        is_known_only: bool = False,
    ) -> None:
        self.log, self.pause, self.validation, self.test = log, pause, validation, test
        self.min_count, self.max_size, self.is_known_only = min_count, max_size, is_known_only

    def read(self) -> SequenceParts:
        """Read the log, cut it into sessions, and split these by the time of their last event.

        Raises:
            ValueError: If the log cannot be read, or no session has two events.
        """
        log = self.log.read()
        offsets = session_offsets(log, self.pause)
        kept = _of_two_or_more(offsets)
        # By its end: a session that reaches into a later part is of that part, so none of training is later than it.
        time = log.times[offsets[1:] - 1]
        split = time_split(time[kept], self.test, self.validation)
        assert split.validation is not None
        part = np.full(len(time), -1)
        for number, rows in enumerate((split.train, split.validation, split.test)):
            part[kept[rows]] = number
        tokens = log.tokens()
        own = flat_positions(offsets[:-1][part == 0], offsets[1:][part == 0])
        vocabulary = fit_vocabulary(tokens.take(own), self.min_count, self.max_size)
        token, times = vocabulary.encode(tokens), log.times
        if self.is_known_only:
            is_known = token != UNKNOWN
            token, times = token[is_known], times[is_known]
            offsets = offsets_of(is_known)[offsets]
            kept = _of_two_or_more(offsets)
        steps = {"token": token, "numbers": log_gaps(times, offsets)[:, None]}
        sequences = from_offsets(steps, offsets, {"time": time}).with_next("token")
        sizes = {"tokens": len(vocabulary), "numbers": 1, "classes": len(vocabulary)}
        inputs = StepInputs(
            vocabulary, self.log.name, self.log.time, has_gaps=True, pause=self.pause,
            times=(float(log.times[own].min()), float(log.times[own].max())),
        )  # fmt: skip
        train, validation, test = (kept[part[kept] == number] for number in range(3))
        return _split_parts(sequences, Split(train, validation, test, split.rule), sizes, inputs)


def _of_two_or_more(offsets: np.ndarray) -> np.ndarray:
    """Sessions with a next event, int64."""
    kept = np.flatnonzero(np.diff(offsets) > 1)
    if not len(kept):
        raise ValueError("no session has two events, so there is no next one to learn; give a longer pause")
    return kept


def _split_parts(
    sequences: Sequences,
    split: Split,
    sizes: dict[str, int],
    inputs: StepInputs,
) -> SequenceParts:
    assert split.validation is not None
    return SequenceParts(
        train=sequences.rows(split.train),
        validation=sequences.rows(split.validation),
        test=sequences.rows(split.test),
        sizes=sizes,
        vocabulary=inputs.vocabulary,
        inputs=inputs,
        rule=split.rule,
    )


def day_sequences(log: EventLog, snapshots: Snapshots, observe: int, days_per_step: int = 1) -> Sequences:
    """Steps of some days: "numbers" uint8 [S · steps, days], oldest day first; static as `snapshot_statics` has it."""
    bits = daily_activity_bits(log.times, snapshots.begin, snapshots.end, snapshots.time, observe)
    offsets = offsets_of(np.full(len(snapshots), observe // days_per_step))
    return from_offsets({"numbers": bits.reshape(-1, days_per_step)}, offsets, snapshot_statics(snapshots))


def _with_columns(log: EventLog, snapshots: Snapshots, encode: Encode, columns: PlayerColumns) -> Sequences:
    """What the static "columns" hold already, then those of the players."""
    sequences = encode(log, snapshots)
    own = columns.of(log.players[snapshots.player])
    both = np.hstack([sequences.static["columns"], own]) if "columns" in sequences.static else own
    return replace(sequences, static={**sequences.static, "columns": both})


def snapshot_statics(snapshots: Snapshots) -> dict[str, np.ndarray]:
    """For each snapshot "label" (1: has churned), "player" (place in the log) and "time" (seconds), int64 [S]."""
    label, time = snapshots.churned.astype(np.int64), snapshots.time.astype(np.int64)
    return {"label": label, "player": snapshots.player, "time": time}


def event_sequences(log: EventLog, snapshots: Snapshots, inputs: StepInputs) -> Sequences:
    """A step an event of each window: "token", "numbers" [T, 2 (+ 4) + D]; static as `snapshot_statics` has it.

    The first event of a window has no gap: what lay before is not known at the time.
    """
    offsets = offsets_of(snapshots.end - snapshots.begin)
    position = flat_positions(snapshots.begin, snapshots.end)
    times, now = log.times[position], np.repeat(snapshots.time, np.diff(offsets))
    before = [log_gaps(times, offsets)[:, None], log_ages(times, now)[:, None]]
    steps = _event_steps(log, position, before, inputs)
    return from_offsets(steps, offsets, snapshot_statics(snapshots))


def stream_sequences(log: EventLog, snapshots: Snapshots, inputs: StepInputs) -> Sequences:
    """All events of a player before each snapshot; two of one player share their steps, for none depends on the time.

    Steps "token" and "numbers" [T, 1 (+ 4) + D]; static as `snapshot_statics` has it, "columns" [S, 1], the log age of
    the last event, which the head reads, and "ages" [S, 2], those of the last and the first.
    """
    gaps = log_gaps(log.times, log.offsets)[:, None]
    steps = _event_steps(log, np.arange(len(log.times)), [gaps], inputs)
    first = log.offsets[snapshots.player]
    ages = [log_ages(log.times[at], snapshots.time) for at in (snapshots.end - 1, first)]
    static = snapshot_statics(snapshots) | {"columns": ages[0][:, None], "ages": np.stack(ages, 1)}
    return Sequences(steps, first, snapshots.end, static)


def _event_steps(
    log: EventLog, position: np.ndarray, before: list[np.ndarray], inputs: StepInputs
) -> dict[str, np.ndarray]:
    assert inputs.vocabulary is not None
    assert inputs.scale is not None
    mean, deviation = inputs.scale
    calendar = [periodic(log.times[position])] if inputs.has_calendar else []
    numbers = np.nan_to_num((log.numbers[position] - mean) / deviation)  # a missing number is the mean one
    token = inputs.vocabulary.encode(log.tokens())[position]
    return {"token": token, "numbers": np.concatenate([*before, *calendar, numbers], 1, dtype=np.float32)}


def log_scale(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column's known values, float32 [D] each; 0 and 1 where none is known."""
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(0), 1)
    filled = np.where(known, numbers, 0).astype(np.float64)
    mean = filled.sum(0) / count
    deviation = np.sqrt((np.where(known, filled - mean, 0) ** 2).sum(0) / count)
    return mean.astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32)


def session_offsets(log: EventLog, pause: float | None) -> np.ndarray:
    """Where each session begins: with each player, and after each pause of more than `pause` hours; int64 [N + 1]."""
    if pause is None:
        return log.offsets
    breaks = np.flatnonzero(np.diff(log.times) > pause * 3_600) + 1
    return np.union1d(log.offsets, breaks)
