"""What a search keeps on disk: its trials as an Optuna study in SQLite, and the held-out scores of the whole ones.

A trial is entered when it is over, after its scores: a search that is killed has lost the trial at hand and no other.
"""

# N rows, C outputs

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.whole_files import put_file
from ludocast.models.table.spaces import SPACES, Range, Settings
from ludocast.models.table.trials import State, Trial

STUDY_FILE = "study.db"
STARTUP = 5  # trials of a learner's before its settings are drawn after them
_STUDY = "search"


class TrialStore:
    """Trials in a folder.

    Args:
        folder: Made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        optuna = _optuna()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._study = optuna.create_study(
            storage=f"sqlite:///{folder / STUDY_FILE}", study_name=_STUDY, load_if_exists=True
        )

    def trials(self) -> list[Trial]:
        """All that are over, in order."""
        return [_from_frozen(one) for one in self._study.get_trials(deepcopy=False) if one.state.is_finished()]

    def add(self, trial: Trial, scores: np.ndarray | None) -> None:
        """Enter one.

        Args:
            trial: That is over.
            scores: Of all held-out rows, float64 [N, C], of a whole one.
        """
        if scores is not None:
            path = self._path(trial.number)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, scores)
            put_file(partial, path)
        self._study.add_trial(_to_frozen(trial))

    def scores(self, number: int) -> np.ndarray:
        """Of a whole trial, float64 [N, C]."""
        return np.asarray(np.load(self._path(number)))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05}.npy"


def draw_settings(learner: str, trials: list[Trial], seed: int, number: int) -> Settings:
    """Settings that Optuna's tree-structured Parzen estimator draws after the learner's trials so far.

    A sampler is made anew for each trial, so that a search that goes on draws what it would have drawn.

    Args:
        learner: With a space.
        trials: All so far.
        seed: Of the search.
        number: Of the trial to come.
    """
    optuna = _optuna()
    sampler_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=sampler_seed, multivariate=True, n_startup_trials=STARTUP)
    study = optuna.create_study(sampler=sampler)
    known = [one for one in trials if one.learner == learner and one.settings and one.state in ("whole", "pruned")]
    study.add_trials([_to_frozen(one) for one in known])
    asked = study.ask({f"{learner}.{name}": _distribution(r) for name, r in SPACES[learner].ranges.items()})
    return {name.partition(".")[2]: value for name, value in asked.params.items()}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ValueError("a search needs Optuna: pip install 'ludocast[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(one: Range) -> Any:
    optuna = _optuna()
    if one.whole:
        return optuna.distributions.IntDistribution(int(one.low), int(one.high), log=one.log)
    return optuna.distributions.FloatDistribution(one.low, one.high, log=one.log)


def _to_frozen(trial: Trial) -> Any:
    optuna = _optuna()
    states = optuna.trial.TrialState
    kinds: Mapping[State, Any] = {
        "whole": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL, "late": states.FAIL,
    }  # fmt: skip
    ranges = SPACES[trial.learner].ranges if trial.settings else {}
    return optuna.trial.create_trial(
        state=kinds[trial.state],
        value=trial.loss if trial.state == "whole" else None,
        params={f"{trial.learner}.{name}": value for name, value in trial.settings.items()},
        distributions={f"{trial.learner}.{name}": _distribution(one) for name, one in ranges.items()},
        intermediate_values=dict(enumerate(trial.losses)),
        user_attrs={
            "number": trial.number,
            "learner": trial.learner,
            "state": trial.state,
            "setting": trial.setting,
            "seconds": trial.seconds,
            "elapsed": trial.elapsed,
            "failed": trial.failed,
        },
    )


def _from_frozen(frozen: Any) -> Trial:
    known = frozen.user_attrs
    return Trial(
        known["number"],
        known["learner"],
        {name.partition(".")[2]: value for name, value in frozen.params.items()},
        known["state"],
        tuple(frozen.intermediate_values[k] for k in sorted(frozen.intermediate_values)),
        tuple(known["setting"]) if isinstance(known["setting"], list) else known["setting"],
        known["seconds"],
        known["elapsed"],
        known["failed"],
    )
