"""The peers of the accuracy benchmarks as they come, each with the input that suits it, on one thread."""

# N rows, C classes

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# From training rows, their label and test rows to probabilities [N, C]; or, where the label is float64, numbers [N].
Predict = Callable[[pd.DataFrame, np.ndarray, pd.DataFrame], np.ndarray]


def is_number(label: np.ndarray) -> bool:
    """Whether a label is a number to predict; class indices are int64."""
    return label.dtype.kind == "f"


def goodness(label: np.ndarray, answer: np.ndarray) -> float:
    """What ranks and tunes, higher is better: AUC of two classes, minus log loss of more, minus RMSE of numbers."""
    if is_number(label):
        return -float(np.sqrt(np.mean((answer - label) ** 2)))
    if answer.shape[1] == 2:
        return float(roc_auc_score(label, answer[:, 1]))
    return -cross_entropy(label, answer)


def cross_entropy(label: np.ndarray, answer: np.ndarray) -> float:
    """Mean log loss of probabilities [N, C], none taken to be below 1e-7."""
    safe = np.clip(answer, 1e-7, 1)
    return float(log_loss(label, safe / safe.sum(axis=1, keepdims=True), labels=np.arange(answer.shape[1])))


def answer_of(model: Any, rows: Any) -> np.ndarray:
    """Probabilities [N, C] of a classifier, numbers [N] of a regressor."""
    found = model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)
    return np.asarray(found, np.float64)


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


def numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns without names of their own: LightGBM takes no JSON characters in these."""
    return frame.set_axis([f"f{i}" for i in range(frame.shape[1])], axis=1)


def few_values(train: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Categories of up to 255 values, as HistGradientBoosting takes them; the rarer ones share what is left."""
    train, other = train.copy(), other.copy()
    for name in train.select_dtypes("category"):
        top = list(train[name].value_counts().index[:250])
        train[name], other[name] = (frame[name].cat.set_categories(top) for frame in (train, other))
    return train, other


def catboost_pool(frame: pd.DataFrame, label: np.ndarray | None = None) -> Any:
    """CatBoost's rows, categories as texts."""
    import catboost

    texts = list(frame.select_dtypes("category"))
    shown = frame.copy()
    for name in texts:
        shown[name] = shown[name].astype(object).where(shown[name].notna(), "missing").astype(str)
    return catboost.Pool(shown, label, cat_features=texts)


def catboost_model(label: np.ndarray, **settings: object) -> Any:
    """Not fitted yet, on one thread, silent."""
    import catboost

    kind = catboost.CatBoostRegressor if is_number(label) else catboost.CatBoostClassifier
    return kind(thread_count=1, verbose=False, random_seed=0, allow_writing_files=False, **settings)


def _lightgbm(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    import lightgbm

    kind = lightgbm.LGBMRegressor if is_number(label) else lightgbm.LGBMClassifier
    a, b, _ = typed(train, test)
    return answer_of(kind(n_jobs=1, verbosity=-1, random_state=0).fit(numbered(a), label), numbered(b))


def _catboost(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    a, b, _ = typed(train, test)
    return answer_of(catboost_model(label).fit(catboost_pool(a, label)), catboost_pool(b))


def _xgboost(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    import xgboost

    kind = xgboost.XGBRegressor if is_number(label) else xgboost.XGBClassifier
    model = kind(n_jobs=1, enable_categorical=True, tree_method="hist", random_state=0)
    a, b, _ = typed(train, test)
    return answer_of(model.fit(numbered(a), label), numbered(b))


def _histogram(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    kind = HistGradientBoostingRegressor if is_number(label) else HistGradientBoostingClassifier
    a, b = few_values(*typed(train, test)[:2])
    return answer_of(kind(categorical_features="from_dtype", random_state=0).fit(a, label), b)


def _logistic(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
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
        return answer_of(make_pipeline(columns, model).fit(a, label), b)


def flaml(seconds: float, **settings: object) -> Predict:
    """FLAML within a time: its own search over LightGBM, XGBoost, CatBoost, forests and linear models."""

    def predict(train: pd.DataFrame, label: np.ndarray, test: pd.DataFrame) -> np.ndarray:
        from flaml.automl import AutoML

        a, b, _ = typed(train, test)
        metric = "rmse" if is_number(label) else "roc_auc" if len(np.unique(label)) == 2 else "log_loss"
        model = AutoML()
        model.fit(
            numbered(a), label, task="regression" if is_number(label) else "classification", metric=metric,
            time_budget=seconds, n_jobs=1, verbose=0, seed=0, **settings,
        )  # fmt: skip
        found = model.predict(numbered(b)) if is_number(label) else model.predict_proba(numbered(b))
        return np.asarray(found, np.float64)

    return predict


DEFAULT: dict[str, Predict] = {
    "LightGBM": _lightgbm,
    "CatBoost": _catboost,
    "XGBoost": _xgboost,
    "HistGradientBoosting": _histogram,
    "logistic": _logistic,
}
