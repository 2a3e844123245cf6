"""`ludocast train sequence`: from an event log, a text or tagged words to a network, its measures and answers."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from ludocast.compression.strategy import IN_WORDS, Compression
from ludocast.datamodules.event_sources import ChurnInputs
from ludocast.datamodules.sequence import SequenceDataModule, SequenceParts
from ludocast.datamodules.text import Layout
from ludocast.models.history import History
from ludocast.models.interrupt import StopOnCtrlC
from ludocast.models.ranks import started_ranks, telling_of_lost_processes
from ludocast.models.same_command import SameCommand
from ludocast.models.sequence.defaults import DEFAULTS, Task, TaskSettings, module_of
from ludocast.models.sequence.module import SequenceModule
from ludocast.models.sequence.softmax import Softmax
from ludocast.models.sequence.tasks import LanguageModule, LeavingModule, TagModule
from ludocast.models.sequence.train import calibrate, train_sequence_module
from ludocast.models.stacked_rnn.recurrent import Kind
from ludocast.models.trainer import TrainerSettings, check_settings, quiet_lightning
from ludocast.recipes.experiment import experiment_of
from ludocast.recipes.loggers import LoggerName, Tracker, check_logger
from ludocast.recipes.options import check_seed
from ludocast.recipes.provenance import digest
from ludocast.recipes.run_folder import RunFolder, quoted
from ludocast.recipes.sequence_bundle import write_sequence_bundle
from ludocast.recipes.sequence_data import DataOptions, source_of
from ludocast.recipes.sequence_output import leaving_predictions, write_json, write_network
from ludocast.recipes.sequence_report import outcome, part_sizes
from ludocast.recipes.stops import telling_of_stops
from ludocast.serve.sequence_report import SequenceReport, write_sequence_report

# Why a task is not learnt in chunks.
WHOLE: dict[Task, str] = {
    "churn": "its only answer comes after the last step, from which no gradient would reach an earlier chunk (a "
    "smaller --observe has fewer steps)",
    "tag": "it reads them from both ends",
}


def train_sequence(
    task: Task,
    data: Path,
    out: Path = Path("run"),
    validation: Path | None = None,
    test: Path | None = None,
    labels: Path | None = None,
    players: Path | None = None,
    exclude: list[str] | None = None,
    player: str | None = None,
    time: str | None = None,
    event: str | None = None,
    numbers: list[str] | None = None,
    inputs: ChurnInputs = "days",
    days_per_step: int = 7,
    observe: int = 56,
    gap: float = 0,
    horizon: float = 28,
    active_within: float = 7,
    step: float = 14,
    pause: float | None = None,
    layout: Layout = "words",
    min_count: int = 1,
    kind: Kind | None = None,
    hidden: int | None = None,
    layers: int | None = None,
    embedding: int | None = None,
    dropout: float | None = None,
    window: int | None = None,
    tie_weights: bool = False,
    softmax: Softmax | None = None,
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    tbptt_steps: int | None = None,
    seed: int = 0,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    devices: int = 1,
    compression: Compression = "auto",
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true",
    checkpoint_every: int | None = None,
    logger: LoggerName | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train a recurrent network on sequences: who leaves, tags of words, the next token, the next event.

    Writes OUT/report.html (open it in a browser), OUT/metrics.json, OUT/predictions.csv (the test part),
    OUT/model.ckpt, OUT/vocabulary.json and OUT/bundle, which `ludocast score` and `ludocast serve` take
    (docs/sequences.md).

    Example: ludocast train sequence --task churn --data events.parquet --player player_id --time timestamp --out run

    Args:
        task: churn, tag, language or next.
        data: churn and next: event log, CSV or Parquet; churn also a folder of `ludocast sequences`, which knows its
            columns, windows and parts. tag: training file in CNTK's text format. language: text.
        out: Folder of the run; it appears when all is done, and OUT.partial until then.
        validation: language: text by which a training is watched.
        test: tag and language: file of the test part.
        labels: tag: text file with the name of tag 0 in its first line, and so on.
        players: churn: CSV or Parquet file of what else is known of each player, one row each; its column of players
            has the log's name.
        exclude: churn with --players: columns of it to leave out, as all that is not known yet when a player is asked
            about; comma-separated or given again.
        player: churn and next: the log's column of players.
        time: churn and next: the log's column of times.
        event: churn with --inputs events or stream, and next: the log's column of event names.
        numbers: churn with --inputs events or stream: columns of numbers, such as an amount; comma-separated or given
            again.
        inputs: churn: days, on which of them a player was active; events of these days, each with the time since the
            one before and its age; or stream, all of a player's events, whose answer a server can renew at each event.
        days_per_step: churn with --inputs days: days of a step; 1 takes seven times as long.
        observe: churn: days before a snapshot that are known.
        gap: churn: days between a snapshot and its label, in which an answer can still be acted on.
        horizon: churn: days without an event that are called leaving.
        active_within: churn: players are asked about who were seen within so many days.
        step: churn: days from one snapshot to the next.
        pause: next: hours without an event that end a session; by default a player's events are one.
        layout: language: words of lines, or lines of one token with a blank line after each sentence.
        min_count: Tokens seen less often in training are unknown.
        kind: sigmoid, tanh, gru or lstm; by default what served the task best.
        hidden: Units of a layer.
        layers: Recurrent layers.
        embedding: Width of a token's embedding.
        dropout: Of embeddings, between layers and before the head.
        window: tag: words on either side that a step reads beside its own.
        tie_weights: language and next: the output weights are the embeddings.
        softmax: language and next: full; adaptive, cheaper for many tokens by groups of rarer ones; or sampled, cheaper
            in training alone, over what came and some drawn tokens.
        learning_rate: Of AdamW at its highest.
        epochs: Passes over the training part.
        batch: Sequences of a batch, or of a text's lanes, over all processes together.
        tbptt_steps: language and next: steps over which gradients flow back; the state goes on.
        seed: Equal seeds give equal results.
        accelerator: Where the network trains.
        devices: Number of GPUs or CPU processes; torchrun says it by itself.
        compression: How several processes average gradients: onebit as 1 bit a value, powersgd, fp16, none, or auto,
            onebit where that is faster. With one process nothing is sent.
        precision: Of the training; the model itself is 32-true.
        checkpoint_every: Steps after which a checkpoint is written within epochs too.
        logger: Tells mlflow, tensorboard or a csv file of the training and the test; in OUT/logs, and MLflow's store
            beside OUT or where MLFLOW_TRACKING_URI says.
        resume: Go on from the last checkpoint of a run that was stopped.
        overwrite: Replace what lies at OUT and OUT.partial.
    """
    experiment = experiment_of("train sequence", locals())
    check_logger(logger)
    options = DataOptions(
        data, validation, test, labels, player, time, event, tuple(numbers if numbers is not None else ()), inputs,
        days_per_step, observe, gap, horizon, active_within, step, pause, layout, min_count, players,
        tuple(exclude if exclude is not None else ()),
    )  # fmt: skip
    settings = _settings(
        task, seed,
        network={"kind": kind, "hidden": hidden, "layers": layers, "embedding": embedding, "dropout": dropout},
        training={
            "epochs": epochs, "batch": batch, "tbptt_steps": tbptt_steps, "window": window,
            "is_tied": True if tie_weights else None, "softmax": softmax,
        },
        learning_rate=learning_rate,
    )  # fmt: skip
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ValueError(f"--checkpoint-every is 1 step or more, got {checkpoint_every}")
    ranks = started_ranks(devices)
    trainer = TrainerSettings(
        accelerator=accelerator, ranks=ranks, compression=compression, precision=precision, resume=resume,
        progress=ranks.is_first, callbacks=(StopOnCtrlC(),),
    )  # fmt: skip
    quiet_lightning()
    check_settings(trainer)
    folder = RunFolder(out, resume=resume, overwrite=overwrite, owner=ranks.is_first, experiment=experiment)
    source = _data_module(task, options, settings, seed)
    module = module_of(task, settings)
    module.build(source.sizes)
    if ranks.world > 1:
        print(f"{ranks.world} processes, gradients {IN_WORDS[compression]}", flush=True)
    asked = _asked(task, options, settings, precision)
    history = History()
    with telling_of_stops(folder):
        partial = folder.begin(asked)
        tracker = Tracker(logger, partial, out, experiment.options) if logger is not None and ranks.is_first else None
        trainer = replace(
            trainer, stage="network", logger=None if tracker is None else tracker.stage,
            checkpoints=partial / "checkpoints", checkpoint_every=checkpoint_every,
            record=partial / "compression.json",
            callbacks=(*trainer.callbacks, SameCommand({**asked, "compression": compression}), history),
        )  # fmt: skip
        with telling_of_lost_processes():
            _fit(module, source, trainer, settings.epochs)
        if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
            raise ValueError(
                f"the training has diverged, its weights are no numbers; a lower --learning-rate than "
                f"{settings.learning.learning_rate:g} may help, with --overwrite"
            )
        if not ranks.is_first:
            return  # the first process goes on alone
        print("evaluating on the test part …", flush=True)
        said = {"temperature": calibrate(module, source)} if isinstance(module, LeavingModule) else {}
        metrics = _write(partial, out.name, task, module, source, {**asked, **said}, digest(data), history, seed)
        figures = {name: _figure(entry) for name, entry in metrics.items()}
        notes = write_sequence_bundle(
            partial / "bundle", out.name, module, source.parts, figures, asked["data_sha256"]
        )  # fmt: skip
        if tracker is not None:
            tracker.finish(partial)
        folder.finish()
    print("\non the test part:")
    for name, entry in metrics.items():
        print(f"  {name:<20} {_figure(entry):.4f}")
    for note in notes:
        print(f"note: {note}")
    print(
        f"\nreport:   {out / 'report.html'}\nmeasures: {out / 'metrics.json'}\nnetwork:  {out / 'model.ckpt'}",
        flush=True,
    )
    if (out / "bundle").is_dir():
        print(f"bundle:   {out / 'bundle'}\nnext:     ludocast serve --bundle {quoted(out / 'bundle')}", flush=True)


def _figure(entry: Any) -> float:
    """A measure, be it with its interval or without."""
    return float(entry["value"] if isinstance(entry, dict) else entry)


def _write(
    folder: Path, name: str, task: Task, module: SequenceModule, data: SequenceDataModule, settings: dict[str, Any],
    log_sha256: str, history: History, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Evaluate on the test part, write all of it, and return the measures."""
    parts, found = data.parts, outcome(module, data, name, seed)
    document = {
        "task": task, **found.document, "split": parts.rule, "settings": settings, "rows": part_sizes(data),
        "epochs": history.epochs,
    }  # fmt: skip
    write_json(folder / "metrics.json", document)
    if found.answers is not None:
        found.answers.to_csv(folder / "predictions.csv", index=False)
        if isinstance(module, LeavingModule):
            leaving_predictions(found.answers, log_sha256, parts.classes).write(folder)
    if parts.vocabulary is not None:
        write_json(folder / "vocabulary.json", parts.vocabulary.to_dict())
    report = SequenceReport(
        name=name, history=history, rows=part_sizes(data), protocol=_protocol(parts.rule, settings),
        settings=_in_words(module), **found.shown,
    )  # fmt: skip
    write_sequence_report(report, folder / "report.html")
    write_network(folder, module)
    metrics: dict[str, Any] = found.document["metrics"]
    return metrics


def _protocol(rule: str, settings: dict[str, Any]) -> list[str]:
    told = [f"The split is {rule}; everything fitted is fitted on the training part alone."]
    if "temperature" in settings:
        told.append(f"Calibration (temperature {settings['temperature']:.3f}) comes from the validation part.")
    return [*told, "The test part was used for this report only."]


def _in_words(module: SequenceModule) -> list[tuple[str, str]]:
    assert module.network is not None
    size, learning = module.network_settings, module.learning
    said: list[tuple[str, str]] = []
    if module.sizes is not None and "columns" in module.sizes:
        said.append(("numbers from columns of players", f"{module.sizes['columns']:,}"))
    if isinstance(module, TagModule):
        said.append(("neighbouring words on each side", f"{module.window}"))
    if isinstance(module, LanguageModule):
        said.append(("softmax", module.softmax + (", weights tied" if module.is_tied else "")))
    return [
        ("network", f"{size.kind}, {size.layers} of {size.hidden} units, embeddings of {size.embedding}"),
        ("weights", f"{sum(p.numel() for p in module.network.parameters()):,}"),
        ("dropout", f"{size.dropout:g}"),
        *said,
        ("learning rate at its highest", f"{learning.learning_rate:g}"),
        ("seed", str(learning.seed)),
    ]


def _settings(
    task: Task, seed: int, network: dict[str, Any], training: dict[str, Any], learning_rate: float | None
) -> TaskSettings:
    """The task's defaults with what was given.

    Raises:
        ValueError: If something given makes no sense.
    """
    check_seed(seed)
    for name in ("epochs", "batch", "tbptt_steps"):
        if training[name] is not None and training[name] < 1:
            raise ValueError(f"--{name.replace('_', '-')} is 1 or more, got {training[name]}")
    if training["tbptt_steps"] is not None and task in WHOLE:
        raise ValueError(f"--task {task} takes whole sequences, as {WHOLE[task]}; leave --tbptt-steps out")
    if training["window"] is not None and (task != "tag" or training["window"] < 0):
        raise ValueError("--window is 0 or more neighbouring words and goes with --task tag; leave it out")
    if (training["is_tied"] or training["softmax"] is not None) and task in ("churn", "tag"):
        raise ValueError(f"--tie-weights and --softmax go with --task language and next, not {task}; leave them out")
    if learning_rate is not None and not learning_rate > 0:
        raise ValueError(f"--learning-rate is above 0, got {learning_rate:g}")
    given = {name: value for name, value in training.items() if value is not None}
    default = replace(DEFAULTS[task], **given)
    size = replace(default.network, **{name: value for name, value in network.items() if value is not None})
    rate = default.learning.learning_rate if learning_rate is None else learning_rate
    return replace(default, network=size, learning=replace(default.learning, seed=seed, learning_rate=rate))


def _data_module(task: Task, options: DataOptions, settings: TaskSettings, seed: int) -> SequenceDataModule:
    data = SequenceDataModule(
        source_of(task, options, seed), batch=settings.batch, tbptt_steps=settings.tbptt_steps,
        one_text=settings.one_text, unknown_share=settings.unknown_share, seed=seed,
    )  # fmt: skip
    parts = data.parts
    for name in ("train", "validation", "test"):
        part = getattr(parts, name)
        print(f"{name}: {len(part):,} sequences, {int(part.lengths.sum()):,} steps", flush=True)
    print(f"split: {parts.rule}", flush=True)
    if task == "churn":
        _check_both_kinds(parts)
    return data


def _check_both_kinds(parts: SequenceParts) -> None:
    for name in ("train", "validation", "test"):
        label = getattr(parts, name).static["label"]
        absent = [kind for k, kind in enumerate(("stays", "leaves")) if not (label == k).any()]
        if absent:
            raise ValueError(
                f"the {'training' if name == 'train' else name} part ({len(label):,} snapshots, split {parts.rule}) "
                f"has nobody who {absent[0]}; a longer log, or another --horizon, is needed"
            )


def _asked(task: Task, options: DataOptions, settings: TaskSettings, precision: str) -> dict[str, Any]:
    plain = {name: value for name, value in asdict(options).items() if not isinstance(value, Path)}
    return {"task": task, "data_sha256": options.sha256(), **plain, **asdict(settings), "precision": precision}


def _fit(module: SequenceModule, data: SequenceDataModule, trainer: TrainerSettings, epochs: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")  # hints for authors of modules
        shown = train_sequence_module(module, data, trainer, epochs)
    if trainer.ranks.is_first:
        print(", ".join(f"{name} {value:.4f}" for name, value in sorted(shown.items())), flush=True)
