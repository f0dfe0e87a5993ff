"""Fold models as one member, against the mean of the trained models themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from small_bundle import softmax_graph
from widedeep import export
from widedeep.export.bag import bag
from widedeep.export.libraries import import_keras
from widedeep.export.member import ConversionError, Member, ParityError
from widedeep.serving.contract.certificate import Certificate
from widedeep.serving.contract.errors import InvalidInput
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.ensemble import Ensemble

N_FOLDS = 3
NUMBERS, WORDS = ["length", "width"], ["colour", "shop"]
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "length": RNG.normal(size=400).astype(np.float32),
        "width": RNG.exponential(size=400).astype(np.float32),
        "colour": RNG.choice(["red", "green", "blue", ""], size=400).astype(object),
        "shop": RNG.choice([f"shop {i}" for i in range(30)], size=400).astype(object),
    }
)
LABELS = ((TABLE.length > 0).to_numpy() + (TABLE.colour == "red").to_numpy() * (TABLE.width > 0.5).to_numpy()).astype(
    np.int64
)
VALUES = (3 * TABLE.length + TABLE.width).to_numpy()
FOLDS = np.arange(400) % N_FOLDS


@dataclass(frozen=True)
class Case:
    """Fold models, what they were trained on and how one of them is asked."""

    models: Sequence[Any]
    rows: Any
    score: Callable[[Any, Any], Array]

    def members(self) -> list[Member]:
        return [export.convert(model, self.rows) for model in self.models]

    def mean(self) -> Array:
        return np.asarray(np.mean([self.score(model, self.rows) for model in self.models], axis=0, dtype=np.float64))


def probabilities(model: Any, rows: Any) -> Array:
    return np.asarray(model.predict_proba(rows))


def folds_of(make: Callable[[], Any], table: pd.DataFrame, target: Array, score: Any = probabilities) -> Case:
    models = [make().fit(table[fold != FOLDS], target[fold != FOLDS]) for fold in range(N_FOLDS)]
    return Case(models, table, score)


def with_gaps() -> pd.DataFrame:
    return TABLE[NUMBERS].mask(np.random.default_rng(1).random((400, 2)) < 0.2)


def xgboosts() -> Case:
    return folds_of(lambda: xgboost.XGBClassifier(n_estimators=15, max_depth=3, n_jobs=1), with_gaps(), LABELS)


def lightgbms() -> Case:
    make = lambda: lightgbm.LGBMClassifier(n_estimators=15, num_leaves=7, n_jobs=1, verbose=-1)  # noqa: E731
    return folds_of(make, with_gaps(), LABELS)


def of_words() -> Case:
    columns = [
        ("numbers", StandardScaler(), NUMBERS),
        ("colour", OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32), ["colour"]),
        ("shop", OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=12, sparse_output=False), ["shop"]),
    ]
    return folds_of(lambda: make_pipeline(ColumnTransformer(columns), LogisticRegression()), TABLE, LABELS)


def of_codes() -> Case:
    coder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float32)
    columns = [("numbers", "passthrough", NUMBERS), ("words", coder, WORDS)]
    trees = lambda: HistGradientBoostingClassifier(max_iter=10, categorical_features=[2, 3])  # noqa: E731
    return folds_of(lambda: make_pipeline(ColumnTransformer(columns), trees()), TABLE, LABELS)


def of_values() -> Case:
    score = lambda model, rows: model.predict(rows).reshape(-1, 1)  # noqa: E731
    return folds_of(lambda: make_pipeline(StandardScaler(), Ridge()), TABLE[NUMBERS], VALUES, score)


def nets() -> Case:
    keras: Any = import_keras()
    keras.utils.set_random_seed(0)
    rows = {"tabular": TABLE[NUMBERS].to_numpy()}
    models = []
    for fold in range(N_FOLDS):
        taken = keras.Input((2,), name="tabular")
        hidden = keras.layers.Dense(8, "relu")(keras.layers.BatchNormalization()(taken))
        model = keras.Model(taken, keras.layers.Dense(3, "softmax")(hidden))
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(rows["tabular"][fold != FOLDS], LABELS[fold != FOLDS], epochs=2, verbose=0)
        models.append(model)
    return Case(models, rows, lambda model, given: model.predict(given["tabular"], verbose=0))


def columns(rows: Any) -> dict[str, Array]:
    return {str(name): np.asarray(rows[name]) for name in rows}


SLOW = [pytest.param(case_of, marks=pytest.mark.slow) for case_of in (of_codes, nets)]


@pytest.mark.parametrize("case_of", [xgboosts, lightgbms, of_words, of_values, *SLOW])
def test_a_served_bag_answers_the_mean_of_the_trained_models(case_of: Callable[[], Case], tmp_path: Path) -> None:
    case = case_of()
    members = case.members()
    together = bag(members, columns(case.rows))
    target = VALUES if together.task == "regression" else LABELS
    export.build(
        tmp_path / "bundle",
        name="bagged",
        members={"bag": together, "first": members[0]},
        scores=dict.fromkeys(["bag", "first"], case.mean()),
        target=target,
        rows=case.rows,
    )
    served = Ensemble.load(tmp_path / "bundle")
    given = {spec.name: array for spec, array in zip(together.inputs, _tensors(together, case.rows), strict=True)}
    np.testing.assert_allclose(served.predict(given, ["scores/bag"])["scores/bag"], case.mean(), atol=1e-5, rtol=1e-5)
    assert together.certificate.max_rel_diff <= together.certificate.tolerance["CPUExecutionProvider"]


def _tensors(member: Member, rows: Any) -> list[Array]:
    found = columns(rows)
    return [
        found[spec.name].reshape(-1, *spec.row_shape)
        if spec.name in found
        else np.stack([found[name] for name in spec.feature_names], axis=1)
        for spec in member.inputs
    ]


@pytest.fixture(scope="module")
def boosted() -> tuple[Case, list[Member]]:
    case = xgboosts()
    return case, case.members()


def test_a_bag_tells_what_it_is_made_of_and_what_was_compared(boosted: tuple[Case, list[Member]]) -> None:
    case, members = boosted
    found = bag(members, columns(case.rows))
    assert found.source["class"] == "bag of 3: XGBClassifier"
    assert found.source["framework"] == "xgboost"
    parts = [member.certificate for member in members]
    assert found.certificate.rows == sum(part.rows for part in parts)
    assert found.certificate.probes == sum(part.probes for part in parts)
    assert found.certificate.max_abs_diff >= max(part.max_abs_diff for part in parts)
    assert found.certificate.coverage["thresholds"][1] == sum(part.coverage["thresholds"][1] for part in parts)


def test_the_same_members_give_the_same_bytes(boosted: tuple[Case, list[Member]]) -> None:
    case, members = boosted
    assert bag(members, columns(case.rows)).graph == bag(members, columns(case.rows)).graph


def test_the_bag_of_one_model_many_times_answers_as_it_does_to_the_last_bit(boosted: tuple[Case, list[Member]]) -> None:
    case, members = boosted
    same = bag([members[0]] * 5, columns(case.rows))
    assert same.certificate.max_abs_diff == members[0].certificate.max_abs_diff


def test_a_single_member_is_its_own_bag(boosted: tuple[Case, list[Member]]) -> None:
    case, members = boosted
    assert bag(members[:1], columns(case.rows)) is members[0]


def test_missing_numbers_are_legal_only_where_all_take_them(boosted: tuple[Case, list[Member]]) -> None:
    _, members = boosted
    whole = TABLE[NUMBERS]
    strict = export.convert(make_pipeline(StandardScaler(), LogisticRegression()).fit(whole, LABELS), whole)
    assert members[0].inputs[0].allow_nan
    assert not bag([members[0], strict], columns(whole)).inputs[0].allow_nan
    with pytest.raises(InvalidInput, match="tabular"):
        bag([members[0], strict], columns(with_gaps()))


def linear(scale: float, opset: int = 17) -> Member:
    """Return a member of three classes and two numbers whose graph is written at one version."""
    model = onnx.ModelProto.FromString(softmax_graph("tabular", (2,), 3, seed=0))
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32(scale) * weights, "w"))
    model.opset_import[0].version = opset
    certificate = Certificate(rows=1, probes=0, max_abs_diff=0.0, max_rel_diff=0.0, worst_row=0, labels_differ=0)
    spec = TensorSpec("tabular", DataType.FP32, (-1, 2))
    return Member(
        model.SerializeToString(),
        (spec,),
        "classification",
        (0, 1, 2),
        3,
        {"class": "Linear"},
        {"": opset},
        certificate,
    )


def test_graphs_of_different_operator_sets_are_brought_to_one() -> None:
    rows = {"tabular": TABLE[NUMBERS].to_numpy()}
    assert bag([linear(1.0, 13), linear(2.0, 17)], rows).opset[""] == 17


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "`members` is empty"),
        ([linear(1.0), replace(linear(2.0), classes=(1, 2, 3))], r"classes: member 0 .* member 1 has \(1, 2, 3\)"),
        (
            [linear(1.0), replace(linear(2.0), inputs=(TensorSpec("tabular", DataType.FP64, (-1, 2)),))],
            "input 'tabular'",
        ),
        ([linear(0.0), linear(0.0)], "hardly vary"),
    ],
)
def test_members_that_make_no_bag_are_refused(members: Sequence[Member], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        bag(members, {"tabular": TABLE[NUMBERS].to_numpy()})


def test_members_at_the_end_of_their_tolerance_are_refused() -> None:
    at_the_end = [linear(1.0), linear(0.3), linear(0.1)]
    bound = {"CPUExecutionProvider": 1e-9}
    strict = [replace(m, certificate=replace(m.certificate, tolerance=bound, max_rel_diff=1e-9)) for m in at_the_end]
    with pytest.raises(ParityError, match="more than 1e-09 allows"):
        bag(strict, {"tabular": TABLE[NUMBERS].to_numpy()})
