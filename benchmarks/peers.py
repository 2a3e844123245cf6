"""The peers of the accuracy benchmark, each with the input that suits it, on one thread."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TRIALS, BUDGET = 30, 120  # of each tuned peer a fold: at most so many trials, begun within so many seconds
CODES = 128  # tuned LightGBM and CatBoost get numbers of so few values as categories, too
Predict = Callable[[pd.DataFrame, np.ndarray, pd.DataFrame], np.ndarray]


def typed(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Numbers as numbers, all else as categories of the training rows; nothing is fitted on the test rows."""
    numbers = {}
    categories = []
    for name in train.columns:
        tried = pd.to_numeric(train[name].replace({"": None, " ": None, "?": None}), errors="coerce")
        if tried.isna().sum() <= train[name].isin(["", " ", "?"]).sum() + train[name].isna().sum():
            numbers[name] = tried
        else:
            categories.append(name)
    frames = []
    for frame in (train, test):
        out = pd.DataFrame(index=frame.index)
        for name in train.columns:
            if name in numbers:
                out[name] = pd.to_numeric(frame[name].replace({"": None, " ": None, "?": None}), errors="coerce")
            else:
                out[name] = pd.Categorical(frame[name].astype(str), categories=sorted(train[name].astype(str).unique()))
        frames.append(out.reset_index(drop=True))
    return frames[0], frames[1], categories


def with_codes(frame: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """Numbers of few values once more, as categories."""
    out = frame.copy()
    for name in like.select_dtypes("number"):
        values = like[name].dropna().unique()
        if 2 < len(values) <= CODES:
            out[f"{name} as code"] = pd.Categorical(frame[name], categories=np.sort(values))
    return out


def lightgbm_default(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    import lightgbm

    model = lightgbm.LGBMClassifier(n_jobs=1, verbosity=-1, random_state=0)
    a, b, _ = typed(train, test)
    return np.asarray(model.fit(_plain(a), label).predict_proba(_plain(b)))[:, 1]


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    # LightGBM takes no JSON characters in names.
    return frame.set_axis([f"f{i}" for i in range(frame.shape[1])], axis=1)


def catboost_default(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    return _catboost(*typed(train, test)[:2], label, {}, None)[0]


def _catboost(
    a: pd.DataFrame, b: pd.DataFrame, label: np.ndarray, settings: dict[str, object],
    known: tuple[pd.DataFrame, np.ndarray] | None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    import catboost

    texts = list(a.select_dtypes("category"))

    def pool(frame: pd.DataFrame, y: np.ndarray | None = None) -> catboost.Pool:
        shown = frame.copy()
        for name in texts:
            shown[name] = shown[name].astype(object).where(shown[name].notna(), "missing").astype(str)
        return catboost.Pool(shown, y, cat_features=texts)

    model = catboost.CatBoostClassifier(
        thread_count=1, verbose=False, random_seed=0, allow_writing_files=False, **settings
    )
    if known is None:
        model.fit(pool(a, label))
        return model.predict_proba(pool(b))[:, 1], 0.0
    model.fit(pool(a, label), eval_set=pool(*known), early_stopping_rounds=50)
    score = roc_auc_score(known[1], model.predict_proba(pool(known[0]))[:, 1])
    return model.predict_proba(pool(b))[:, 1], float(score)


def xgboost_default(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    import xgboost

    model = xgboost.XGBClassifier(n_jobs=1, enable_categorical=True, tree_method="hist", random_state=0)
    a, b, _ = typed(train, test)
    return np.asarray(model.fit(_plain(a), label).predict_proba(_plain(b)))[:, 1]


def histogram(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    a, b, texts = typed(train, test)
    for name in texts:  # it takes categories of up to 255 values; the rarer ones share what is left
        top = list(a[name].value_counts().index[:250])
        a[name], b[name] = (frame[name].cat.set_categories(top) for frame in (a, b))
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    return np.asarray(model.fit(a, label).predict_proba(b))[:, 1]


def logistic(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    """Standardised numbers with missing flags, one-hot categories, penalty by three-fold cross-validation."""
    a, b, texts = typed(train, test)
    numbers = [name for name in a.columns if name not in texts]
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
            ("texts", OneHotEncoder(handle_unknown="ignore"), texts),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegressionCV(Cs=[0.01, 0.1, 1.0], cv=3, scoring="roc_auc", max_iter=300)
        return np.asarray(make_pipeline(columns, model).fit(a, label).predict_proba(b))[:, 1]


def _tuned(name: str) -> Predict:
    def predict(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        a, b, _ = typed(train, test)
        a, b = with_codes(a, a), with_codes(b, a)
        inner, held, y, y_held = train_test_split(a, label, test_size=0.1, stratify=label, random_state=0)
        best: list[tuple[float, np.ndarray]] = []

        def objective(trial: optuna.Trial) -> float:
            p, score = _TRIALS[name](trial, inner, y, held, y_held, b)
            best.append((score, p))
            return score

        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        study.optimize(objective, n_trials=TRIALS, timeout=BUDGET)
        return max(best, key=lambda pair: pair[0])[1]

    return predict


def _try_lightgbm(trial, inner, y, held, y_held, test):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    import lightgbm

    model = lightgbm.LGBMClassifier(
        n_estimators=2000, n_jobs=1, verbosity=-1, random_state=0, subsample_freq=1,
        learning_rate=trial.suggest_float("rate", 0.02, 0.15, log=True),
        num_leaves=trial.suggest_int("leaves", 7, 63, log=True),
        min_child_samples=trial.suggest_int("rows", 5, 60, log=True),
        subsample=trial.suggest_float("subsample", 0.6, 1.0),
        colsample_bytree=trial.suggest_float("columns", 0.4, 1.0),
        reg_lambda=trial.suggest_float("l2", 0.01, 20, log=True),
        cat_smooth=trial.suggest_float("smooth", 1, 50, log=True),
    )  # fmt: skip
    stop = lightgbm.early_stopping(50, verbose=False)
    model.fit(_plain(inner), y, eval_X=(_plain(held),), eval_y=(y_held,), eval_metric="auc", callbacks=[stop])
    score = roc_auc_score(y_held, model.predict_proba(_plain(held))[:, 1])
    return model.predict_proba(_plain(test))[:, 1], float(score)


def _try_xgboost(trial, inner, y, held, y_held, test):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    import xgboost

    model = xgboost.XGBClassifier(
        n_estimators=2000, n_jobs=1, enable_categorical=True, random_state=0, early_stopping_rounds=50,
        eval_metric="auc",
        learning_rate=trial.suggest_float("rate", 0.02, 0.15, log=True),
        max_depth=trial.suggest_int("depth", 3, 9),
        min_child_weight=trial.suggest_float("weight", 0.5, 20, log=True),
        subsample=trial.suggest_float("subsample", 0.6, 1.0),
        colsample_bytree=trial.suggest_float("columns", 0.4, 1.0),
        reg_lambda=trial.suggest_float("l2", 0.01, 20, log=True),
    )  # fmt: skip
    model.fit(_plain(inner), y, eval_set=[(_plain(held), y_held)], verbose=False)
    score = roc_auc_score(y_held, model.predict_proba(_plain(held))[:, 1])
    return model.predict_proba(_plain(test))[:, 1], float(score)


def _try_catboost(trial, inner, y, held, y_held, test):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    settings = {
        "iterations": 1000,
        "learning_rate": trial.suggest_float("rate", 0.03, 0.2, log=True),
        "depth": trial.suggest_int("depth", 4, 8),
        "l2_leaf_reg": trial.suggest_float("l2", 0.5, 20, log=True),
        "random_strength": trial.suggest_float("random", 0.1, 5, log=True),
    }
    return _catboost(inner, test, y, settings, (held, y_held))


_TRIALS = {"lightgbm": _try_lightgbm, "xgboost": _try_xgboost, "catboost": _try_catboost}
DEFAULT: dict[str, Predict] = {
    "LightGBM": lightgbm_default,
    "CatBoost": catboost_default,
    "XGBoost": xgboost_default,
    "HistGradientBoosting": histogram,
    "logistic": logistic,
}
TUNED: dict[str, Predict] = {
    "LightGBM tuned": _tuned("lightgbm"),
    "CatBoost tuned": _tuned("catboost"),
    "XGBoost tuned": _tuned("xgboost"),
}
