"""Real tables as files: scikit-learn's breast cancer rows, one column of them told in words, some cells gone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer


@pytest.fixture(scope="session")
def tumours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """569 rows with 12 columns of numbers, one of words and the target `diagnosis`."""
    data = load_breast_cancer(as_frame=True)
    table = data.data.iloc[:, :13].copy()
    size = pd.cut(table.pop("mean radius"), [0, 12, 15, 100], labels=["small", "medium", "large"])
    table["size"] = size.astype(str)
    gaps = np.random.default_rng(0).random(len(table)) < 0.05
    table.loc[gaps, "mean texture"] = np.nan
    table["diagnosis"] = np.where(data.target == 1, "benign", "malignant")
    path = tmp_path_factory.mktemp("data") / "tumours.csv"
    table.to_csv(path, index=False)
    return path
