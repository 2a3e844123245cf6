"""`--logger`: what a training tells MLflow, TensorBoard or a CSV file, of networks and all other learners alike."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

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
        self.inner.log_hyperparams({name: str(value) for name, value in options.items() if value is not None})

    def stage(self, name: str) -> Logger:
        """What Lightning's Trainer logs one training by."""
        return StageLogger(self.inner, name)

    def finish(self, folder: Path) -> None:
        """Tell the figures of the test part, and those of every other model on the same rows.

        Args:
            folder: With metrics.json.
        """
        document = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        found = {f"test/{name}": entry["value"] for name, entry in document["metrics"].items()}
        for standing in document["leaderboard"][1:]:
            for name, entry in standing.items():
                if isinstance(entry, dict) and not name.endswith("_behind"):
                    found[f"leaderboard/{standing['name']}/{name}"] = entry["value"]
        self.inner.log_metrics({_key(name): float(value) for name, value in found.items()}, 0)
        self.inner.save()
        self.inner.finalize("success")


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
    return re.sub(r"[^\w\-. /]", "", name)


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
