"""The bundle of `ludocast train sequence`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ludocast.datamodules.sequence import SequenceParts
from ludocast.models.sequence.module import SequenceModule
from ludocast.recipes.provenance import git_revision, libraries
from ludocast.serve.bundle import write_bundle
from ludocast.serve.sequence_export import export_sequence


def write_sequence_bundle(
    folder: Path,
    name: str,
    module: SequenceModule,
    parts: SequenceParts,
    metrics: Mapping[str, float],
    data_sha256: str,
) -> list[str]:
    """Write FOLDER, and tell what of a bundle there is not, a sentence each.

    Args:
        folder: That will be the bundle.
        name: Of the model, as servers show it.
        module: Trained and calibrated.
        parts: What it was trained on.
        metrics: On the test part.
        data_sha256: Of the data.
    """
    try:
        export = export_sequence(module, parts, f"{name}: {type(module).__name__}")
    except ValueError as error:
        return [f"no bundle is written: {error}"]
    write_bundle(
        folder,
        export.model,
        name=name,
        inputs=export.inputs,
        classes=export.classes,
        positive=export.positive,
        threshold=export.threshold,
        missing_tokens=export.missing_tokens,
        metrics=dict(metrics),
        libraries=libraries(),
        data_sha256=data_sha256,
        git_revision=git_revision(),
        task=export.task,
        sequence=export.sequence,
        step=export.step,
        overwrite=True,  # left by a run that was killed after writing it
    )
    return [export.no_step] if export.no_step is not None else []
