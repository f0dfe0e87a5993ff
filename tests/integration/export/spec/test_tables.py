"""Tables whose columns several models take in their own ways, and columns of categories that are numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from widedeep.serving.contract.columns import bind_columns
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.ensemble import Ensemble

from .conftest import FEATURES, N_TRAIN, Export, cancer

HEAD = """name = "cancer"
classes = [0, 1]
ensemble.learners = ["uniform"]
[data]
held_out = "{rows}.parquet"
target = "truth"
"""


def held_out() -> pd.DataFrame:
    table: pd.DataFrame = cancer()[N_TRAIN:].reset_index(drop=True)
    return table


def answers(bundle: Path, rows: pd.DataFrame, member: str) -> Array:
    """Return a member's probabilities of the second class for a table as a client has it."""
    ensemble = Ensemble.load(bundle)
    columns = {str(name): np.asarray(rows[name]) for name in rows.columns}
    output = f"scores/{member}"
    return ensemble.predict(bind_columns(ensemble.bundle.inputs, columns), [output])[output][:, 1]


def test_a_column_may_go_to_one_model_wide_and_to_another_narrow(export: Export, files: Path, tmp_path: Path) -> None:
    import lightgbm
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, names = cancer()[:N_TRAIN], list(FEATURES)
    narrow = train[names].to_numpy(np.float32)
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(narrow, train["truth"])
    skops.io.dump(linear, files / "narrow.skops")
    spec = HEAD.format(rows="rows") + (
        f'[inputs.tabular]\ncolumns = {names}\n[inputs.numbers]\ncolumns = {names}\ndtype = "float32"\n'
        '[members.boost]\nfile = "boost.txt"\ninputs = ["tabular"]\n'
        '[members.linear]\nfile = "narrow.skops"\ninputs = ["numbers"]\n'
    )
    export(spec)
    rows = held_out()
    boost = lightgbm.Booster(model_file=files / "boost.txt").predict(rows[names])
    scores = {"boost": np.asarray(boost), "linear": linear.predict_proba(rows[names].to_numpy(np.float32))[:, 1]}
    for member, expected in scores.items():
        np.testing.assert_allclose(answers(tmp_path / "bundle", rows, member), expected, atol=1e-5)


def test_categories_that_are_whole_numbers_are_numbered_as_in_training(
    export: Export, refuse: Callable[..., str], files: Path, tmp_path: Path
) -> None:
    import xgboost

    table = cancer()
    table["visits"] = (table["visits"] // 3 * 10).clip(upper=50).astype("category")
    known = table["visits"].cat.categories.tolist()[::-1]
    table["visits"] = table["visits"].cat.set_categories(known)
    train, rows = table[:N_TRAIN], table[N_TRAIN:].reset_index(drop=True)
    taken = ["radius", "visits"]
    trees = xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1, enable_categorical=True, tree_method="hist")
    trees.fit(train[taken], train["truth"]).save_model(files / "zip.ubj")
    rows.to_parquet(files / "zip.parquet")
    spec = HEAD.format(rows="zip") + (
        f"[inputs.tabular]\ncolumns = {taken}\ncategories.visits = {known}\n[members.trees]\nfile = 'zip.ubj'\n"
    )
    said = refuse(spec.replace(f"categories.visits = {known}\n", ""))
    assert "[members.trees]: the model itself cannot score the rows given" in said
    assert said.endswith("categories.COLUMN = [...] in [inputs.tabular], in the order of training\n")
    assert "Stack trace" not in said
    export(spec)
    found = answers(tmp_path / "bundle", rows.astype({"visits": int}), "trees")
    np.testing.assert_allclose(found, trees.predict_proba(rows[taken])[:, 1], atol=1e-5)
