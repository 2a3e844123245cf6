"""How far a segmentation's graph is from the training side: `python benchmarks/segments_parity.py`.

On all rows of each table and on as many hostile ones, whose cells are missing, unseen or extreme by chance: the largest
difference of a distance, probability or anomaly score (relative above 1), and rows whose segment differs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.simulate_segments import simulate_segments
from ludocast.models.segments.methods import METHODS
from ludocast.recipes.segment_fit import find_segments
from ludocast.recipes.segment_table import read_segment_table
from ludocast.serve.graph_inputs import schema_inputs
from ludocast.serve.segments_export import export_segments

SEGMENTS = 5
DATA = Path(__file__).parent.parent.parent / "shared" / "data"
TABLES = {
    "players_en": (DATA / "game_churn" / "players_en.csv", ["idx", "churn_YN"]),
    "telco": (DATA / "telco_churn" / "telco.csv", ["customerID", "Churn"]),
}


def hostile(columns: RawColumns) -> RawColumns:
    """A third of the cells replaced."""
    rng = np.random.default_rng(0)
    found = {}
    for name, values in columns.items():
        strange = np.array(["", "never seen", "日本", "\u0000"], object)
        if values.dtype != object:
            strange = np.array([np.nan, 3e38, -3e38, 0.0, 1e-30], values.dtype)
        found[name] = np.where(rng.random(len(values)) < 1 / 3, rng.choice(strange, len(values)), values)
    return found


def main() -> None:
    """Measure."""
    print("| table | method | rows | largest difference | segments that differ |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.parquet"
        pq.write_table(simulate_segments(20_000, 0)[0], made)
        for name, (path, exclude) in {"simulated": (made, ["player_id"]), **TABLES}.items():
            if not path.exists():
                print(f"| {name} | is not here | | | |")
                continue
            table = read_segment_table(path, exclude, None, "utf-8", None)
            for method in METHODS:
                fitted = find_segments(table, [method], SEGMENTS, True, 0).fitted
                session = ort.InferenceSession(export_segments(fitted).SerializeToString())
                for what, columns in (("all", table.columns), ("hostile", hostile(table.columns))):
                    feeds = {item.tensor: columns[item.column][:, None] for item in schema_inputs(fitted.schema)}
                    segment, measures = session.run(["segment", "measures"], feeds)
                    index, measured, scores = fitted.predict(columns)
                    assert scores is not None  # as it was asked for them
                    wanted = np.column_stack([measured, scores])
                    worst = (np.abs(measures - wanted) / np.maximum(np.abs(wanted), 1)).max()
                    differ = int((np.array(fitted.names, object)[index] != segment).sum())
                    print(f"| {name} | {method} | {len(segment):,} {what} | {worst:.1e} | {differ} |", flush=True)


if __name__ == "__main__":
    main()
