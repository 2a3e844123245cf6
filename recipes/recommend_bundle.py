"""The bundle of `ludocast train recommend`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.schema import MISSING_TOKENS
from ludocast.models.recommend.cold_start import ColdStart
from ludocast.models.recommend.ranking import Recommender
from ludocast.recipes.provenance import git_revision, libraries
from ludocast.serve.bundle import write_bundle
from ludocast.serve.catalogue import CATALOGUE_FILE, Catalogue
from ludocast.serve.graph_cold_start import attribute_inputs
from ludocast.serve.manifest import Input
from ludocast.serve.manifest_sequences import PairColumns, SequenceInputs
from ludocast.serve.recommend_export import export_recommender
from ludocast.serve.recommend_names import HISTORY, LENGTH

LONGEST = 10_000  # items of a history that are read
SHOWN_ITEMS = 50


def write_recommend_bundle(
    folder: Path,
    name: str,
    model: Recommender,
    items: np.ndarray,
    popularity: np.ndarray,
    pairs: PairColumns,
    metrics: Mapping[str, Any],
    data_sha256: str,
    catalogue: Catalogue | None = None,
    repeatable: np.ndarray | None = None,
    cold: ColdStart | None = None,
) -> None:
    """Write FOLDER.

    Args:
        folder: That will be the bundle.
        name: Of the model, as servers show it.
        model: Fitted.
        items: Ids [I].
        popularity: Users of each item [I]; the most owned ones are shown as examples.
        pairs: Columns of the table.
        metrics: On the test part.
        data_sha256: Of the table.
        catalogue: Categories and vectors of the items; None where the options that need them are not wanted.
        repeatable: Items that are suggested though they are owned, bool [I]; None for none.
        cold: What answers users without history by their attributes; None for popularity.

    Raises:
        ValueError: If the model has no graph.
    """
    export = export_recommender(
        model, items, description=f"{name}: items for a history", repeatable=repeatable, cold=cold
    )
    shown = [export.items[k] for k in np.argsort(-popularity, kind="stable")[:SHOWN_ITEMS]]
    write_bundle(
        folder,
        export.model.SerializeToString(),
        name=name,
        inputs=[
            Input(HISTORY, HISTORY, "category", tuple(shown), form="list"),
            *([] if cold is None else attribute_inputs(cold.columns)),
        ],
        classes=export.items,
        missing_tokens=MISSING_TOKENS,
        metrics=metrics,
        libraries=libraries(),
        data_sha256=data_sha256,
        git_revision=git_revision(),
        task="items",
        sequence=SequenceInputs(LENGTH, LONGEST),
        pairs=pairs,
        extra_files=None if catalogue is None else {CATALOGUE_FILE: catalogue.to_bytes()},
        overwrite=True,  # left by a run that was killed after writing it
    )
