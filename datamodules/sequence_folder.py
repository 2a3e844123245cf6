"""What `ludocast sequences` wrote, as a source: snapshots, labels and parts are those of the folder."""

# N snapshots, T events of all of them

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ludocast.datamodules.errors import first_line
from ludocast.datamodules.event_log import EventLog, event_values, text_codes
from ludocast.datamodules.event_sources import ChurnInputs, ChurnSource, Labelled, LogColumns
from ludocast.datamodules.player_columns import PlayerTable
from ludocast.datamodules.ragged import offsets_of
from ludocast.datamodules.schema import MISSING_TOKENS
from ludocast.datamodules.snapshots import Snapshots
from ludocast.datamodules.split import Split

MOMENT, LABEL, SPLIT = "now", "churned", "split"


class SequenceFolderSource(ChurnSource):
    """Sequences that lie in a folder, a row a snapshot with lists of its events.

    Args:
        log: The folder and its columns.
        inputs: "days" or "events", as of `ChurnSource`; of a stream's events the folder has the newest alone.
        rule: How the parts were made, in words.
        longest: Most events of a row.
        observe: Days that are known.
        gap: Days from a snapshot to its label.
        horizon: Days of the label.
        active_within: Days in which a player who is asked about was seen last.
        calendar: As of `ChurnSource`, as are the next ones.
        min_count: Events seen less often are unknown.
        days_per_step: With "days": days of a step.
        players: What is known of each player beside the log.
        seed: Of what is fitted on `players`.

    Raises:
        ValueError: As of `ChurnSource`, or of a stream.
    """

    is_whole: ClassVar[bool] = False

    def __init__(
        self,
        log: LogColumns,
        inputs: ChurnInputs,
        rule: str,
        longest: int,
        observe: int,
        gap: float,
        horizon: float,
        active_within: float,
        calendar: bool = False,
        min_count: int = 1,
        days_per_step: int = 1,
        players: PlayerTable | None = None,
        seed: int = 0,
    ) -> None:
        if inputs == "stream":
            raise ValueError(
                f"--inputs stream learns from all events of a player, and {log.path} holds those of the last {observe} "
                "days; take --inputs events, or the log itself as --data"
            )
        super().__init__(
            log, inputs, calendar, observe, gap, horizon, active_within, min_count=min_count,
            days_per_step=days_per_step, players=players, seed=seed,
        )  # fmt: skip
        self.rule, self.longest = rule, longest

    def labelled(self) -> Labelled:
        """Read the rows that are in a part.

        Raises:
            ValueError: If a column is absent, or lists of a row are not equally long.
        """
        return read_sequences(self.log, self.rule, self.gap + self.horizon)


def read_sequences(columns: LogColumns, rule: str, label_days: float) -> Labelled:
    """Rows of lists as a log and its snapshots, by player, then time.

    The log's events are those of the windows, one window after the other: times go back where a player's next window
    begins, and an event that two windows see is there twice.

    Args:
        columns: The folder and its columns.
        rule: How the parts were made.
        label_days: Days from a snapshot to the end of its label.

    Raises:
        ValueError: If a column is absent, or lists of a row are not equally long.
    """
    lists = [columns.time, *([] if columns.event is None else [columns.event]), *columns.numbers]
    names = [columns.player, MOMENT, *lists, LABEL, SPLIT]
    table = _read(columns.path, names)
    missing = frozenset(MISSING_TOKENS)
    code, players = text_codes(table, columns.player, missing)
    now = table[MOMENT].cast(pa.timestamp("us")).to_numpy().astype("datetime64[s]").astype(np.int64)
    order = np.lexsort((now, code))
    table, code, now = table.take(pa.array(order)), code[order], now[order]
    lengths = pc.list_value_length(table[columns.time]).to_numpy().astype(np.int64)
    for name in lists[1:]:
        if not np.array_equal(pc.list_value_length(table[name]).to_numpy(), lengths):
            raise ValueError(f'{columns.path}: lists of "{name}" and "{columns.time}" are not equally long')
    flat = pa.table({name: pc.list_flatten(table[name]) for name in lists})
    seconds, codes, events, matrix = event_values(flat, columns.time, columns.event, columns.numbers, missing)
    offsets = offsets_of(lengths)
    of_player = np.searchsorted(code, np.arange(len(players) + 1))
    log = EventLog(players, offsets[of_player], seconds, codes, events, matrix)
    churned = table[LABEL].to_numpy().astype(bool)
    snapshots = Snapshots(
        code, now.astype(np.float64), offsets[:-1], offsets[1:], churned, np.unique(now).astype(np.float64), label_days
    )
    part = table[SPLIT].to_numpy()
    train, validation, test = (np.flatnonzero(part == name) for name in ("train", "validation", "test"))
    return Labelled(log, snapshots, Split(train, validation, test, rule))


def _read(folder: Path, names: list[str]) -> pa.Table:
    try:
        there = pq.ParquetDataset(folder).schema.names
        absent = [name for name in names if name not in there]
        if absent:
            raise ValueError(f'{folder} has no column "{absent[0]}"; it has {", ".join(there)}')
        return pq.read_table(folder, columns=names, filters=pc.field(SPLIT) != "none")
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{folder} is no readable folder of sequences: {first_line(error)}") from error
