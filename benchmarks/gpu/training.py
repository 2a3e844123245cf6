"""Trainings by the command line, on the GPU and on the CPU in turn: `python -m benchmarks.gpu.training --epochs 3`.

Each is a whole command (inputs, fit, report, export), of which the seconds are those that a user waits; networks learn
for --epochs, all else is default. Data are simulated, but for --data, a table of yours with its --label, --positive and
--exclude, and --events, a log with columns player_id and timestamp. The CPU has the threads that OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu.device import describe, why_not

LUDOCAST = [sys.executable, "-m", "ludocast"]


def commands(options: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """Names and commands without --out, --epochs and --accelerator."""
    table, label, positive, exclude = folder / "game" / "players.csv", "churned", "yes", "player_id"
    if options.data is not None:
        table, label, positive, exclude = options.data, options.label, options.positive, options.exclude
    else:
        simulate = [*LUDOCAST, "simulate", "--players", str(options.players), "--out", str(table.parent)]
        subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL)
    labelled = ["--data", str(table), "--label", label, "--positive", positive, "--exclude", exclude]
    found = {"train table --learners network": ["train", "table", "--learners", "network", *labelled]}
    if options.events is not None:
        log = ["--data", str(options.events), "--player", "player_id", "--time", "timestamp"]
        found = {"train sequence --task churn": ["train", "sequence", "--task", "churn", *log], **found}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--players", type=int, default=50_000, help="simulated rows")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--label")
    parser.add_argument("--positive")
    parser.add_argument("--exclude")
    parser.add_argument("--events", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--accelerators", nargs="+", choices=("gpu", "cpu"), default=["gpu", "cpu"])
    options = parser.parse_args()
    missing = why_not(triton=False)
    if missing is not None:
        print(f"Skipped: {missing}.")
        return
    print(f"{describe()}; {torch.get_num_threads()} threads of the CPU; {options.epochs} epochs", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands(options, Path(folder)).items():
            for accelerator in options.accelerators:
                out = Path(folder, f"{command[1]}_{accelerator}")
                fixed = ["--epochs", str(options.epochs), "--accelerator", accelerator, "--out", str(out)]
                begin = time.perf_counter()
                done = subprocess.run([*LUDOCAST, *command, *fixed], capture_output=True, text=True, check=False)
                seconds = time.perf_counter() - begin
                if done.returncode != 0:
                    raise SystemExit(f"{name} failed on the {accelerator}:\n{done.stderr[-2000:]}")
                auc = json.loads((out / "metrics.json").read_text())["metrics"]["auc"]["value"]
                print(f"{name}, {accelerator}: {seconds:.1f} s, AUC {auc:.4f}", flush=True)


if __name__ == "__main__":
    main()
