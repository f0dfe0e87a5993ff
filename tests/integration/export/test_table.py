"""A table as users have it, all the way: DataFrame, pipeline, bundle, server, client and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from widedeep import export
from widedeep.export.weights.catalogue import BEST_SINGLE
from widedeep.serving.client import Client
from widedeep.serving.contract.tensors import Array
from widedeep.serving.online.server import Server


@pytest.fixture(scope="module")
def flats() -> pd.DataFrame:
    """300 flats; of some the city is not known, of some the age."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "city": pd.Series(rng.choice(["oslo", "paris", "rome"], 300), dtype=object),
            "area": rng.normal(80, 15, 300),
            "age": rng.uniform(0, 100, 300),
            "rooms": rng.integers(1, 7, 300),
            "old": rng.random(300) > 0.5,
            "energy": pd.Categorical(rng.choice(["a", "b", "c"], 300)),
        }
    )
    frame.loc[::9, "city"] = None
    frame.loc[::7, "age"] = np.nan
    return frame


@pytest.fixture(scope="module")
def models(flats: pd.DataFrame) -> dict[str, Any]:
    """Two pipelines, one of which uses every column."""
    dear = (flats["area"] + 20 * (flats["city"] == "paris") - 10 * flats["old"] > 80).to_numpy().astype(int)
    words = make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(handle_unknown="ignore"))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    all_columns = ColumnTransformer(
        [("numbers", numbers, ["area", "age", "rooms"]), ("words", words, ["city", "energy"])], remainder="passthrough"
    )
    some = ColumnTransformer([("numbers", numbers, ["age", "area"])])
    models = {
        "trees": make_pipeline(all_columns, xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1)),
        "linear": make_pipeline(some, LogisticRegression()),
    }
    return {name: model.fit(flats, dear) for name, model in models.items()}


@pytest.fixture(scope="module")
def bundle(flats: pd.DataFrame, models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flats") / "bundle"
    export.build(
        path,
        name="flats",
        members={name: export.convert(model, flats) for name, model in models.items()},
        scores={name: model.predict_proba(flats) for name, model in models.items()},
        target=models["linear"].predict(flats),
        rows=flats,
        learners=[BEST_SINGLE],
    )
    return path


def test_a_client_sends_the_table_as_it_is_and_gets_the_pipelines_answers(
    bundle: Path, flats: pd.DataFrame, models: dict[str, Any], start_server: Callable[..., Server]
) -> None:
    server = start_server(bundle)
    with Client(server.address, model="flats") as client:
        answer = client.predict(flats, outputs=[f"scores/{name}" for name in models])
    for name, model in models.items():
        np.testing.assert_allclose(answer[f"scores/{name}"], model.predict_proba(flats), atol=1e-5)


def test_a_stock_client_finds_one_tensor_a_type_and_one_a_word(
    bundle: Path, flats: pd.DataFrame, models: dict[str, Any], start_server: Callable[..., Server]
) -> None:
    server = start_server(bundle)
    tensors = {
        "city": (flats[["city"]].fillna("").to_numpy(object), "BYTES"),
        "energy": (flats[["energy"]].to_numpy(object), "BYTES"),
        "tabular_fp64": (flats[["area", "age"]].to_numpy(), "FP64"),
        "tabular_int64": (flats[["rooms"]].to_numpy(), "INT64"),
        "tabular_bool": (flats[["old"]].to_numpy(), "BOOL"),
    }
    with InferenceServerClient(server.address) as client:
        declared = {tensor.name: tensor.datatype for tensor in client.get_model_metadata("flats").inputs}
        assert declared == {name: datatype for name, (_, datatype) in tensors.items()}
        wanted = [InferRequestedOutput(f"scores/{name}") for name in models]
        answer = client.infer("flats", [_input(name, *tensor) for name, tensor in tensors.items()], outputs=wanted)
    for name, model in models.items():
        np.testing.assert_allclose(answer.as_numpy(f"scores/{name}"), model.predict_proba(flats), atol=1e-5)


def _input(name: str, array: Array, datatype: str) -> InferInput:
    out = InferInput(name, list(array.shape), datatype)
    out.set_data_from_numpy(array)
    return out
