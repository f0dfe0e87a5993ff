"""Model files and data files as users have them: trained here on real rows, written in each framework's own format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from widedeep.serving.cli import main

N_TRAIN = 300
FEATURES = ("radius", "texture", "smoothness", "symmetry")

Export = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `rows.parquet` and `rows.csv`, which no model has seen, and models of the breast cancer data.

    `plan` is a text column and `visits` one of integers; `truth` is 0 or 1.
    """
    import joblib
    import lightgbm
    import skops.io
    import xgboost

    folder = tmp_path_factory.mktemp("files")
    table = cancer()
    train, held_out = table[:N_TRAIN], table[N_TRAIN:].reset_index(drop=True)
    held_out.to_parquet(folder / "rows.parquet")
    held_out.to_csv(folder / "rows.csv", index=False)
    numbers, truth = train[list(FEATURES)], train["truth"]
    linear = make_pipeline(
        make_column_transformer((StandardScaler(), [*FEATURES, "visits"]), (OneHotEncoder(), ["plan"])),
        LogisticRegression(),
    ).fit(train.drop(columns="truth"), truth)
    skops.io.dump(linear, folder / "linear.skops")
    encoder = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(train[["plan"]], truth)
    skops.io.dump(encoder, folder / "plan.skops")
    trees = xgboost.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(numbers, truth)
    trees.save_model(folder / "trees.ubj")
    trees.save_model(folder / "trees.json")
    joblib.dump(trees, folder / "trees.joblib")
    np.save(folder / "trees_answers.npy", trees.predict_proba(held_out[list(FEATURES)])[:, 1])
    boost = lightgbm.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1).fit(numbers, truth)
    boost.booster_.save_model(folder / "boost.txt")
    (folder / "damaged.keras").write_bytes(b"PK")
    return folder


@pytest.fixture
def export(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Export:
    """Write a spec beside the files, export it to `tmp_path / "bundle"` and return the JSON that is printed."""

    def exported(text: str, *flags: str) -> dict[str, Any]:
        spec = write_spec(files, tmp_path, text)
        status = main(["export", str(spec), "--output", str(tmp_path / "bundle"), "--json", *flags])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        result: dict[str, Any] = json.loads(printed.out)
        return result

    return exported


@pytest.fixture
def refuse(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Export a spec that cannot be exported and return what is said of it; nothing may be written."""

    def refused(text: str, *flags: str) -> str:
        spec = write_spec(files, tmp_path, text)
        assert main(["export", str(spec), "--output", str(tmp_path / "bundle"), *flags]) == 1
        assert not (tmp_path / "bundle").exists()
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return refused


def write_spec(files: Path, tmp_path: Path, text: str) -> Path:
    """Write a spec into the folder of the files under a name of the test's own."""
    path = files / f"{tmp_path.name}.toml"
    path.write_text(text)
    return path


def cancer() -> Any:
    """Return the breast cancer data as a DataFrame, with a text and an integer column made of it."""
    import pandas as pd

    data = load_breast_cancer(as_frame=True)
    table = data.data[["mean radius", "mean texture", "mean smoothness", "mean symmetry"]].set_axis(FEATURES, axis=1)
    area = data.data["mean area"]
    table["plan"] = pd.cut(area, [0, 450, 700, 5000], labels=["small", "middle", "large"]).astype(str)
    table["visits"] = (area // 100).astype("int64")
    table["truth"] = data.target
    return table
