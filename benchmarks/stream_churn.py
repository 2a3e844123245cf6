"""Churn from more snapshots than memory holds: `python benchmarks/stream_churn.py --rows 1000000 20000000`.

A simulated game's snapshots are drawn from at random, a tenth of the numbers of each row exchanged with another row's,
and each row is given a label anew by the chance that gradient boosting of the game's own labels gives it: so rows are
never used up, and the best possible AUC is known. Row groups are made and written one by one. Then
`ludocast train churn` runs on each number of training rows in a process of its own (further words are handed on), with
the same validation and test rows; told are seconds, the peak of memory, and the AUC on all test rows.

`--beside-memory` instead trains the network alone on so many rows twice, from memory and from the disk, with the same
preprocessing (of a tenth of the rows), seed and passes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.etl.write import ROW_GROUP, DataSetWriter
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.row_group_loader import TrainingStream
from ludocast.datamodules.row_groups import StreamedTable
from ludocast.models.metrics import macro_auc
from ludocast.models.table.train import network_outputs, train_network
from ludocast.models.trainer import TrainerSettings
from ludocast.recipes.labelled_table import read_labelled_table

from ludocast.__main__ import main as ludocast

EXCHANGED = 0.1


class Game:
    """What rows are drawn from: the features of real snapshots, and the chance that boosting gives each row."""

    def __init__(self, folder: Path, players: int) -> None:
        import lightgbm

        if not (folder / "snaps").exists():
            words = ["--players", str(players), "--days", "200", "--out", str(folder / "game")]
            assert ludocast(["simulate", "log", *words]) == 0
            words = ["--log", str(folder / "game" / "events.parquet"), "--step=7d", "--out", str(folder / "snaps")]
            assert ludocast(["snapshots", *words]) == 0
        frame = pd.read_parquet(folder / "snaps")
        self.folder, self.schema = folder, pq.read_schema(folder / "snaps" / "part-00000.parquet")
        self.names = [
            name for name in self.schema.names if name not in ("player_id", "snapshot_time", "churned", "split")
        ]
        self.features = frame[self.names].to_numpy(np.float32)
        settings = {"objective": "binary", "num_leaves": 31, "learning_rate": 0.1, "verbosity": -1, "seed": 0}
        data = lightgbm.Dataset(self.features, frame.churned.to_numpy(np.float32))
        self.model = lightgbm.train(settings, data, num_boost_round=60)

    def rows(self, part: str, number: int, rows: int) -> tuple[pa.Table, np.ndarray]:
        """Row group `number` of a part, and the chance of its rows."""
        generator = np.random.default_rng((("train", "validation", "test").index(part), number))
        source = generator.integers(len(self.features), size=rows)
        features = self.features[source]
        for column in features.T:
            other = generator.integers(rows, size=int(EXCHANGED * rows))
            column[generator.permutation(other)] = column[other]
        chance = np.asarray(self.model.predict(features, num_threads=1))
        columns: dict[str, object] = dict(zip(self.names, features.T, strict=True))
        columns["player_id"] = np.char.add(f"{part}{number}_", np.arange(rows).astype(str))
        columns["snapshot_time"] = np.full(rows, number).astype("M8[D]").astype("M8[us]")
        columns["churned"] = generator.random(rows) < chance
        columns["split"] = np.full(rows, part)
        arrays = [pa.array(columns[field.name], from_pandas=True).cast(field.type) for field in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema), chance

    def write(self, train: int, test: int) -> Path:
        """A folder of snapshots with so many training and test rows, and half as many of validation."""
        out = self.folder / f"rows_{train}"
        if out.exists():
            return out
        partial = out.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in ("_schema.json", "_features.json"):
            shutil.copy(self.folder / "snaps" / name, partial)
        writer, best = DataSetWriter(partial), []
        for part, count in (("train", train), ("validation", test // 2), ("test", test)):
            for number, begin in enumerate(range(0, count, ROW_GROUP)):
                table, chance = self.rows(part, number, min(ROW_GROUP, count - begin))
                writer.add(table)
                if part == "test":
                    best.append((chance, table["churned"].to_numpy()))
        writer.finish(self.schema)
        chance, label = (np.concatenate(side) for side in zip(*best, strict=True))
        (partial / "_best.json").write_text(
            json.dumps(macro_auc(np.stack([1 - chance, chance], 1), label.astype(int), 1))
        )
        partial.rename(out)
        return out


def beside_memory(data: Path, rows: int, passes: int) -> dict[str, float]:
    """AUC on the test rows of the network trained from memory, and from the disk."""
    table = read_labelled_table(data, None, None, [], None, None, None, 0, "utf-8", None, None, most_rows=rows // 10)
    assert table.stream is not None
    columns, label = table.part(table.split.train)
    preprocessing, sample = fit_preprocessing(table.schema, columns, label, 0)
    sizes = {**preprocessing.sizes, "classes": 2}
    every = read_part(table.stream, preprocessing, "train")
    test, test_label = read_part(table.stream, preprocessing, "test")
    settings = TrainerSettings(epochs=passes)
    found = {}
    for name, (encoded, own), stream in (
        ("memory", every, None),
        ("disk", (sample, label), TrainingStream(table.stream, preprocessing)),
    ):
        begin = time.perf_counter()
        module = train_network(encoded, own, [np.arange(len(own))], sizes, settings, 0, None, stream)
        p = 1 / (1 + np.exp(-network_outputs(module, test)[0, :, 0].astype(np.float64)))
        found[name] = macro_auc(np.stack([1 - p, p], 1), test_label, 1)
        print(f"{rows:,} rows from {name}, {passes} passes: {time.perf_counter() - begin:.0f} s, AUC {found[name]:.4f}")
    return found


def read_part(table: StreamedTable, preprocessing: Preprocessing, part: str) -> tuple[Encoded, np.ndarray]:
    pieces = [(preprocessing.encode(columns), label) for columns, label in table.part(part)]
    sides = (np.concatenate([getattr(one, side) for one, _ in pieces]) for side in ("numbers", "codes", "raw"))
    return Encoded(*sides), np.concatenate([label for _, label in pieces])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", required=True)
    parser.add_argument("--test-rows", type=int, default=2 * ROW_GROUP)
    parser.add_argument("--players", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path("stream_churn"))
    parser.add_argument("--beside-memory", type=int, metavar="PASSES")
    options, words = parser.parse_known_args()
    game = Game(options.folder, options.players)
    print(f"{len(game.names)} features, {len(game.features):,} rows to draw from", flush=True)
    for rows in options.rows:
        begin = time.perf_counter()
        data = game.write(rows, options.test_rows)
        made = time.perf_counter() - begin
        if options.beside_memory is not None:
            beside_memory(data, rows, options.beside_memory)
            continue
        disk = sum(file.stat().st_size for file in data.glob("*.parquet")) / 1e9
        run = options.folder / "run"
        begin = time.perf_counter()
        command = [sys.executable, "-m", "ludocast", "train", "churn", "--data", str(data), "--out", str(run)]
        with (options.folder / "said.txt").open("w") as said:
            process = subprocess.Popen([*command, "--overwrite", *words], stdout=said)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(status)
        auc = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["metrics"]["auc"]
        best = json.loads((data / "_best.json").read_text())
        print(
            f"{rows:>12,} rows ({disk:.2f} GB on the disk, {rows * 4 * len(game.names) / 1e9:.1f} GB as float32; made "
            f"in {made:.0f} s): {time.perf_counter() - begin:.0f} s, peak {usage.ru_maxrss / 1e6:.2f} GB, "
            f"AUC {auc['value']:.4f} ({auc['low']:.4f} to {auc['high']:.4f}), best possible {best:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
