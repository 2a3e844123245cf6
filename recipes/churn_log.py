"""The way from an event log to the table of a churn run: snapshots in the run's work folder, their split kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ludocast.datamodules.etl.compile import definition_of_document
from ludocast.datamodules.etl.rules import Rules, read_document, whole_days
from ludocast.datamodules.etl.sources import log_files
from ludocast.datamodules.etl.write import PartialFolder
from ludocast.datamodules.feature_state import Definition
from ludocast.recipes.run_folder import RunFolder
from ludocast.recipes.snapshots import LogOptions, make_snapshots, tell
from ludocast.serve.raw_events import FEATURES_FILE

FOLDER = "snapshots"
LABEL = "churned"


@dataclass(frozen=True)
class LogRun:
    """A log to train on.

    Attributes:
        options: The log.
        rules: Windows and the like.
    """

    options: LogOptions
    rules: Rules

    def settings(self) -> dict[str, Any]:
        """What the snapshots depend on, as a resumed run compares it."""
        return {
            "log": list(self.options.log), "log_sha256": [digest(file) for file in log_files(self.options.log)],
            "columns": self.options.columns, "rules": self.rules.document(),
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
                written = make_snapshots(self.options, self.rules, path)
                partial.finish()
        except ValueError:
            if not folder.resume:
                folder.discard()
            raise
        tell(written, folder.out / FOLDER)
        return out


@dataclass(frozen=True)
class SnapshotTable:
    """What the document beside written snapshots says of their columns.

    Attributes:
        label: Column to predict.
        split: Column of the parts.
        left_out: Columns that are no features.
        rule: How the parts came to be, in words.
    """

    label: str
    split: str
    left_out: tuple[str, ...] = field(default=())
    rule: str = ""


def snapshot_table(folder: Path) -> SnapshotTable:
    """Read what written snapshots say of themselves.

    Raises:
        ValueError: If the folder holds none, or none with labels.
    """
    document = read_document(folder)
    if "label" not in document:
        raise ValueError(f"{folder} holds snapshots without labels (--at), for scoring; there is nothing to learn")
    spans = document["split_times"]
    words = ", ".join(f"{name} {first} to {last}" for name, (first, last) in spans.items())
    rules = document["rules"]
    rule = (
        f"by the time of the snapshots ({words}; observed {rules['observe']} days, gap {rules['gap']}, left if not "
        f"seen for {rules['horizon']}, active within {rules['active_within']}, every {rules['step']}); the labels of a "
        "part end by the first snapshot of the next"
    )
    if document["players_apart"]:
        rule += "; no player of the test is in another part"
    player = document["log"]["player"]
    return SnapshotTable(document["label"], document["split"], (player, "snapshot_time", document["split"]), rule)


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


def log_run(
    log: list[str], columns: dict[str, str | None], windows: dict[str, str], time_zone: str, memory: str, world: int
) -> LogRun:
    """A log to train on, its options checked.

    Args:
        log: Files, folders and globs.
        columns: Role to column; None to look for one.
        windows: Durations as a person wrote them.
        time_zone: Of hours and weekdays.
        memory: Of the engine.
        world: How many processes train.

    Raises:
        ValueError: If an option is none that can be used.
    """
    if world > 1:
        raise ValueError(
            "several processes train on snapshots that are there: call `ludocast snapshots` first, and give its folder "
            "as --data"
        )
    days = {name: whole_days("--" + name.replace("_", "-"), text) for name, text in windows.items()}
    rules = Rules(
        days["observe"], days["gap"], days["horizon"], days["active_within"], days["step"], time_zone=time_zone
    )  # fmt: skip
    rules.windows  # noqa: B018 — checks them before anything is read
    return LogRun(LogOptions(tuple(log), {"level": None, "session": None, **columns}, memory=memory), rules)


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


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder that of its files' names and digests."""
    if not path.is_dir():
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    files = {str(file.relative_to(path)): digest(file) for file in sorted(path.rglob("*")) if file.is_file()}
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
