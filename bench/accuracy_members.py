"""The members that a user of scikit-learn would stack: the same kinds of models as in the zoo, with usual settings."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn import ensemble, linear_model, neural_network
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

ROUNDS = 100
RATE = 0.1
TREES = 300


def _codes(numbers: list[str], words: list[str]) -> Any:
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_column_transformer(("passthrough", numbers), (ordinal, words))


def _scaled(numbers: list[str], words: list[str]) -> Any:
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5, sparse_output=False)
    scaled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    return make_column_transformer((scaled, numbers), (one_hot, words))


def members(rows: pd.DataFrame, is_classification: bool, seed: int) -> list[tuple[str, Any]]:
    """Return name and untrained model of each member, for rows with these columns."""
    import lightgbm
    import xgboost

    numbers = list(rows.select_dtypes(include="number").columns)
    words = [name for name in rows.columns if name not in numbers]
    boosted = {"n_estimators": ROUNDS, "learning_rate": RATE, "random_state": seed, "n_jobs": 1}
    trees = {"n_estimators": TREES, "random_state": seed, "n_jobs": 1}
    hist = {"max_iter": ROUNDS, "learning_rate": RATE, "random_state": seed}
    net = {"hidden_layer_sizes": (64,), "early_stopping": True, "max_iter": 200, "random_state": seed}
    if is_classification:
        on_codes = {
            "xgboost": xgboost.XGBClassifier(**boosted),
            "lightgbm": lightgbm.LGBMClassifier(**boosted, verbose=-1),
            "hist": ensemble.HistGradientBoostingClassifier(**hist),
            "forest": ensemble.RandomForestClassifier(**trees),
            "extra_trees": ensemble.ExtraTreesClassifier(**trees),
        }
        on_scaled = {
            "linear": linear_model.LogisticRegression(max_iter=1000),
            "mlp": neural_network.MLPClassifier(**net),
        }
    else:
        on_codes = {
            "xgboost": xgboost.XGBRegressor(**boosted),
            "lightgbm": lightgbm.LGBMRegressor(**boosted, verbose=-1),
            "hist": ensemble.HistGradientBoostingRegressor(**hist),
            "forest": ensemble.RandomForestRegressor(**trees),
            "extra_trees": ensemble.ExtraTreesRegressor(**trees),
        }
        on_scaled = {
            "linear": linear_model.RidgeCV(alphas=np.logspace(-3, 3, 13)),
            "mlp": TransformedTargetRegressor(neural_network.MLPRegressor(**net), transformer=StandardScaler()),
        }
    return [
        *((name, make_pipeline(_codes(numbers, words), model)) for name, model in on_codes.items()),
        *((name, make_pipeline(_scaled(numbers, words), model)) for name, model in on_scaled.items()),
    ]


def combined(how: str, rows: pd.DataFrame, is_classification: bool, seed: int) -> Any:
    """Return the untrained combination: "stacking" over five folds, or "voting" with equal weights."""
    each = members(rows, is_classification, seed)
    match how, is_classification:
        case "stacking", True:
            return ensemble.StackingClassifier(each, stack_method="predict_proba", cv=5)
        case "stacking", False:
            return ensemble.StackingRegressor(each, cv=5)
        case "voting", True:
            return ensemble.VotingClassifier(each, voting="soft")
        case "voting", False:
            return ensemble.VotingRegressor(each)
    raise ValueError(f"unknown combination {how!r}")
