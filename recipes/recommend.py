"""`ludocast train recommend`: from a table of purchases, plays or sessions to ranked items for every player."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ludocast.datamodules.user_item_splits import UserItemSplit, split_by_share, split_by_time, split_last
from ludocast.datamodules.user_items import UserItems, k_core, read_user_items
from ludocast.models.interrupt import StopOnCtrlC
from ludocast.models.recommend.choose import (
    FAMILIES,
    FAMILY_NAMES,
    Family,
    Validated,
    best_of_families,
    candidates,
    fitted,
    measured,
    shippable_first,
)
from ludocast.models.recommend.evaluation import evaluate
from ludocast.models.recommend.item_item import ItemItem
from ludocast.models.recommend.item_vectors import item_vectors
from ludocast.models.recommend.precision import Precision
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import Recommender, recommend
from ludocast.models.recommend.repeats import repeats_of
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.recommend.scale import fewer_draws, is_large, notes_of_size, of_some_users
from ludocast.models.recommend.stored_weights import store_at
from ludocast.models.trainer import TrainerSettings, quiet_lightning
from ludocast.recipes.experiment import experiment_of
from ludocast.recipes.figures import write_metrics
from ludocast.recipes.kept_answers import keep_user_scores
from ludocast.recipes.loggers import LoggerName, Tracker, check_logger
from ludocast.recipes.options import check_seed
from ludocast.recipes.recommend_answers import Answered, longer, write_suggestions
from ludocast.recipes.recommend_bundle import write_recommend_bundle
from ludocast.recipes.recommend_cold import (
    Join,
    about_items,
    about_players,
    learn_new_items,
    learn_new_players,
    read_catalogue,
    read_players,
)
from ludocast.recipes.recommend_items import read_items
from ludocast.recipes.run_folder import RunFolder, quoted
from ludocast.recipes.stops import telling_of_stops
from ludocast.serve.catalogue import Catalogue
from ludocast.serve.manifest_sequences import PairColumns
from ludocast.serve.recommend_report import Contender, Example, RecommendReport, write_recommend_report
from scipy import sparse

EXAMPLES, SHOWN_HISTORY, SHOWN_SUGGESTIONS = 6, 12, 5


@dataclass(frozen=True)
class Parts:
    """All pairs, and the parts of them.

    Attributes:
        data: All pairs.
        test: What is known, and what the report is about.
        inner: The same of what is known in `test`, by which models are chosen.
        sha256: Of the file.
        without: Ids of users of whom the report hides nothing.
    """

    data: UserItems
    test: UserItemSplit
    inner: UserItemSplit
    sha256: str
    without: np.ndarray


def train_recommend(
    data: Path,
    user: str,
    item: str,
    out: Path = Path("run"),
    value: str | None = None,
    time: str | None = None,
    at_least: float | None = None,
    users_of_item: int = 1,
    items_of_user: int = 1,
    split: Literal["auto", "time", "share", "last"] = "auto",
    share: float = 0.2,
    model: Literal["auto"] | Family = "auto",
    draws: int = RerankSettings.draws,
    members: int = RerankSettings.members,
    epochs: int = RerankSettings.epochs,
    items: Path | None = None,
    item_name: str | None = None,
    item_category: str | None = None,
    repeats: Literal["never", "auto", "always"] = "never",
    weights_precision: Precision = "float32",
    users: Path | None = None,
    new_items: Join = "auto",
    seed: int = 0,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    logger: LoggerName | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> None:
    """Train a recommender on a table of who had what: one row a purchase, play or session.

    Writes OUT/report.html, OUT/metrics.json, OUT/suggestions.parquet (the best 20 items of every user, none of them
    owned) and OUT/bundle.

    Attributes of users (--users) answer those without a history, attributes of items (--items) bring items into the
    catalogue that nobody has yet; both are held against popularity on users and items held out whole.

    Example: ludocast train recommend --data purchases.csv --user user_id --item item_id --time bought_at --out run

    Args:
        data: CSV or Parquet file.
        user: Column of users.
        item: Column of items.
        out: Folder of the run; it appears when all is done, and OUT.partial until then.
        value: Column of weights such as hours, added up over a pair's rows; pairs of 0 are none.
        time: Column of times.
        at_least: With --value: a pair counts from this weight on.
        users_of_item: Items of fewer users are left out.
        items_of_user: Users of fewer items are left out.
        split: What the report hides: by time, a share of each user's items, or the last one; auto by time where there
            are times, else a share.
        share: That is hidden.
        model: auto tries all families and takes the best on hidden training pairs; or one of them.
        draws: Times that pairs are hidden for the network to learn from.
        members: Networks whose scores are averaged.
        epochs: Of each network.
        items: CSV or Parquet file of items; its column of ids is named as --item, the others are attributes.
        item_name: Its column of names, for the report.
        item_category: Its column of categories, by which suggestions can be filtered.
        repeats: Whether items that are bought again are suggested to those who have them: never, always, or auto for
            those items of which the log tells it.
        weights_precision: At which the bundle stores weights of items by items: float16 halves it, int8 quarters it.
        users: CSV or Parquet file of users and their attributes; its column of ids is named as --user.
        new_items: Whether items of --items that nobody has join the catalogue: never, always, or auto where their
            attributes are found to tell who would have them.
        seed: Equal seeds give equal results.
        encoding: Of CSV files, such as cp949.
        delimiter: Of CSV files; found by itself.
        logger: Tells mlflow, tensorboard or a csv file of the network's trainings, every family and the test; in
            OUT/logs, and MLflow's store beside OUT or where MLFLOW_TRACKING_URI says.
        overwrite: Replace what lies at OUT and OUT.partial.
        name: Name of the model in the bundle; by default that of OUT.
    """
    experiment = experiment_of("train recommend", locals())
    check_logger(logger)
    check_seed(seed)
    for option, number in (
        ("users_of_item", users_of_item), ("items_of_user", items_of_user), ("draws", draws), ("members", members),
        ("epochs", epochs),
    ):  # fmt: skip
        if number < 1:
            raise ValueError(f"--{option.replace('_', '-')} is 1 or more, got {number}")
    if model == "als":
        raise ValueError("--model als has no graph for a bundle; it takes part in the leaderboard of --model auto")
    if at_least is not None and value is None:
        raise ValueError("--at-least is a weight; name its column with --value")
    quiet_lightning()
    folder = RunFolder(out, resume=None, overwrite=overwrite, experiment=experiment)
    every = read_user_items(data, user, item, value, time, at_least, encoding, delimiter)
    found = k_core(every, users_of_item, items_of_user)
    about, repeated = read_items(found, item, items, item_name, item_category, encoding, delimiter), repeats_of(found)
    table = None if users is None else read_players(users, user, found, encoding, delimiter)
    catalogue = None
    if items is not None and new_items != "never":
        catalogue = read_catalogue(items, item, found, every.items, new_items, encoding, delimiter)
    told = repeated.note(found.items, is_used=repeats != "never")
    newcomers = [*(() if table is None else table.notes), *(() if catalogue is None else catalogue.notes)]
    found = replace(
        found, notes=(*found.notes, *about.notes, *newcomers, *([told] if told else []), *notes_of_size(found.history))
    )
    for note in found.notes:
        print(f"note: {note}", flush=True)
    with data.open("rb") as file:
        parts = _parts(found, split, share, seed, hashlib.file_digest(file, "sha256").hexdigest())
    settings = {
        "data_sha256": parts.sha256, "user": user, "item": item, "value": value, "time": time, "at_least": at_least,
        "users_of_item": users_of_item, "items_of_user": items_of_user, "split": parts.test.rule, "model": model,
        "draws": draws, "members": members, "epochs": epochs, "seed": seed,
        "item_category": item_category, "repeats": repeats, "weights_precision": weights_precision,
        "users": str(users), "new_items": new_items,
    }  # fmt: skip
    rerank = fewer_draws(RerankSettings(draws=draws, members=members, epochs=epochs, seed=seed), found.history)
    trainer = TrainerSettings(progress=True, callbacks=(StopOnCtrlC(),))
    title = out.name if name is None else name
    with telling_of_stops(folder):
        partial = folder.begin(settings)
        tracker = None if logger is None else Tracker(logger, partial, out, experiment.options)
        if tracker is not None:
            trainer = replace(trainer, logger=tracker.stage)
        players = None if table is None else learn_new_players(table, found, seed, trainer)
        best = shippable_first(_chosen(parts, FAMILIES if model == "auto" else (model,), rerank, trainer))
        report, measured_model = _report(title, parts, best, about.names, seed, weights_precision)
        keep_user_scores(partial, parts.sha256, parts.test, report.leaderboard[0].evaluation.ranked)
        shipped = _on_all_pairs(measured_model, best[0], found.history)
        del measured_model
        repeatable = {"never": None, "auto": repeated.is_repeated, "always": np.ones(len(found.items), bool)}[repeats]
        answered = Answered(shipped, found, about.categories, repeatable)
        if players is not None:
            assert table is not None
            report = replace(report, newcomers=[*report.newcomers, about_players(players[0])])
            answered = replace(answered, cold=players[1], table=table)
        if catalogue is not None:
            tried, joined = learn_new_items(catalogue, shipped, best[0].candidate.make, found, new_items, seed)
            report = replace(report, newcomers=[*report.newcomers, about_items(tried, joined)])
            if joined is not None:
                wide = joined.data(found)
                about = read_items(wide, item, items, item_name, item_category, encoding, delimiter)
                answered = replace(
                    answered, model=joined.joined.model, data=wide, categories=about.categories,
                    repeatable=longer(repeatable, len(wide.items)), cold=joined.cold(answered.cold),
                )  # fmt: skip
        store_at(answered.model, weights_precision)
        _write(partial, parts.sha256, report, answered, PairColumns(user, item))
        if tracker is not None:
            tracker.finish(partial)
        folder.finish()
    _print_summary(out, report)


def _parts(data: UserItems, split: str, share: float, seed: int, sha256: str) -> Parts:
    kind = ("share" if data.time is None else "time") if split == "auto" else split

    def parted(pairs: UserItems) -> UserItemSplit:
        if kind == "time":
            return split_by_time(pairs, share)
        return split_last(pairs) if kind == "last" else split_by_share(pairs, share, seed)

    test = parted(data)
    inner = parted(test.known)
    some, inner_some = (replace(one, hidden=of_some_users(one.hidden, seed)) for one in (test, inner))
    print(f"split: {test.rule}; {len(some.asked):,} users are asked about", flush=True)
    return Parts(data, some, inner_some, sha256, test.without)


def _chosen(
    parts: Parts, families: tuple[Family, ...], rerank: RerankSettings, trainer: TrainerSettings
) -> list[Validated]:
    """The best of each family, the best one first."""
    tried = []
    known, hidden = parts.inner.known.history, parts.inner.hidden
    for one, model, begin in fitted(candidates(families, rerank, trainer, is_large(known)), known):
        found = measured(one, model, known, hidden, begin)
        tried.append(found)
        words = f" ({one.settings})" if one.settings else ""
        print(f"  {one.family}{words}: NDCG@10 {found.ndcg:.4f}, {found.seconds:.1f} s", flush=True)
    return best_of_families(tried)


def _report(
    title: str, parts: Parts, best: list[Validated], names: list[str], seed: int, precision: Precision
) -> tuple[RecommendReport, Recommender]:
    """The report, and the model that it is about."""
    print("evaluating on the test part …", flush=True)
    known, hidden = parts.test.known.history, parts.test.hidden
    leaderboard, first, notes = [], None, list(parts.data.notes)
    for one, (_, model, _) in zip(best, fitted([one.candidate for one in best], known), strict=True):
        if first is None:
            first = model
            if precision != "float32":
                notes.append(_stored(model, known, hidden, precision))
        name, found = FAMILY_NAMES[one.candidate.family], evaluate(model, known, hidden, seed)
        leaderboard.append(Contender(name, one.candidate.settings, one.ndcg, found, one.seconds, one.of_users))
    assert first is not None
    protocol = [
        f"Hidden for this report: {parts.test.rule}. Models and settings were chosen by NDCG@10 on hidden pairs of the "
        f"rest ({parts.inner.rule}); the hidden pairs of this report were used for it only.",
        "Every model of the leaderboard was then fitted on all that is known here; the shipped one on all pairs, but "
        "that a network keeps what it learnt on what is known here.",
    ]
    without = parts.without
    if len(without):
        some = ", ".join(str(one) for one in without[:10].tolist())
        notes.append(
            f"{len(without):,} users have nothing hidden and count in no measure: {some}{' …' * (len(without) > 10)}"
        )
    rows = {
        "users": len(parts.data.users), "items": len(parts.data.items), "known pairs": known.nnz,
        "hidden pairs": hidden.nnz,
    }  # fmt: skip
    examples = _examples(first, parts.test, names, seed)
    return RecommendReport(title, leaderboard, rows, protocol, notes, names, examples), first


def _on_all_pairs(measured_model: Recommender, chosen: Validated, history: sparse.csr_matrix) -> Recommender:
    """The model that is shipped; a network, whose training takes longest, learns nothing from a few pairs more."""
    if isinstance(measured_model, Reranker):
        return measured_model.refit(history)
    return chosen.candidate.make().fit(history)


def _stored(model: Recommender, known: sparse.csr_matrix, hidden: sparse.csr_matrix, precision: Precision) -> str:
    """Round the model's weights, and say what that costs."""
    before = evaluate(model, known, hidden).metrics["ndcg@10"].value
    store_at(model, precision)
    after = evaluate(model, known, hidden).metrics["ndcg@10"].value
    return f"weights are stored as {precision}: NDCG@10 {after:.4f} on the test part, {before:.4f} as float32"


def _examples(model: Recommender, split: UserItemSplit, names: list[str], seed: int) -> list[Example]:
    """Some players drawn at random, what they are shown and why."""
    known, hidden = split.known.history, split.hidden
    drawn = np.sort(np.random.default_rng(seed).choice(split.asked, min(EXAMPLES, len(split.asked)), replace=False))
    ranked, _ = recommend(model, known[drawn], SHOWN_SUGGESTIONS)
    linear = next(iter(model.signals.models.values())) if isinstance(model, Reranker) else model
    found = []
    for row, one in zip(ranked, drawn, strict=True):
        history, sought = known[one], set(hidden[one].indices.tolist())
        suggested = []
        for item in row[row >= 0].tolist():
            why = linear.because(history, item) if isinstance(linear, ItemItem) else np.zeros(0, np.int64)
            suggested.append((names[item], tuple(names[k] for k in why), item in sought))
        own = [names[k] for k in history.indices[:SHOWN_HISTORY]]
        more = [f"and {history.nnz - SHOWN_HISTORY} more"] if history.nnz > SHOWN_HISTORY else []
        found.append(Example((*own, *more) if own else ("nothing yet",), tuple(suggested)))
    return found


def _write(partial: Path, sha256: str, report: RecommendReport, answered: Answered, pairs: PairColumns) -> None:
    metrics = report.metrics()
    write_metrics(partial, metrics)
    write_recommend_report(report, partial / "report.html")
    write_suggestions(partial / "suggestions.parquet", answered, pairs)
    data, repeatable = answered.data, answered.repeatable
    history, items = data.history, data.items
    catalogue = Catalogue([str(one) for one in items.tolist()], answered.categories, item_vectors(history))
    write_recommend_bundle(
        partial / "bundle", report.name, answered.model, items, owners(history), pairs, metrics["metrics"], sha256,
        catalogue, repeatable, answered.cold,
    )  # fmt: skip


def _print_summary(out: Path, report: RecommendReport) -> None:
    ours: Any = report.leaderboard[0]
    print(f"\n{ours.name} was chosen by validation; on the test part (95 % interval):")
    for name in ("ndcg@10", "recall@10", "recall@20", "hit@10"):
        found = ours.evaluation.metrics[name]
        print(f"  {name:<12} {found.value:.4f}  ({found.low:.4f} to {found.high:.4f})")
    print(f"\nreport:      {out / 'report.html'}\nsuggestions: {out / 'suggestions.parquet'}")
    print(f"bundle:      {out / 'bundle'}\nnext:        ludocast serve --bundle {quoted(out / 'bundle')}", flush=True)
