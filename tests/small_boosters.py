"""One small model of each library of boosters, and the digests of their graphs: run as a script it prints them."""

import hashlib
import json
from importlib import import_module
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier
from widedeep.export.convert.rows import read_rows
from widedeep.export.convert.trained import Wish


def frame(seed: int = 0) -> tuple[pd.DataFrame, Any]:
    """Return rows with numbers and words, and three classes."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    rows["word"] = pd.Categorical.from_codes(rng.integers(0, 4, 120), categories=["red", "green", "blue", "white"])
    labels = (rows["a"] + rows["word"].cat.codes > 1).astype(int) + (rows["b"] > 0)
    return rows, labels.to_numpy()


def digests() -> dict[str, str]:
    """Return the SHA-256 of each library's graph."""
    rows, labels = frame()
    models = {
        "xgboost": xgboost.XGBClassifier(n_estimators=4, max_depth=3, enable_categorical=True, n_jobs=1),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=4, min_data_per_group=2, n_jobs=1, verbose=-1),
        "sklearn": HistGradientBoostingClassifier(max_iter=4, random_state=0),
    }
    return {name: _digest(name, model.fit(rows, labels), rows) for name, model in models.items()}


def _digest(converter: str, model: Any, rows: pd.DataFrame) -> str:
    read = import_module(f"widedeep.export.convert.{converter}").read
    trained = read(model, read_rows(rows, input_name="tabular"), Wish())
    return hashlib.sha256(trained.drafts[0]().data).hexdigest()


if __name__ == "__main__":
    print(json.dumps(digests()))  # noqa: T201  # read by the process that started this one
