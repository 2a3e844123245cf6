"""Small made files for the tasks on sequences: an event log, a text, tagged words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def make_files(folder: Path, players: int = 80, seed: int = 0) -> None:
    """events.csv, train|validation|test.txt and train|test.ctf.

    Players have a rate of their own and leave at some day; the next event follows from the last one; of words the tag
    is told by their number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    rows, names = [], ("login", "play", "buy")
    for player in range(players):
        rate, last_day, event = generator.uniform(0.2, 0.9), int(generator.integers(60, 200)), 0
        for day in range(last_day):
            if generator.random() < rate:
                rows.append((f"p{player}", f"2024-01-01T{int(generator.integers(0, 24)):02d}:00:00", day, names[event]))
                event = (event + 1) % 3
    frame = pd.DataFrame(rows, columns=["player_id", "time", "day", "event"])
    time = pd.to_datetime(frame["time"]) + pd.to_timedelta(frame.pop("day"), unit="D")
    frame.assign(time=time.dt.strftime("%Y-%m-%dT%H:%M:%S")).to_csv(folder / "events.csv", index=False)
    for name in ("train", "validation", "test"):
        lines = [" ".join(generator.choice(list("abcdef"), 8)) for _ in range(300)]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    tags = ("O", "B-x", "I-x")
    for name in ("train", "test"):
        words = [(k, int(generator.integers(0, 6))) for k in range(60) for _ in range(5)]
        lines = [f"{k} |S0 {w}:1 |# w{w} |S2 {w % 3}:1 |# {tags[w % 3]}" for k, w in words]
        (folder / f"{name}.ctf").write_text("\n".join(lines) + "\n")
