"""Which values requests may hold: what the model itself refuses, the server refuses too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from widedeep.export.convert import convert
from widedeep.export.convert.graph import Graph
from widedeep.export.inputs import merged_inputs
from widedeep.export.member import ConversionError, Member
from widedeep.serving.contract.errors import InvalidInput
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec, check_rows

from .conftest import Data, Score

COLOURS = ("blue", "green", "red")


def booster(iris: Data) -> Any:
    return xgboost.XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1).fit(*iris)


def painted(iris: Data) -> pd.DataFrame:
    return pd.DataFrame({"length": iris[0][:, 0], "colour": np.array(COLOURS)[np.arange(len(iris[0])) % 3]})


def strict(rows: pd.DataFrame, labels: Any, **options: Any) -> Any:
    encoder = ColumnTransformer(
        [("colour", OneHotEncoder(**options), ["colour"]), ("length", StandardScaler(), ["length"])]
    )
    return make_pipeline(encoder, LogisticRegression(max_iter=2000)).fit(rows, labels)


def by_name(member: Member) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in member.inputs}


def test_infinities_are_legal_where_model_and_graph_take_them_alike(iris: Data, score: Score) -> None:
    model = booster(iris)
    member = convert(model, iris[0])
    assert member.inputs[0].allow_inf
    assert member.certificate.kinds["infinities"] > 0
    odd = np.where(np.eye(4, dtype=bool), np.inf, iris[0][:4])
    np.testing.assert_allclose(score(member, {"tabular": odd}), model.predict_proba(odd), atol=1e-6)


@pytest.mark.parametrize("model", [RandomForestClassifier(4, random_state=0), LogisticRegression(max_iter=2000)])
def test_infinities_are_refused_where_the_model_refuses_them(iris: Data, model: Any) -> None:
    member = convert(model.fit(*iris), iris[0])
    assert not member.inputs[0].allow_inf
    with pytest.raises(InvalidInput, match="input 'tabular': an infinity in row 0, column 2"):
        check_rows(member.inputs, {"tabular": np.array([[1, 1, -np.inf, 1]])})


def test_rows_with_infinities_are_refused_where_the_model_does_not_take_them_everywhere(tmp_path: Path) -> None:
    """The difference of two columns has a limit for one infinity and none for two."""
    graph = Graph()
    columns = graph.input(TensorSpec("x", DataType.FP32, (-1, 2)))
    difference = graph.add("MatMul", columns, graph.constant([[1.0], [-1.0]], np.float32))
    (tmp_path / "net.onnx").write_bytes(graph.finish(graph.add("Tanh", difference), 1).data)
    rows = {"x": np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)}

    def native(given: Mapping[str, Array]) -> Array:
        return np.tanh(given["x"][:, :1] - given["x"][:, 1:])

    assert not convert(tmp_path / "net.onnx", rows, native=native).inputs[0].allow_inf
    rows["x"][3, 1] = np.inf
    with pytest.raises(ConversionError, match=r"input 'x': the rows hold infinities, .* Clip them"):
        convert(tmp_path / "net.onnx", rows, native=native)


def test_a_bundle_takes_infinities_only_if_every_member_does(iris: Data) -> None:
    members = {
        "trees": convert(booster(iris), iris[0]),
        "linear": convert(LogisticRegression(max_iter=2000).fit(*iris), iris[0]),
    }
    assert not merged_inputs(members)[0].allow_inf


def test_unseen_categories_are_refused_where_the_model_refuses_them(iris: Data) -> None:
    rows = painted(iris)
    member = convert(strict(rows, iris[1]), rows)
    colour = by_name(member)["colour"]
    assert colour.closed_categories
    assert colour.categories == COLOURS
    unseen = {"tabular": np.zeros((1, 1)), "colour": np.array([["mauve"]], object)}
    with pytest.raises(
        InvalidInput, match="'mauve' in row 0 is no category that a member knows; expected one of 'blue'"
    ):
        check_rows(member.inputs, unseen)


def test_unseen_categories_pass_where_the_model_ignores_them(iris: Data, score: Score) -> None:
    rows = painted(iris)
    model = strict(rows, iris[1], handle_unknown="ignore")
    member = convert(model, rows)
    assert not by_name(member)["colour"].closed_categories
    unseen = {"tabular": np.ones((1, 1)), "colour": np.array([["mauve"]], object)}
    expected = model.predict_proba(pd.DataFrame({"length": [1.0], "colour": ["mauve"]}))
    np.testing.assert_allclose(score(member, unseen), expected, atol=1e-6)


def test_a_category_of_a_pandas_dtype_that_training_never_saw_is_not_among_those_of_a_closed_input(iris: Data) -> None:
    rows = painted(iris)
    model = strict(rows, iris[1])
    wider = rows.astype({"colour": pd.CategoricalDtype(["black", *COLOURS])})
    assert by_name(convert(model, wider))["colour"].categories == COLOURS


def test_a_bundle_refuses_unseen_categories_if_one_member_does(iris: Data) -> None:
    rows = painted(iris)
    few = rows[rows["colour"] != "red"]
    members = {
        "open": convert(strict(rows, iris[1], handle_unknown="ignore"), rows),
        "closed": convert(strict(few, iris[1][few.index]), few),
    }
    colour = next(spec for spec in merged_inputs(members) if spec.name == "colour")
    assert colour.closed_categories
    assert colour.categories == ("blue", "green")


def test_strings_in_several_columns_of_one_tensor_cannot_be_closed(iris: Data) -> None:
    rows = np.stack([painted(iris)["colour"], painted(iris)["colour"]], axis=1).astype(object)
    rows[::2, 1] = "blue"
    model = make_pipeline(OneHotEncoder(), LogisticRegression(max_iter=2000)).fit(rows, iris[1])
    with pytest.raises(ConversionError, match=r"refuses categories that it was not trained on.*pass a DataFrame"):
        convert(model, rows)
