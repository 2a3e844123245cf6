"""What a folder of snapshots or sequences says of itself, for those who train on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ludocast.datamodules.etl.rules import read_document


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
    document = labelled_document(folder, "snapshots")
    player = document["log"]["player"]
    left_out = (player, "snapshot_time", document["split"])
    return SnapshotTable(document["label"], document["split"], left_out, split_rule(document))


def labelled_document(folder: Path, kind: str) -> dict[str, Any]:
    """The document of snapshots or sequences to learn from.

    Raises:
        ValueError: If the folder holds none, or none with labels.
    """
    document = read_document(folder, kind)
    if "label" not in document:
        raise ValueError(f"{folder} holds {kind} without labels (--at), for scoring; there is nothing to learn")
    return document


def split_rule(document: dict[str, Any]) -> str:
    """How the parts came to be, in words."""
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
    return rule
