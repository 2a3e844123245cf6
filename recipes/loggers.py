"""`--logger`: what a training tells MLflow, TensorBoard or a CSV file, of networks and all other learners alike."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ludocast.models.metrics import OF_LABEL
from ludocast.recipes.figures import figures, plain_figures, read_metrics
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

LoggerName = Literal["mlflow", "tensorboard", "csv"]
FOLDER = "logs"
STORE = "mlflow.db"
_RUN_FILE = "mlflow_run"  # the run that a resumed training goes on with
_NEEDS = {"mlflow": "mlflow", "tensorboard": "tensorboard"}


class StageLogger(Logger):
    """Hands the measures of one of a run's trainings on, under its name.

    Args:
        inner: Lightning's logger of the run.
        stage: Name of the training.
    """

    def __init__(self, inner: Logger, stage: str) -> None:
        super().__init__()
        self.inner, self.stage = inner, stage

    @property
    def name(self) -> str | None:
        """Of the run."""
        return self.inner.name

    @property
    def version(self) -> int | str | None:
        """Of the run."""
        return self.inner.version

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        """Hand on."""
        self.inner.log_metrics({_key(f"{self.stage}/{name}"): value for name, value in metrics.items()}, step)

    def log_hyperparams(self, *_args: Any, **_kwargs: Any) -> None:
        """What the run was asked is told once, and not again by each of its trainings."""

    def finalize(self, status: str) -> None:  # noqa: ARG002 - the run goes on
        """Write what is held back."""
        self.inner.save()


class Tracker:
    """One run in MLflow, TensorBoard or a CSV file.

    Args:
        kind: Of these.
        folder: Of the run, while it is worked on.
        out: Where the run will be; MLflow's store lies beside it, unless MLFLOW_TRACKING_URI names another.
        options: What was asked.
    """

    def __init__(self, kind: LoggerName, folder: Path, out: Path, options: Mapping[str, Any]) -> None:
        self.inner = _MAKERS[kind](folder, out)
        self._begun: Counter[str] = Counter()
        self.inner.log_hyperparams({name: str(value) for name, value in options.items() if value is not None})

    def stage(self, name: str) -> Logger:
        """What Lightning's Trainer logs one training by; trainings of one name are numbered."""
        self._begun[name] += 1
        return StageLogger(self.inner, name if self._begun[name] == 1 else f"{name} {self._begun[name]}")

    def finish(self, folder: Path) -> None:
        """Tell the figures of the run, and those of every other model on the same rows.

        Args:
            folder: With metrics.json.
        """
        for step, found in told_of(read_metrics(folder)):
            self.inner.log_metrics({_key(name): value for name, value in found.items()}, step)
        self.inner.save()
        self.inner.finalize("success")


def told_of(document: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, float]]]:
    """What is told of a run, and as which step.

    Args:
        document: Its metrics.json.
    """
    if "segments" in document:
        yield 0, {f"segments/{name}": value for name, value in figures(document).items()}
        for one in document["candidates"]:  # the number of segments is the step, so that charts show it
            yield one["k"], {f"{one['method']}/{name}": value for name, value in _measured(one, without=("k",)).items()}
        return
    found = {f"test/{name}": value for name, value in figures(document).items()}
    others = {str(one.get("name", one.get("model"))): one for one in document.get("leaderboard", ())[1:]}
    for other, standing in (others | document.get("baselines", {})).items():
        found |= {f"leaderboard/{other}/{name}": value for name, value in _measured(standing).items()}
    yield 0, found


def _measured(standing: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, float]:
    """Figures of a model, but how far it is behind ours."""
    found = plain_figures(standing)
    return {name: value for name, value in found.items() if not name.endswith("_behind") and name not in without}


def check_logger(kind: LoggerName | None) -> None:
    """Refuse a logger whose package is not installed.

    Raises:
        ValueError: With what to install.
    """
    if kind not in _NEEDS:
        return
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before it is imported
    try:
        __import__(_NEEDS[kind])
    except ImportError as error:
        raise ValueError(f"--logger {kind} needs it installed: pip install 'ludocast[{kind}]'") from error


def _key(name: str) -> str:
    """A name that all of them take."""
    return re.sub(r"[^\w\-. /]", "", name.replace("@", "_at_").replace(OF_LABEL, " of "))


def _csv(folder: Path, out: Path) -> Logger:  # noqa: ARG001
    return CSVLogger(folder, FOLDER)


def _tensorboard(folder: Path, out: Path) -> Logger:  # noqa: ARG001
    return TensorBoardLogger(folder, FOLDER, default_hp_metric=False)


def _mlflow(folder: Path, out: Path) -> Logger:
    place = out.absolute().parent
    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{place / STORE}")
    known = folder / _RUN_FILE
    run_id = known.read_text(encoding="utf-8") if known.exists() else None
    logger = MLFlowLogger(
        experiment_name="ludocast", run_name=out.name, tracking_uri=uri, run_id=run_id,
        artifact_location=(place / "mlartifacts").as_uri() if uri.startswith("sqlite") else None,
    )  # fmt: skip
    assert logger.run_id is not None
    known.write_text(logger.run_id, encoding="utf-8")
    return logger


_MAKERS: dict[str, Callable[[Path, Path], Logger]] = {"csv": _csv, "tensorboard": _tensorboard, "mlflow": _mlflow}
