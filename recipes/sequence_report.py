"""What each task on sequences measures on its test part, and what its report shows of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ludocast.datamodules.ragged import offsets_of
from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.datamodules.vocabulary import Vocabulary
from ludocast.models.calibration import cost_threshold
from ludocast.models.curves import confusion
from ludocast.models.sequence.baselines import classic_leaving, counted_tokens, usual_tags
from ludocast.models.sequence.metrics import ChunkCounts, Ranked, chunk_tags
from ludocast.models.sequence.module import SequenceModule
from ludocast.models.sequence.predict import Example, evaluated, ranked_steps
from ludocast.models.sequence.tasks import LanguageModule, LeavingModule, NextModule, TagModule
from ludocast.models.sequence.timelines import timelines
from ludocast.recipes.sequence_output import leaving_answers, next_event_answers, tag_answers
from ludocast.recipes.session_rivals import session_rivals
from ludocast.serve.measured import measure
from ludocast.serve.sequence_report import MEASURES, Guess, Table, TaggedWord

RESAMPLES = 200
TOPS = (1, 5, 10, 20)
ERRORS, CONFUSED = 5, 15  # sentences and pairs of tags that are shown


@dataclass(frozen=True)
class Outcome:
    """What an evaluation found.

    Attributes:
        document: For metrics.json: "metrics", and what the task has beside.
        answers: For predictions.csv; None for none.
        shown: Fields of a `SequenceReport`.
    """

    document: dict[str, Any]
    answers: pd.DataFrame | None
    shown: dict[str, Any]


def outcome(module: SequenceModule, data: SequenceDataModule, name: str, seed: int) -> Outcome:
    """Evaluate on the test part.

    Args:
        module: Trained and calibrated.
        data: Its sequences.
        name: Of the model.
        seed: Of resamples and rivals.
    """
    if isinstance(module, LeavingModule):
        return _leaving(module, data, name, seed)
    if isinstance(module, TagModule):
        return _tags(module, data)
    assert isinstance(module, LanguageModule)
    return _next_tokens(module, data)


def part_sizes(data: SequenceDataModule) -> dict[str, int]:
    """Sequences of each part."""
    return {name: len(getattr(data.parts, name)) for name in ("train", "validation", "test")}


def _leaving(module: LeavingModule, data: SequenceDataModule, name: str, seed: int) -> Outcome:
    parts = data.parts
    answers = leaving_answers(module, data)
    p, label = answers["probability"].to_numpy(), answers["label"].to_numpy()
    candidates = {f"ludocast ({name})": np.stack([1 - p, p], 1), **classic_leaving(parts.train, parts.test, seed)}
    threshold = cost_threshold()
    measured = measure(
        candidates, label, (p >= threshold).astype(int), classes=parts.classes, positive=parts.classes[1],
        who="players who leave", rows=part_sizes(data), threshold=threshold, seed=seed, resamples=RESAMPLES,
    )  # fmt: skip
    shown: dict[str, Any] = {"question": "who leaves?", "lead": measured.headline(), "leaving": measured}
    if parts.timelines is not None:
        seconds = answers.assign(time=parts.test.static["time"].astype(float))
        shown["timelines"] = timelines(module, parts.timelines, seconds)
        shown |= {"active_within": parts.timelines.active_within, "by_event": parts.timelines.by_event}
    return Outcome(measured.metrics(), answers, shown)


def _tags(module: TagModule, data: SequenceDataModule) -> Outcome:
    parts, measures = data.parts, evaluated(module, data)
    answers, test = tag_answers(module, data), parts.test.compact()
    index = {name: k for k, name in enumerate(parts.classes)}
    true, found = (answers[column].map(index).to_numpy(np.int64) for column in ("tag", "found"))
    usual = usual_tags(parts.train, parts.test, data.sizes["tokens"], data.sizes["classes"])
    rival = {"accuracy": float((usual == true).mean())}
    document: dict[str, Any] = {"metrics": measures}
    tables, right = [], f"of all words {measures['accuracy']:.1%} have the right tag"
    if module.chunks is not None:
        tags = chunk_tags(parts.classes)
        assert tags is not None
        counted = ChunkCounts(tags)
        counted.update(usual, true, offsets_of(test.lengths))
        rival["f1"] = counted.total()[2]
        document["chunks"] = module.chunks.table()
        rows = {kind: (r["precision"], r["recall"], r["f1"], r["chunks"]) for kind, r in document["chunks"].items()}
        total = int(module.chunks.counts[:, 2].sum())
        note = "A chunk is right if its kind, its first and its last word are, counted as conlleval of CoNLL-2000 does."
        tables.append(_scores("Chunks by kind", note, {"all": (*module.chunks.total(), total), **rows}))
        right = f"F1 of chunks is {measures['f1']:.4f} on sentences it has never seen; {right}"
    document["tags"] = {
        name: dict(zip(("precision", "recall", "f1", "support"), row, strict=True))
        for name, row in _by_tag(true, found, parts.classes).items()
    }
    document["baselines"] = {"the usual tag of each word": rival}
    note = "Each word by itself. Support is how many words of the test part have the tag."
    by_tag = {name: tuple(row.values()) for name, row in document["tags"].items()}
    tables.append(_scores("Tags, word by word", note, by_tag, is_folded=bool(tables)))
    tables.append(_confused(true, found, parts.classes))
    said = ", ".join(f"{_title(measure)} {value:.4f}" for measure, value in rival.items())
    lead = [f"{right[0].upper()}{right[1:]}.", f"With the tag that each word had most often in training: {said}."]
    numbers = {_title(measure): value for measure, value in measures.items()}
    shown = {
        "question": "tags of words", "lead": lead, "numbers": numbers, "tables": tables,
        "sentences": _wrong_sentences(answers),
    }  # fmt: skip
    return Outcome(document, answers, shown)


def _by_tag(true: np.ndarray, found: np.ndarray, classes: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Precision, recall, F1 and support of each tag that occurs or was found, the most frequent first."""
    counts = confusion(true, found, len(classes))
    right, said, support = np.diag(counts), counts.sum(0), counts.sum(1)
    rows = {}
    for k in np.argsort(-support, kind="stable"):
        if said[k] + support[k]:
            f1 = 2 * right[k] / (said[k] + support[k])
            row = (right[k] / max(said[k], 1), right[k] / max(support[k], 1), f1)
            rows[classes[k]] = (*(float(x) for x in row), int(support[k]))
    return rows


def _scores(title: str, note: str, rows: dict[str, tuple[Any, ...]], is_folded: bool = False) -> Table:
    cells = [[name, *(f"{x:.4f}" for x in row[:3]), f"{row[3]:,}"] for name, row in rows.items()]
    return Table(title, note, ("tag", "precision", "recall", "F1", "support"), cells, is_folded)


def _confused(true: np.ndarray, found: np.ndarray, classes: tuple[str, ...]) -> Table:
    counts = confusion(true, found, len(classes))
    np.fill_diagonal(counts, 0)
    order = [k for k in np.argsort(-counts, axis=None, kind="stable")[:CONFUSED] if counts.flat[k]]
    pairs = [np.unravel_index(k, counts.shape) for k in order]
    rows = [[classes[a], classes[b], f"{counts[a, b]:,}"] for a, b in pairs]
    note = "The most frequent confusions." if rows else "There are none."
    return Table("What is taken for what", note, ("tag", "found", "words"), rows, numbers_from=2)


def _wrong_sentences(answers: pd.DataFrame) -> list[list[TaggedWord]]:
    wrong = answers.loc[answers["tag"] != answers["found"], "sequence"].unique()[:ERRORS]
    chosen = answers[answers["sequence"].isin(wrong)]
    columns = ["word", "tag", "found"]
    return [
        [TaggedWord(*(str(cell) for cell in row)) for row in rows[columns].itertuples(index=False)]
        for _, rows in chosen.groupby("sequence")
    ]


def _next_tokens(module: LanguageModule, data: SequenceDataModule) -> Outcome:
    parts, is_event = data.parts, isinstance(module, NextModule)
    assert parts.vocabulary is not None
    found, examples = ranked_steps(module, data)
    counted = counted_tokens(parts.train, parts.test, data.sizes["tokens"])
    measures = found.measures(TOPS)
    baselines = {name: rival.measures(TOPS) for name, rival in counted.items()}
    document = {"metrics": measures, "baselines": baselines}
    tables = [_beside(found, counted)]
    unit = "event" if is_event else "token"
    alone, after = counted.values()
    order = ("perplexity", "loss", *(f"hit_rate_{top}" for top in TOPS), "mrr_20")
    numbers = {_title(name): measures[name] for name in order}
    hits = {name: float((each.rank == 0).mean()) for name, each in (("own", found), ("alone", alone), ("after", after))}
    lead = [
        f"What comes next is the first answer in {hits['own']:.1%} of all steps; by counts of single {unit}s it is in "
        f"{hits['alone']:.1%}, by counts of what followed the {unit} before in {hits['after']:.1%}.",
        f"Perplexity, the number of equally likely {unit}s that would be as hard to tell, is "
        f"{measures['perplexity']:.2f}, and {_perplexity(alone)} and {_perplexity(after)} by those counts.",
    ]
    if is_event:
        rivals = session_rivals(parts)
        baselines |= rivals.measures()
        tables.append(rivals.table(found.rank))
        lead += rivals.lead(found.rank)
    shown = {
        "question": f"the next {unit}", "lead": lead, "numbers": numbers, "tables": tables,
        "guesses": [_guess(example, parts.vocabulary) for example in examples],
    }  # fmt: skip
    return Outcome(document, next_event_answers(module, data) if isinstance(module, NextModule) else None, shown)


def _perplexity(ranked: Ranked) -> str:
    return f"{math.exp(ranked.loss.mean()):.2f}"


def _beside(found: Ranked, counted: dict[str, Ranked]) -> Table:
    rows = []
    for name, ranked in {"this network": found, **counted}.items():
        measures = ranked.measures(TOPS)
        hits = [f"{measures[f'hit_rate_{top}']:.1%}" for top in TOPS]
        rows.append([name, f"{measures['perplexity']:.2f}", f"{measures['loss']:.4f}", *hits])
    note = "On all steps of the test part. The counts are those of the training part, smoothed."
    heads = ("", "perplexity", "nats", "first", *(f"among the first {top}" for top in TOPS[1:]))
    return Table("Beside counting", note, heads, rows)


def _guess(example: Example, vocabulary: Vocabulary) -> Guess:
    before, came = vocabulary.decode(example.before), vocabulary.decode([example.came])[0]
    tokens = vocabulary.decode([index for index, _ in example.answers])
    return Guess(before, came, [(token, p) for token, (_, p) in zip(tokens, example.answers, strict=True)])


def _title(measure: str) -> str:
    return MEASURES.get(measure, measure)
