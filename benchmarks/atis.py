"""Slot F1 on ATIS of sigmoid, tanh, GRU and LSTM layers, three seeds each: `python benchmarks/atis.py`.

Test part as given, chunks counted as conlleval does. All settings are the same for all kinds. Window and dropout are
the best of a few by the F1 of held-out training sentences (one seed); the rest were set without such a comparison, and
the test F1 of those trials was on view. Results go to a JSON-lines file as they come, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.datamodules.sequence_sources import TagSource
from ludocast.models.sequence.module import LearningSettings
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.predict import evaluated
from ludocast.models.sequence.tasks import TagModule
from ludocast.models.sequence.train import train_sequence_module
from ludocast.models.stacked_rnn.recurrent import KINDS
from ludocast.models.trainer import TrainerSettings

ATIS = Path(__file__).parent.parent.parent / "shared" / "data" / "atis"


def train(kind: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    source = TagSource(
        ATIS / "atis.train.ctf.gz", ATIS / "atis.test.ctf.gz", labels=ATIS / "atis.label", validation=options.validation
    )
    data = SequenceDataModule(source, batch=options.batch, unknown_share=options.unknown, seed=seed)
    size = NetworkSettings(kind, options.hidden, options.layers, options.embedding, options.dropout)  # type: ignore[arg-type]
    module = TagModule(size, LearningSettings(options.rate, average=options.average, seed=seed), options.window)
    shown = train_sequence_module(module, data, TrainerSettings(resume=False), options.epochs)
    test = evaluated(module, data)
    assert module.chunks is not None
    return {
        "train_loss": shown["train_loss"], "validation_f1": shown["validation_f1"],
        **{f"test_{name}": value for name, value in test.items()}, "table": module.chunks.table(),
    }  # fmt: skip


def report(done: list[dict[str, Any]]) -> None:
    print(f"\n{'kind':<8} seeds  validation F1   test F1 (each)            accuracy  CPU s")
    mean: dict[str, float] = {}
    for kind in dict.fromkeys(entry["kind"] for entry in done):
        rows = [entry for entry in done if entry["kind"] == kind]
        f1 = [entry["test_f1"] for entry in rows]
        mean[kind] = float(np.mean(f1))
        print(
            f"{kind:<8} {len(rows):5} {np.mean([e['validation_f1'] for e in rows]):14.4f} {mean[kind]:9.4f} "
            f"({', '.join(f'{x:.4f}' for x in f1)}) {np.mean([e['test_accuracy'] for e in rows]):9.4f} "
            f"{np.mean([e['cpu_seconds'] for e in rows]):6.0f}"
        )
    best = max(mean, key=lambda kind: mean[kind])
    print(f"best: {best} {mean[best]:.4f}\n\n{'slot':<34} chunks  precision  recall  F1 ({best}, first seed)")
    for slot, row in next(entry for entry in done if entry["kind"] == best)["table"].items():
        if row["chunks"] >= 20:
            print(f"{slot:<34} {row['chunks']:6.0f} {row['precision']:10.3f} {row['recall']:7.3f} {row['f1']:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    for name, default in (("hidden", 128), ("layers", 1), ("embedding", 100), ("epochs", 20), ("batch", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--window", type=int, default=1)
    for name, value in (("rate", 5e-3), ("dropout", 0.4), ("average", 0.995), ("unknown", 0.01), ("validation", 0.02)):
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--cache", type=Path, default=Path("atis.jsonl"))
    options = parser.parse_args()
    if not ATIS.exists():
        print(f"skipped: its data is not part of the project and {ATIS} is absent")
        return
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    settings = {name: value for name, value in vars(options).items() if name not in ("kinds", "seeds", "cache")}
    cache: Path = options.cache
    done = [json.loads(line) for line in cache.read_text().splitlines()] if cache.exists() else []
    done = [entry for entry in done if entry["settings"] == settings]
    for kind in options.kinds:
        for seed in range(options.seeds):
            if any((entry["kind"], entry["seed"]) == (kind, seed) for entry in done):
                continue
            begin = time.process_time()
            entry = {"kind": kind, "seed": seed, "settings": settings, **train(kind, seed, options)}
            done.append({**entry, "cpu_seconds": time.process_time() - begin})
            with cache.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(
                f"{kind} seed {seed}: validation F1 {entry['validation_f1']:.4f}, test F1 {entry['test_f1']:.4f}",
                flush=True,
            )
    report(done)


if __name__ == "__main__":
    main()
