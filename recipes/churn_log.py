"""The way from an event log to the table of a churn run: snapshots in the run's work folder, their split kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ludocast.datamodules.etl.compile import definition_of_document
from ludocast.datamodules.etl.rules import Rules, read_document
from ludocast.datamodules.etl.sources import log_files
from ludocast.datamodules.etl.write import PartialFolder
from ludocast.datamodules.feature_state import Definition
from ludocast.recipes.log_options import LogOptions, SnapshotOptions
from ludocast.recipes.provenance import digest
from ludocast.recipes.run_folder import RunFolder
from ludocast.recipes.snapshots import make_snapshots, tell
from ludocast.serve.raw_events import FEATURES_FILE

FOLDER = "snapshots"
LABEL = "churned"


@dataclass(frozen=True)
class LogRun:
    """A log to train on.

    Attributes:
        source: The log.
        options: Which moments.
        rules: Windows and the like.
    """

    source: LogOptions
    options: SnapshotOptions
    rules: Rules

    def settings(self) -> dict[str, Any]:
        """What the snapshots depend on, as a resumed run compares it."""
        return {
            "log": self.source.log, "log_sha256": [digest(file) for file in log_files(self.source.log)],
            "columns": self.source.columns | self.options.columns, "rules": self.rules.document(),
        }  # fmt: skip

    def begin(self, folder: RunFolder, settings: dict[str, Any]) -> Path:
        """Begin the run and make its snapshots, unless a stopped run has left them there.

        Raises:
            ValueError: If the log does not serve; the sentence says why, and nothing is left behind.
        """
        out = folder.begin(settings) / FOLDER
        if out.exists():
            return out
        partial = PartialFolder(out)
        try:
            with partial as path:
                written, features = make_snapshots(self.source, self.options, self.rules, path)
                partial.finish()
        except ValueError:
            if not folder.resume:
                folder.discard()
            raise
        tell(written, f"snapshots of {features} features", folder.out / FOLDER)
        return out


def definition_of(data: Path) -> Definition | None:
    """How features follow from raw events, for serving; None of a table that is no folder of snapshots.

    Args:
        data: What is trained on.

    Raises:
        ValueError: If a feature cannot be worked out online.
    """
    return definition_of_document(read_document(data)) if data.is_dir() else None


def features_file(definition: Definition | None, inputs: list[str]) -> dict[str, bytes]:
    """What a bundle needs to describe players by their raw events; nothing where the model reads more than they tell.

    Args:
        definition: Of `definition_of`.
        inputs: Columns that the model reads; those that were added by hand are no features.
    """
    if definition is None:
        return {}
    known = {output.name for output in definition.program.outputs}
    own = [name for name in inputs if name not in known]
    if own:
        print(f'note: "{own[0]}" is no feature of the log, so the bundle scores tables, and no raw events', flush=True)
        return {}
    return {FEATURES_FILE: json.dumps(definition.document(), separators=(",", ":")).encode()}


def log_run(source: LogOptions, options: SnapshotOptions, time_zone: str, world: int) -> LogRun:
    """A log to train on, its options checked.

    Args:
        source: The log.
        options: Which moments.
        time_zone: Of hours and weekdays.
        world: How many processes train.

    Raises:
        ValueError: If an option is none that can be used.
    """
    if world > 1:
        raise ValueError(
            "several processes train on snapshots that are there: call `ludocast snapshots` first, and give its folder "
            "as --data"
        )
    return LogRun(source, options, options.rules(time_zone=time_zone))


def check_source(
    data: Path | None, label: str | None, log: list[str] | None, split_time: str | None, split_group: str | None
) -> None:
    """Refuse options that contradict each other.

    Raises:
        ValueError: If there is not one source, or a table has no label.
    """
    if (data is None) == (log is None):
        raise ValueError("give either --data, a player table or a folder of snapshots, or --log, an event log")
    snapshots = log is not None or (data is not None and data.is_dir())
    if snapshots and (split_time is not None or split_group is not None):
        raise ValueError("snapshots have their own split; leave --split-time and --split-group out")
    if snapshots and label not in (None, LABEL):
        raise ValueError(f'the label of snapshots is "{LABEL}"; leave --label out')
    if not snapshots and label is None:
        raise ValueError("--label names the column with the outcome")
