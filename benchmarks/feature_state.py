"""Features kept up event by event beside those of the whole log: `python benchmarks/feature_state.py`.

A simulated game's log; every player's events go through a `FeatureState` in the order of time, with a stop at each
snapshot time, at which all states go through bytes and back and their features are compared with the snapshots that
DuckDB made of the same log. Then what an event costs (`update` alone), what features cost, one player at a time and
all together, and how many bytes a player has. Of 24,000 simulated players more than 10,000 are asked about.
Times are of the processor, one thread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.etl.compile import definition_of_document
from ludocast.datamodules.etl.rules import DAY_MS, read_document
from ludocast.datamodules.feature_state import Definition, Event, FeatureState, features_of

from ludocast.__main__ import main

ONE_BY_ONE = 500  # players whose features are asked for alone


def read_events(log: Path) -> list[tuple[str, Event]]:
    table = pq.read_table(log, columns=["player_id", "time", "event", "amount", "level"]).sort_by("time")
    times = table["time"].cast(pa.timestamp("ms", "UTC"), safe=False).cast("int64").to_pylist()
    columns = [table[name].to_pylist() for name in ("event", "amount", "level")]
    events = map(Event, times, *columns)
    return list(zip(table["player_id"].to_pylist(), events, strict=True))


def compare(definition: Definition, events: list[tuple[str, Event]], wanted: pd.DataFrame) -> dict[str, FeatureState]:
    states: dict[str, FeatureState] = {}
    outputs, taken, seconds, rows, values = definition.program.outputs, 0, 0.0, 0, 0
    for s in sorted(set(wanted.s.tolist())):
        begin = time.process_time()
        while taken < len(events) and events[taken][1].time < s * DAY_MS:
            player, event = events[taken]
            state = states.get(player)
            if state is None:
                state = states[player] = FeatureState(definition)
            state.update(event)
            taken += 1
        seconds += time.process_time() - begin
        for player, state in states.items():
            states[player] = FeatureState.from_bytes(definition, state.to_bytes())
        part = wanted[wanted.s == s]
        seen, found = features_of([states[player] for player in part.player_id], s)
        assert len(seen) == len(part)
        for output in outputs:
            want = part[output.name].to_numpy(float)
            tolerance = 0.0 if output.whole else 1e-9
            np.testing.assert_allclose(found[output.name], want, rtol=tolerance, atol=tolerance, err_msg=output.name)
        rows, values = rows + len(part), values + len(part) * len(outputs)
    whole = sum(output.whole for output in outputs)
    print(
        f"{rows:,} snapshots of {wanted.player_id.nunique():,} players, {values:,} values of {len(outputs)} features: "
        f"{whole} whole numbers equal, {len(outputs) - whole} others to 1e-9"
    )
    print(f"an event: {seconds / taken * 1e6:.2f} µs ({taken:,} events)")
    return states


def costs(definition: Definition, states: dict[str, FeatureState], at: int) -> None:
    sizes = np.array([len(state.to_bytes()) for state in states.values()])
    active = [state for state in states.values() if state.days(at)]
    busy = np.array([len(state.to_bytes()) for state in active])
    print(
        f"bytes a player: mean {sizes.mean():.0f}, median {np.median(sizes):.0f}, largest {sizes.max():,} of "
        f"{len(sizes):,}; of the {len(busy):,} seen within observe mean {busy.mean():.0f}"
    )
    packed = [state.to_bytes() for state in states.values()]
    tracemalloc.start()
    kept = [FeatureState.from_bytes(definition, data) for data in packed]
    print(f"as Python objects: {tracemalloc.get_traced_memory()[0] / len(kept):,.0f} bytes a player")
    tracemalloc.stop()
    begin = time.process_time()
    for data in packed:
        FeatureState.from_bytes(definition, data)
    print(f"from bytes: {(time.process_time() - begin) / len(packed) * 1e6:.1f} µs a player")
    begin = time.process_time()
    seen, _ = features_of(list(states.values()), at)
    seconds = time.process_time() - begin
    features = len(definition.program.outputs)
    rate = len(seen) * features / seconds
    print(f"features of {len(seen):,} players at once: {seconds:.2f} s, {rate:,.0f} features/s")
    begin = time.process_time()
    for state in active[:ONE_BY_ONE]:
        state.features(at)
    one = (time.process_time() - begin) / len(active[:ONE_BY_ONE])
    print(f"features of one player: {one * 1e3:.2f} ms, {features / one:,.0f} features/s")


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--players", type=int, default=24_000)
    parser.add_argument("--days", type=int, default=180)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        game, snaps = folder / "game", folder / "snaps"
        size = [f"--players={options.players}", f"--days={options.days}"]
        log = game / "events.parquet"
        for words in (
            ["simulate", "log", *size, "--out", str(game)], ["snapshots", "--log", str(log), "--out", str(snaps)],
        ):  # fmt: skip
            if main(words):
                raise SystemExit(1)
        wanted = pd.read_parquet(snaps)
        wanted["s"] = wanted.snapshot_time.astype("datetime64[ms]").astype("int64") // DAY_MS
        definition = definition_of_document(read_document(snaps))
        states = compare(definition, read_events(log), wanted)
        costs(definition, states, int(wanted.s.max()))


if __name__ == "__main__":
    run()
