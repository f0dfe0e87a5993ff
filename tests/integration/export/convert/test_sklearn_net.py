"""Pipelines of scikit-learn that end in an estimator which holds a Keras net."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from keras_nets import trained
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from widedeep.export.convert import convert
from widedeep.export.libraries import import_keras
from widedeep.export.member import ConversionError
from widedeep.serving.contract.columns import bind_columns

N_ROWS = 240


class Net(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn publishes no types
    """A classifier of somebody's own: one column for two classes or one each, `model_` for the net."""

    def __init__(self, n_columns: int = 1) -> None:
        self.n_columns = n_columns

    def fit(self, x: Any, y: Any) -> "Net":
        keras = import_keras()
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.n_features_in_ = x.shape[1]
        layers = keras.layers
        last = "sigmoid" if self.n_columns == 1 else "softmax"
        net = keras.Sequential(
            [keras.Input((x.shape[1],)), layers.Dense(6, "relu"), layers.Dense(self.n_columns, last)]
        )
        loss = "binary_crossentropy" if self.n_columns == 1 else "sparse_categorical_crossentropy"
        self.model_ = trained(keras, net, np.asarray(x, np.float32), codes, loss, epochs=4)
        return self

    def predict_proba(self, x: Any) -> Any:
        scores = np.asarray(self.model_.predict_on_batch(np.asarray(x, np.float32)))
        return np.concatenate([1 - scores, scores], axis=1) if self.n_columns == 1 else scores

    def predict(self, x: Any) -> Any:
        return self.classes_[self.predict_proba(x).argmax(axis=1)]


class NetOfValues(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn publishes no types
    def fit(self, x: Any, y: Any) -> "NetOfValues":
        keras = import_keras()
        self.n_features_in_ = x.shape[1]
        net = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(6, "relu"), keras.layers.Dense(1)])
        self.model_ = trained(keras, net, np.asarray(x, np.float32), y, "mean_squared_error", epochs=4)
        return self

    def predict(self, x: Any) -> Any:
        return np.asarray(self.model_.predict_on_batch(np.asarray(x, np.float32)))[:, 0]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(N_ROWS, 3)).astype(np.float32), columns=["a", "b", "c"])
    frame["word"] = rng.choice(np.array(["x", "y", "z"], dtype=object), N_ROWS)
    frame.loc[::9, "b"] = np.nan
    return frame


@pytest.fixture(scope="module")
def labels(table: pd.DataFrame) -> Any:
    return np.where(table["a"] + (table["word"] == "x") > 0.4, "yes", "no")


def encoder() -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    return ColumnTransformer([("numbers", numbers, ["a", "b", "c"]), ("words", words, ["word"])])


def served(score: Any, member: Any, table: pd.DataFrame) -> Any:
    return score(member, bind_columns(member.inputs, {name: table[name].to_numpy() for name in table}))


@pytest.mark.parametrize("n_columns", [1, 2])
def test_a_net_behind_encoders_is_one_graph_with_them(score: Any, table: Any, labels: Any, n_columns: int) -> None:
    model = Pipeline([("columns", encoder()), ("net", Net(n_columns))]).fit(table, labels)
    member = convert(model, table)
    assert member.classes == ("no", "yes")
    assert {spec.name for spec in member.inputs} == {"tabular", "word"}
    assert member.inputs[0].allow_nan
    odd = table.assign(word="new", a=np.float32(np.nan))
    for rows in (table, odd):
        np.testing.assert_allclose(served(score, member, rows), model.predict_proba(rows), atol=1e-5)


def test_a_net_of_values_is_a_regression(score: Any, table: Any) -> None:
    target = np.asarray(table["a"] * 2 + 5, np.float64)
    model = make_pipeline(encoder(), NetOfValues()).fit(table, target)
    member = convert(model, table)
    assert member.task == "regression"
    np.testing.assert_allclose(served(score, member, table)[:, 0], model.predict(table), atol=1e-4)


def test_a_net_may_be_a_member_of_a_vote(score: Any, table: Any, labels: Any) -> None:
    vote = VotingClassifier([("net", Net()), ("linear", LogisticRegression())], voting="soft")
    model = make_pipeline(encoder(), vote).fit(table, labels)
    np.testing.assert_allclose(served(score, convert(model, table), table), model.predict_proba(table), atol=1e-5)


def test_a_net_with_several_outputs_is_refused(table: Any, labels: Any) -> None:
    keras = import_keras()
    model = Pipeline([("columns", encoder()), ("net", Net())]).fit(table, labels)
    own = model["net"].model_
    given = keras.Input((own.input_shape[1],))
    two = keras.Model(given, [own(given), own(given)])
    two.predict_on_batch = own.predict_on_batch
    model["net"].model_ = two
    with pytest.raises(ConversionError, match="expected one output"):
        convert(model, table)
