"""Who leaves World of Warcraft, from raw login days: `python benchmarks/wow_churn.py`.

Snapshots: observe 56 days, gap 0 and 21, horizon 28, players active within 7 days, every 14 days, split by time; the
last label of a part ends before the next part begins. Networks read the raw bits of the days; LightGBM and logistic
regression read 40 made features, in the same run. Which network is the default is chosen on validation, as are
LightGBM's size and rounds and every temperature. While this was made, the test figures of about ten trials were on
view. Results go to a JSON-lines file as
they come, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.event_sources import ChurnSource, LogColumns
from ludocast.datamodules.sequence import SequenceDataModule, SequenceParts
from ludocast.datamodules.sequences import Sequences
from ludocast.models.calibration import fit_drifting_temperature
from ludocast.models.metrics import calibration_pair, equal_mass_bins, macro_auc
from ludocast.models.sequence.module import LearningSettings
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.predict import leaving_logits
from ludocast.models.sequence.tasks import LeavingModule
from ludocast.models.sequence.train import train_sequence_module
from ludocast.models.stacked_rnn.recurrent import KINDS
from ludocast.models.trainer import TrainerSettings

from benchmarks.wow_features import day_features

LOG = Path(__file__).parent.parent.parent / "shared" / "data" / "wow_logins" / "events.parquet"
OBSERVE = 56
PARTS = ("train", "validation", "test")
LEAVES = (15, 31, 63)
Rows = tuple[np.ndarray, np.ndarray]  # features and labels


class Read(ChurnSource):
    """The source, read once for all trainings on it."""

    @functools.cached_property
    def once(self) -> SequenceParts:
        """What it gives."""
        return super().read()

    def read(self) -> SequenceParts:
        """The same each time."""
        return self.once


@functools.cache
def source(gap: int, days: int) -> Read:
    log = LogColumns(LOG, "player_id", "timestamp")
    return Read(log, observe=OBSERVE, gap=gap, horizon=28, active_within=7, step=14, days_per_step=days)


@functools.cache
def features(gap: int) -> dict[str, tuple[list[str], np.ndarray]]:
    parts = source(gap, 1).once
    return {name: day_features(bits_of(getattr(parts, name))) for name in PARTS}


def bits_of(part: Sequences) -> np.ndarray:
    return part.compact().steps["numbers"].reshape(-1, OBSERVE)


def labels(gap: int) -> dict[str, np.ndarray]:
    return {name: getattr(source(gap, 1).once, name).static["label"] for name in PARTS}


def ece(p: np.ndarray, label: np.ndarray) -> float:
    chance, event = calibration_pair(np.stack([1 - p, p], 1), label, 1)
    member = equal_mass_bins(chance, 15)
    return float(np.abs(np.bincount(member, chance - event)).sum() / len(p))


def figures(validation: np.ndarray, test: np.ndarray, gap: int) -> dict[str, Any]:
    """Measures of logits, calibrated by a temperature from validation."""
    truth = labels(gap)
    times = source(gap, 1).once.validation.static["time"]
    temperature = fit_drifting_temperature(validation, truth["validation"], times)
    found: dict[str, Any] = {"temperature": temperature}
    for name, logit in (("validation", validation), ("test", test)):
        p, raw = (1 / (1 + np.exp(-scaled)) for scaled in (logit / temperature, logit))
        y = truth[name]
        found |= {
            f"{name}_auc": macro_auc(np.stack([1 - p, p], 1), y, 1), f"{name}_ece": ece(p, y),
            f"{name}_ece_raw": ece(raw, y),
            f"{name}_log_loss": float(np.logaddexp(0, (1 - 2 * y) * logit / temperature).mean()),
        }  # fmt: skip
    return found


def network(gap: int, kind: str, seed: int, options: argparse.Namespace) -> tuple[dict[str, Any], list[np.ndarray]]:
    learning = LearningSettings(options.rate, options.decay, average=options.average, seed=seed)
    size = NetworkSettings(kind, options.hidden, options.layers, 1, options.dropout)  # type: ignore[arg-type]
    module = LeavingModule(size, learning)
    data = SequenceDataModule(source(gap, options.days), batch=options.batch, evaluation_batch=2048, seed=seed)
    data_time = replace(TrainerSettings(), resume=False)
    shown = train_sequence_module(module, data, data_time, options.epochs)
    logits = [leaving_logits(module, loader) for loader in (data.val_dataloader(), data.test_dataloader())]
    return {**figures(logits[0], logits[1], gap), "train_loss": shown["train_loss"]}, logits


def tuned_lightgbm(train: Rows, validation: Rows, seed: int) -> tuple[Any, int]:
    """LightGBM of the best log loss on validation, and its leaves; its rounds are chosen there too."""
    import lightgbm

    best = None
    for leaves in LEAVES:
        settings = {
            "objective": "binary", "num_leaves": leaves, "learning_rate": 0.03, "min_data_in_leaf": 100, "seed": seed,
            "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1, "verbosity": -1, "num_threads": 1,
        }  # fmt: skip
        model = lightgbm.train(
            settings, lightgbm.Dataset(*train), 2_000, valid_sets=[lightgbm.Dataset(*validation)],
            callbacks=[lightgbm.early_stopping(100, verbose=False)],
        )  # fmt: skip
        loss = model.best_score["valid_0"]["binary_logloss"]
        if best is None or loss < best[0]:
            best = (loss, leaves, model)
    assert best is not None
    return best[2], best[1]


def lightgbm(gap: int, seed: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    x, y = features(gap), labels(gap)
    names, rows = x["train"]
    model, leaves = tuned_lightgbm((rows, y["train"]), (x["validation"][1], y["validation"]), seed)
    logits = [np.asarray(model.predict(x[name][1], raw_score=True)) for name in PARTS[1:]]
    said = {"leaves": leaves, "rounds": model.best_iteration, "features": len(names)}
    return {**figures(logits[0], logits[1], gap), **said}, logits


def lightgbm_default(gap: int, seed: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    from lightgbm import LGBMClassifier

    x, y = features(gap), labels(gap)
    model = LGBMClassifier(random_state=seed, n_jobs=1, verbosity=-1).fit(x["train"][1], y["train"])
    logits = [np.asarray(model.predict(x[name][1], raw_score=True)) for name in PARTS[1:]]
    return figures(logits[0], logits[1], gap), logits


def logistic(gap: int, seed: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = features(gap), labels(gap)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000, random_state=seed))
    model.fit(x["train"][1], y["train"])
    logits = [model.decision_function(x[name][1]) for name in PARTS[1:]]
    return figures(logits[0], logits[1], gap), logits


RIVALS = {"LightGBM": lightgbm, "LightGBM default": lightgbm_default, "logistic": logistic}


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    done = [json.loads(line) for line in options.cache.read_text().splitlines()] if options.cache.exists() else []
    size = {name: getattr(options, name) for name in ("days", "hidden", "layers", "epochs", "batch", "rate", "dropout")}
    for gap in options.gaps:
        parts = source(gap, 1).once
        print(f"gap {gap}: {parts.rule}; " + ", ".join(f"{len(getattr(parts, n)):,} {n}" for n in PARTS), flush=True)
        for name in options.models:
            for seed in range(options.seeds if name in KINDS else 1):
                key = {"gap": gap, "model": name, "seed": seed, **(size if name in KINDS else {})}
                if any(key.items() <= entry.items() for entry in done):
                    continue
                begin = time.process_time()
                if name in KINDS:
                    found, logits = network(gap, name, seed, options)
                else:
                    found, logits = RIVALS[name](gap, seed)
                kept = options.cache.with_suffix(f".{len(done)}.npz")
                np.savez(kept, validation=logits[0], test=logits[1])
                found["logits"] = kept.name
                entry = {**key, **found, "cpu_seconds": time.process_time() - begin}
                done.append(entry)
                with options.cache.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
                print(
                    f"  {name} seed {seed}: AUC validation {entry['validation_auc']:.4f} test {entry['test_auc']:.4f}, "
                    f"log loss {entry['validation_log_loss']:.4f} {entry['test_log_loss']:.4f}, ECE test "
                    f"{entry['test_ece']:.4f} (raw {entry['test_ece_raw']:.4f}), {entry['cpu_seconds']:.0f} CPU s",
                    flush=True,
                )
    return [entry for entry in done if entry["model"] not in KINDS or size.items() <= entry.items()]


def averages(done: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """For each gap and model the measures of its seeds' mean logits."""
    found = []
    for gap, name in dict.fromkeys((entry["gap"], entry["model"]) for entry in done):
        kept = [np.load(folder / e["logits"]) for e in done if (e["gap"], e["model"]) == (gap, name)]
        mean = {part: np.mean([logits[part] for logits in kept], axis=0) for part in PARTS[1:]}
        found.append({"gap": gap, "model": name, **figures(mean["validation"], mean["test"], gap)})
    return found


def report(done: list[dict[str, Any]], gaps: list[int], what: str) -> None:
    for gap in gaps:
        rows = [entry for entry in done if entry["gap"] == gap]
        mean = {
            name: {k: float(np.mean([e[k] for e in rows if e["model"] == name])) for k in
                   ("validation_auc", "validation_log_loss", "test_auc", "test_ece")}
            for name in dict.fromkeys(entry["model"] for entry in rows)
        }  # fmt: skip
        print(f"\ngap {gap}, {what}\n{'model':<17} validation AUC  log loss   test AUC   test ECE")
        for name, m in mean.items():
            print(f"{name:<17} {m['validation_auc']:14.4f} {m['validation_log_loss']:9.4f} "
                  f"{m['test_auc']:10.4f} {m['test_ece']:10.4f}")  # fmt: skip
        nets = {name: m for name, m in mean.items() if name in KINDS}
        if nets:
            best = min(nets, key=lambda name: nets[name]["validation_log_loss"])
            print(f"default by validation: {best}", end="")
            if "LightGBM" in mean:
                print(f"; ahead of LightGBM by {mean[best]['test_auc'] - mean['LightGBM']['test_auc']:+.4f}", end="")
            top = max(m["test_auc"] for m in nets.values())
            print(f"; sigmoid behind the best by {top - nets['sigmoid']['test_auc']:.4f}" if "sigmoid" in nets else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=[*RIVALS, *KINDS])
    parser.add_argument("--gaps", nargs="*", type=int, default=[0, 21])
    parser.add_argument("--seeds", type=int, default=3)
    for name, default in (("days", 7), ("hidden", 64), ("layers", 1), ("epochs", 5), ("batch", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, value in (("rate", 5e-3), ("dropout", 0.1), ("decay", 0.01), ("average", 0.998)):
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--cache", type=Path, default=Path("wow_churn.jsonl"))
    options = parser.parse_args()
    if not LOG.exists():
        print(f"skipped: its data is not part of the project and {LOG} is absent")
        return
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = measure(options)
    report(done, options.gaps, "each seed alone, means over seeds")
    report(averages(done, options.cache.parent), options.gaps, "the mean logits of all seeds")


if __name__ == "__main__":
    main()
