"""`ludocast simulate log`: an event log of a simulated game, its players, its shop, and the truth behind them.

Writes OUT/events.parquet in the order of time, a row group some days, so that memory does not grow with the log:

| column | |
| --- | --- |
| `player_id` | text |
| `time` | UTC, ms |
| `event` | session_start, match_won, match_lost, level_up, purchase |
| `level` | of the player; a level_up tells the new one |
| `item`, `amount` | of a purchase, US dollars |

OUT/players.csv and OUT/items.csv tell what a studio knows of players and items; OUT/truth.parquet the exact probability
of each player who was active in the seven days before a snapshot (every seventh midnight) to have no event in the 28
days from it on, given the log until then (`truth.py`). The model is written down in `players.py`, `habits.py`,
`days.py` and `items.py` of this folder.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ludocast.datamodules.game.days import BAN, EVENTS, Events, Game
from ludocast.datamodules.game.items import CATEGORIES, Shop, open_shop
from ludocast.datamodules.game.players import FIRST_DAY, Players, draw_players
from ludocast.datamodules.simulate import CHANNELS, COUNTRIES
from ludocast.datamodules.simulated_files import check_out, filling, write_csv
from tqdm import tqdm

FEWEST, SHORTEST = 100, 60
ROW_GROUP = 1_000_000
EVERY, ACTIVE_WITHIN, HORIZON = 7, 7, 28  # days, of the truth's snapshots
FILES = ("events.parquet", "players.csv", "items.csv", "truth.parquet")


def simulate_log(
    players: int = 10_000, days: int = 180, out: Path = Path("game"), seed: int = 0, overwrite: bool = False
) -> None:
    """Write the event log of a simulated game, its players, its items, and the true probabilities of leaving.

    A player has about 160 events in 180 days, so --players 640000 gives a log of 100 million; memory stays bounded.

    Example: ludocast simulate log --players 10000 --out game

    Args:
        players: That ever come.
        days: Length of the log, from 2024-01-01.
        out: The folder for the files; made where it is absent.
        seed: Of everything random.
        overwrite: Replace the files if they are there.

    Raises:
        ValueError: If there are too few players or days, or the files exist and `overwrite` is not set.
    """
    if players < FEWEST:
        raise ValueError(f"--players has to be {FEWEST} or more for a log to learn from, got {players}")
    if days < SHORTEST:
        raise ValueError(f"--days has to be {SHORTEST} or more for snapshots to fit in, got {days}")
    check_out(out, FILES, overwrite)
    with filling(out, FILES[::-1]) as partial:
        count = _write(partial, players, days, seed)
    print(f"{count:,} events of {players:,} simulated players in {out / FILES[0]}, the truth in {out / FILES[3]}")


def _write(folder: Path, count: int, days: int, seed: int) -> int:
    players, shop = draw_players(count, days, seed), open_shop(seed)
    game = Game(players, shop, seed)
    truth, events = [], 0
    names = pa.array(players.ids, pa.string())
    with _LogWriter(folder / FILES[0], names, shop) as log:
        for day, found in enumerate(tqdm(game.days(days), total=days, desc="simulating", unit=" days", disable=None)):
            log.write(day, found)
            events += len(found.time)
            if (day + 1) % EVERY == 0 and day + 1 + HORIZON <= days:
                truth.append(_truth(game, names, day + 1))
    if truth:
        pq.write_table(pa.concat_tables(truth), folder / FILES[3])
    write_csv(pa.table(_known(players)), folder / FILES[1])
    write_csv(pa.table(_catalogue(shop)), folder / FILES[2])
    return events


class _LogWriter:
    """Gathers days until they make a row group, in a thread of its own: meanwhile the next day is played."""

    def __init__(self, path: Path, names: pa.Array, shop: Shop) -> None:
        self._names, self._shop = names, shop
        self._items = pa.array(shop.ids, pa.string())
        self._waiting: list[pa.Table] = []
        self._schema = pa.schema([
            ("player_id", pa.string()), ("time", pa.timestamp("ms", "UTC")), ("event", pa.string()),
            ("level", pa.int16()), ("item", pa.string()), ("amount", pa.float64()),
        ])  # fmt: skip
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._thread = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None  # of the day before

    def __enter__(self) -> _LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
            self._flush()
        finally:
            self._thread.shutdown()
            self._writer.close()

    def write(self, day: int, events: Events) -> None:
        """Take a day; at most one waits, so that memory stays bounded."""
        self._wait()
        self._written = self._thread.submit(self._append, day, events)

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()

    def _append(self, day: int, events: Events) -> None:
        bought = events.item < 0
        place = pa.array(np.maximum(events.item, 0), mask=bought)
        begin = (FIRST_DAY + day).astype("datetime64[ms]").astype(np.int64)
        self._waiting.append(
            pa.table(
                [
                    self._names.take(pa.array(events.player)),
                    pa.array(begin + events.time).cast(self._schema.field("time").type),
                    pa.array(EVENTS, pa.string()).take(pa.array(events.event)),
                    pa.array(events.level.astype(np.int16)),
                    self._items.take(place),
                    pa.array(self._shop.price[np.maximum(events.item, 0)], mask=bought),
                ],
                schema=self._schema,
            )
        )
        if sum(table.num_rows for table in self._waiting) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=2 * ROW_GROUP)
            self._waiting = []


def true_probabilities(game: Game, day: int) -> tuple[np.ndarray, np.ndarray]:
    """Of everybody who was active in the seven days before a day's begin: to have no event in the 28 days from it on.

    Returns:
        Numbers of players, int64 [N]; the exact probability of each by `game.posterior`, float64 [N].
    """
    rows = np.flatnonzero(game.last_day >= day - ACTIVE_WITHIN)
    probability = game.posterior.no_activity(rows, day, game.observed(rows, day), HORIZON)
    # A bot, which anyone can tell, plays each day until it is banned.
    bot = np.where(game.last_day[rows] == day - 1, BAN, 1.0)
    return rows, np.where(game.players.is_bot[rows], bot, probability)


def _truth(game: Game, names: pa.Array, day: int) -> pa.Table:
    rows, probability = true_probabilities(game, day)
    snapshot = pa.scalar((FIRST_DAY + day).astype("datetime64[ms]").astype(np.int64)).cast(pa.timestamp("ms", "UTC"))
    return pa.table({
        "player_id": names.take(pa.array(rows)),
        "snapshot_time": pa.repeat(snapshot, len(rows)),
        "true_probability": probability,
    })  # fmt: skip


def _known(players: Players) -> dict[str, Any]:
    return {
        "player_id": pa.array(players.ids, pa.string()),
        "registered_on": pa.array((FIRST_DAY + players.arrival).astype("datetime64[D]")),
        "country": pa.array(np.array(COUNTRIES)[players.country]),
        "channel": pa.array(np.array(CHANNELS)[players.channel]),
    }


def _catalogue(shop: Shop) -> dict[str, Any]:
    return {
        "item": pa.array(shop.ids, pa.string()),
        "category": pa.array(np.array(CATEGORIES)[shop.category]),
        "price": shop.price,
        "consumable": pa.array(shop.is_consumable),
    }
