"""The peers of the accuracy benchmarks tuned by Optuna, with early stopping, each on one thread."""

# N rows, C classes

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from benchmarks.peers import (
    Predict,
    answer_of,
    catboost_model,
    catboost_pool,
    few_values,
    goodness,
    is_number,
    numbered,
    typed,
)

CODES = 128  # numbers of so few values may be categories, too
PATIENCE = 50  # rounds
MOST_ROUNDS = {"lightgbm": 2000, "xgboost": 2000, "catboost": 1000, "histogram": 500}
CROSS_ROWS = 1_000  # fewer rows are held out in turn
FOLDS = 5

Known = tuple[pd.DataFrame, np.ndarray]
Answer = Callable[[pd.DataFrame], np.ndarray]


@dataclass(frozen=True)
class Tuning:
    """How much is tried.

    Attributes:
        trials: At most.
        seconds: Within which the trials begin; with `thorough` a trial's boosting stops growing at their end as well.
        thorough: The default settings are tried first, the search decides whether numbers of few values are categories
            as well, few rows are held out in turn, and the best settings are fitted on all training rows at last.
            Without it a tenth is held out and the best trial's model answers.
    """

    trials: int
    seconds: float
    thorough: bool


@dataclass(frozen=True)
class Fit:
    """What one boosting is fitted on.

    Attributes:
        settings: Of the search.
        known: Held-out rows that stop it; None where `rounds` are made.
        rounds: At most.
        deadline: In seconds of `time.monotonic`, at which it stops.
    """

    settings: dict[str, Any]
    known: Known | None
    rounds: int
    deadline: float


def tuned(name: str, tuning: Tuning) -> Predict:
    """A peer, tuned by what ranks it (`goodness`)."""

    def predict(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        end = time.monotonic() + tuning.seconds
        deadline = end if tuning.thorough else np.inf
        plain, shown, _ = typed(train, test)
        inputs = {False: (plain, shown), True: (with_codes(plain, plain), with_codes(shown, plain))}
        parts = _parts(label, tuning)
        best: list[tuple[float, dict[str, Any], int, bool, np.ndarray | None]] = []

        def stop_at_end(study: optuna.Study, _: object) -> None:
            if time.monotonic() > end:
                study.stop()

        def objective(trial: optuna.Trial) -> float:
            codes = trial.suggest_categorical("codes", [False, True]) if tuning.thorough else True
            settings = SPACES[name](trial)
            a, b = inputs[codes]
            scores, rounds, answer = [], [], None
            for inner, held in parts:
                known = (a.iloc[held], label[held])
                fit = Fit(settings, known, MOST_ROUNDS[name], deadline)
                model, count = FITS[name](a.iloc[inner], label[inner], fit)
                scores.append(goodness(label[held], model(known[0])))
                rounds.append(count)
                answer = None if tuning.thorough else model(b)
                if time.monotonic() > deadline and best:
                    raise optuna.TrialPruned  # it was cut short
            best.append((float(np.mean(scores)), settings, max(int(np.mean(rounds)), 1), codes, answer))
            return best[-1][0]

        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        if tuning.thorough:
            study.enqueue_trial({"codes": False, **USUAL[name]})
        study.optimize(objective, n_trials=tuning.trials, callbacks=[stop_at_end])
        _, settings, rounds, codes, answer = max(best, key=lambda one: one[0])
        if answer is not None:
            return answer
        a, b = inputs[codes]
        return FITS[name](a, label, Fit(settings, None, rounds, np.inf))[0](b)

    return predict


def with_codes(frame: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """Numbers of few values once more, as categories."""
    out = frame.copy()
    for name in like.select_dtypes("number"):
        values = like[name].dropna().unique()
        if 2 < len(values) <= CODES:
            # As texts: XGBoost 3 takes no other categories.
            out[f"{name} as code"] = pd.Categorical(frame[name].map(str), categories=[str(v) for v in np.sort(values)])
    return out


def _parts(label: np.ndarray, tuning: Tuning) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.arange(len(label))
    if tuning.thorough and len(label) < CROSS_ROWS:
        kind = KFold if is_number(label) else StratifiedKFold
        return list(kind(FOLDS, shuffle=True, random_state=0).split(rows, label))
    stratify = None if is_number(label) else label
    share = 0.2 if tuning.thorough else 0.1
    return [tuple(train_test_split(rows, test_size=share, stratify=stratify, random_state=0))]


def _space_lightgbm(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("rate", 0.02, 0.15, log=True),
        "num_leaves": trial.suggest_int("leaves", 7, 63, log=True),
        "min_child_samples": trial.suggest_int("rows", 5, 60, log=True),
        "subsample": trial.suggest_float("subsample", 0.6, 1.0),
        "colsample_bytree": trial.suggest_float("columns", 0.4, 1.0),
        "reg_lambda": trial.suggest_float("l2", 0.01, 20, log=True),
        "cat_smooth": trial.suggest_float("smooth", 1, 50, log=True),
    }


def _fit_lightgbm(train: pd.DataFrame, label: np.ndarray, fit: Fit) -> tuple[Answer, int]:
    import lightgbm

    def stop_in_time(state: Any) -> None:
        if time.monotonic() > fit.deadline:
            raise lightgbm.callback.EarlyStopException(state.iteration, state.evaluation_result_list)

    kind = lightgbm.LGBMRegressor if is_number(label) else lightgbm.LGBMClassifier
    model = kind(n_estimators=fit.rounds, n_jobs=1, verbosity=-1, random_state=0, subsample_freq=1, **fit.settings)
    metric = "rmse" if is_number(label) else "auc" if label.max() == 1 else "multi_logloss"
    if fit.known is None:
        model.fit(numbered(train), label)
    else:
        known: dict[str, Any] = {"eval_X": (numbered(fit.known[0]),), "eval_y": (fit.known[1],)}
        stops: list[Any] = [stop_in_time, lightgbm.early_stopping(PATIENCE, verbose=False)]
        model.fit(numbered(train), label, **known, eval_metric=metric, callbacks=stops)
    return lambda rows: answer_of(model, numbered(rows)), int(model.best_iteration_ or fit.rounds)


def _space_xgboost(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("rate", 0.02, 0.15, log=True),
        "max_depth": trial.suggest_int("depth", 3, 9),
        "min_child_weight": trial.suggest_float("weight", 0.5, 20, log=True),
        "subsample": trial.suggest_float("subsample", 0.6, 1.0),
        "colsample_bytree": trial.suggest_float("columns", 0.4, 1.0),
        "reg_lambda": trial.suggest_float("l2", 0.01, 20, log=True),
    }


def _fit_xgboost(train: pd.DataFrame, label: np.ndarray, fit: Fit) -> tuple[Answer, int]:
    import xgboost

    class StopInTime(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
            return time.monotonic() > fit.deadline

    kind = xgboost.XGBRegressor if is_number(label) else xgboost.XGBClassifier
    metric = "rmse" if is_number(label) else "auc" if label.max() == 1 else "mlogloss"
    stopping = {} if fit.known is None else {"early_stopping_rounds": PATIENCE, "callbacks": [StopInTime()]}
    model = kind(
        n_estimators=fit.rounds, n_jobs=1, enable_categorical=True, random_state=0, eval_metric=metric,
        **stopping, **fit.settings,
    )  # fmt: skip
    known = [] if fit.known is None else [(numbered(fit.known[0]), fit.known[1])]
    model.fit(numbered(train), label, eval_set=known or None, verbose=False)
    best = model.get_booster().attr("best_iteration")  # None of one that was stopped in its first round
    rounds = fit.rounds if best is None else int(best) + 1
    return lambda rows: answer_of(model, numbered(rows)), rounds


def _space_catboost(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("rate", 0.03, 0.2, log=True),
        "depth": trial.suggest_int("depth", 4, 8),
        "l2_leaf_reg": trial.suggest_float("l2", 0.5, 20, log=True),
        "random_strength": trial.suggest_float("random", 0.1, 5, log=True),
    }


def _fit_catboost(train: pd.DataFrame, label: np.ndarray, fit: Fit) -> tuple[Answer, int]:
    class StopInTime:
        def after_iteration(self, info: Any) -> bool:  # noqa: ARG002
            return time.monotonic() < fit.deadline

    model = catboost_model(label, iterations=fit.rounds, **fit.settings)
    if fit.known is None:
        model.fit(catboost_pool(train, label))
        return lambda rows: answer_of(model, catboost_pool(rows)), fit.rounds
    held = catboost_pool(*fit.known)
    callbacks = None if fit.deadline == np.inf else [StopInTime()]
    model.fit(catboost_pool(train, label), eval_set=held, early_stopping_rounds=PATIENCE, callbacks=callbacks)
    return lambda rows: answer_of(model, catboost_pool(rows)), int(model.get_best_iteration() or 0) + 1


def _space_histogram(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("rate", 0.02, 0.15, log=True),
        "max_leaf_nodes": trial.suggest_int("leaves", 7, 63, log=True),
        "min_samples_leaf": trial.suggest_int("rows", 5, 60, log=True),
        "max_features": trial.suggest_float("columns", 0.4, 1.0),
        "l2_regularization": trial.suggest_float("l2", 0.01, 20, log=True),
    }


def _fit_histogram(train: pd.DataFrame, label: np.ndarray, fit: Fit) -> tuple[Answer, int]:
    """Its rounds know no deadline."""
    kind = HistGradientBoostingRegressor if is_number(label) else HistGradientBoostingClassifier
    model = kind(
        max_iter=fit.rounds, categorical_features="from_dtype", random_state=0, n_iter_no_change=PATIENCE,
        early_stopping=fit.known is not None, **fit.settings,
    )  # fmt: skip
    few, _ = few_values(train, train)

    def as_fitted(rows: pd.DataFrame) -> pd.DataFrame:
        return few_values(train, rows)[1]

    if fit.known is None:
        model.fit(few, label)
        return lambda rows: answer_of(model, as_fitted(rows)), fit.rounds
    held = as_fitted(fit.known[0])
    model.fit(few, label, X_val=held, y_val=fit.known[1])
    staged = model.staged_predict if is_number(label) else model.staged_predict_proba
    scores = [goodness(fit.known[1], np.asarray(answer)) for answer in staged(held)]
    rounds = int(np.argmax(scores)) + 1

    def answer_at(rows: pd.DataFrame) -> np.ndarray:
        shown = as_fitted(rows)
        staged = model.staged_predict(shown) if is_number(label) else model.staged_predict_proba(shown)
        return next(np.asarray(answer) for count, answer in enumerate(staged, 1) if count == rounds)

    return answer_at, rounds


SPACES: dict[str, Callable[[optuna.Trial], dict[str, Any]]] = {
    "lightgbm": _space_lightgbm, "xgboost": _space_xgboost, "catboost": _space_catboost, "histogram": _space_histogram,
}  # fmt: skip
FITS: dict[str, Callable[[pd.DataFrame, np.ndarray, Fit], tuple[Answer, int]]] = {
    "lightgbm": _fit_lightgbm, "xgboost": _fit_xgboost, "catboost": _fit_catboost, "histogram": _fit_histogram,
}  # fmt: skip
# Near the defaults of each, as a first trial.
USUAL: dict[str, dict[str, Any]] = {
    "lightgbm": {
        "rate": 0.05, "leaves": 31, "rows": 20, "subsample": 1.0, "columns": 1.0, "l2": 0.01, "smooth": 10.0,
    },
    "xgboost": {"rate": 0.1, "depth": 6, "weight": 1.0, "subsample": 1.0, "columns": 1.0, "l2": 1.0},
    "catboost": {"rate": 0.08, "depth": 6, "l2": 3.0, "random": 1.0},
    "histogram": {"rate": 0.1, "leaves": 31, "rows": 20, "columns": 1.0, "l2": 0.01},
}  # fmt: skip
