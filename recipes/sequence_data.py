"""The data of `ludocast train sequence`: which source a task reads, and what its options have to be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ludocast.datamodules.event_sources import ChurnInputs, ChurnSource, LogColumns, NextEventSource
from ludocast.datamodules.player_columns import PlayerTable
from ludocast.datamodules.sequence import SequenceSource
from ludocast.datamodules.sequence_folder import SequenceFolderSource
from ludocast.datamodules.sequence_sources import TagSource, TextSource
from ludocast.datamodules.text import Layout
from ludocast.models.sequence.defaults import Task
from ludocast.recipes.provenance import digest
from ludocast.recipes.snapshot_table import labelled_document, split_rule

Value = TypeVar("Value")
WINDOWS = ("observe", "gap", "horizon", "active_within", "step")


@dataclass(frozen=True)
class DataOptions:
    """Where the sequences come from; which of these a task needs, `source_of` says.

    Attributes:
        data: Event log or folder of sequences, or the training file of texts or tags.
        validation: Text.
        test: Text, or file of tags.
        labels: Names of the tags.
        player: Column of an event log.
        time: The same.
        event: The same.
        numbers: The same, of numbers that a step reads too.
        inputs: Of churn: a step is a day (or some), or an event, of a window or of all there are.
        days_per_step: Days of such a step.
        observe: Days that are known.
        gap: Days between what is known and the label.
        horizon: Days of the label.
        active_within: Days in which a player who is asked about was seen last.
        step: Days from one snapshot to the next.
        pause: Hours without an event that end a session.
        layout: Of a text.
        min_count: Tokens seen less often are unknown.
        players: Of churn: table with one row a player.
        exclude: Columns of it to leave out.
    """

    data: Path
    validation: Path | None = None
    test: Path | None = None
    labels: Path | None = None
    player: str | None = None
    time: str | None = None
    event: str | None = None
    numbers: tuple[str, ...] = ()
    inputs: ChurnInputs = "days"
    days_per_step: int = 7
    observe: int = 56
    gap: float = 0
    horizon: float = 28
    active_within: float = 7
    step: float = 14
    pause: float | None = None
    layout: Layout = "words"
    min_count: int = 1
    players: Path | None = None
    exclude: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        return [path for path in (self.data, self.validation, self.test, self.labels, self.players) if path is not None]

    def sha256(self) -> str:
        """Of the content of all files, in order.

        Raises:
            OSError: If one cannot be read.
        """
        whole = hashlib.sha256()
        for path in self.files:
            whole.update(bytes.fromhex(digest(path)))
        return whole.hexdigest()


def source_of(task: Task, options: DataOptions, seed: int) -> SequenceSource:
    """The source that a task reads.

    Args:
        task: What is learnt.
        options: Where the sequences come from.
        seed: Of the split of tags, and of what is fitted on a table of players.

    Raises:
        ValueError: If an option is missing.
    """
    if options.numbers and (task != "churn" or options.inputs == "days"):
        raise ValueError("--numbers are read with --task churn and --inputs events or stream; leave them out")
    if options.players is not None and task != "churn":
        raise ValueError(f"--players goes with --task churn, not with --task {task}; leave it out")
    if options.exclude and options.players is None:
        raise ValueError("--exclude names columns of --players; give that table too")
    if task == "tag":
        test = _needed(options.test, task, "--test, the file of the test sequences")
        return TagSource(options.data, test, labels=options.labels, min_count=options.min_count, seed=seed)
    if task == "language":
        validation = _needed(options.validation, task, "--validation, a text")
        test = _needed(options.test, task, "--test, a text")
        return TextSource(options.data, validation, test, layout=options.layout, min_count=options.min_count)
    if options.data.is_dir():
        return _folder_source(task, options, seed)
    player = _needed(options.player, task, "--player, the log's column of players")
    time = _needed(options.time, task, "--time, the log's column of times")
    if task == "next" or options.inputs != "days":
        _needed(options.event, task, "--event, the log's column of event names")
    log = LogColumns(options.data, player, time, options.event, options.numbers)
    if task == "next":
        return NextEventSource(log, options.pause, min_count=options.min_count)
    return ChurnSource(
        log, options.inputs, observe=options.observe, gap=options.gap, horizon=options.horizon,
        active_within=options.active_within, step=options.step, min_count=options.min_count,
        days_per_step=options.days_per_step,
        players=_players(options, player), seed=seed,
    )  # fmt: skip


def _folder_source(task: Task, options: DataOptions, seed: int) -> SequenceSource:
    """The sequences of a folder, which says by itself what its columns and windows are."""
    folder = options.data
    if task != "churn":
        raise ValueError(f"--task {task} reads an event log; {folder} is a folder, as `ludocast sequences` makes one")
    document = labelled_document(folder, "sequences")
    named, rules = document["log"], document["rules"]
    for name in WINDOWS:
        if getattr(options, name) not in (getattr(DataOptions, name), rules[name]):
            raise ValueError(f"--{name.replace('_', '-')} of the sequences in {folder} is {rules[name]}; leave it out")
    for role in ("player", "time", "event"):
        if getattr(options, role) not in (None, named.get(role)):
            raise ValueError(f'--{role} of the sequences in {folder} is "{named.get(role)}"; leave it out')
    if options.inputs != "days" and "event" not in named:
        raise ValueError(f"--inputs {options.inputs} reads names of events, and {folder} has none; take --inputs days")
    event = None if options.inputs == "days" else named["event"]
    return SequenceFolderSource(
        LogColumns(folder, named["player"], named["time"], event, options.numbers), options.inputs,
        split_rule(document), document["newest"], observe=rules["observe"], gap=rules["gap"], horizon=rules["horizon"],
        active_within=rules["active_within"], min_count=options.min_count, days_per_step=options.days_per_step,
        players=_players(options, named["player"]), seed=seed,
    )  # fmt: skip


def _players(options: DataOptions, player: str) -> PlayerTable | None:
    return None if options.players is None else PlayerTable(options.players, player, options.exclude)


def _needed(value: Value | None, task: Task, what: str) -> Value:
    if value is None:
        raise ValueError(f"--task {task} needs {what}")
    return value
