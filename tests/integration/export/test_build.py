"""From trained models to a bundle that serves: real scikit-learn models on real rows."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from widedeep import export
from widedeep.serving.contract.bundle import read_bundle, read_samples
from widedeep.serving.contract.combiner import combiner_from_json
from widedeep.serving.contract.errors import InvalidInput
from widedeep.serving.contract.histograms import read_histograms
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.ensemble import Ensemble

SPECIES = ("setosa", "versicolor", "virginica")


class Iris:
    """Two members, converted, and their out-of-fold scores."""

    def __init__(self) -> None:
        data = load_iris()
        self.rows = np.asarray(data.data, np.float32)
        self.target = data.target
        self.models = {
            "linear": make_pipeline(StandardScaler(), LogisticRegression()),
            "bayes": GaussianNB(),
        }
        self.scores: Mapping[str, Array] = {
            name: cross_val_predict(model, self.rows, self.target, cv=5, method="predict_proba")
            for name, model in self.models.items()
        }
        self.members = {
            name: export.convert(model.fit(self.rows, self.target), self.rows) for name, model in self.models.items()
        }


@pytest.fixture(scope="module")
def iris() -> Iris:
    return Iris()


def build(iris: Iris, path: Path, **changes: object) -> export.Built:
    arguments = {
        "name": "iris",
        "members": iris.members,
        "scores": iris.scores,
        "target": iris.target,
        "rows": {"tabular": iris.rows},
        **changes,
    }
    return export.build(path, **arguments)  # type: ignore[arg-type]  # the changes are what is tested


def test_a_built_bundle_answers_as_the_models_and_the_combiner_do(iris: Iris, tmp_path: Path) -> None:
    built = build(iris, tmp_path / "iris", classes=SPECIES)
    ensemble = Ensemble.load(tmp_path / "iris")
    answer = ensemble.predict({"tabular": iris.rows}, ["probabilities", "label", "scores/linear", "scores/bayes"])
    native = {name: model.predict_proba(iris.rows) for name, model in iris.models.items()}
    for name, scores in native.items():
        np.testing.assert_allclose(answer[f"scores/{name}"], scores, atol=1e-5)
    expected = built.selection.combiner(np.array(list(native.values())))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert list(answer["label"][:, 0]) == [SPECIES[i] for i in expected.argmax(axis=1)]


def test_the_bundle_tells_what_pixels_are_divided_by(iris: Iris, tmp_path: Path) -> None:
    build(iris, tmp_path / "iris", pixel_scale={"tabular": 255})
    assert [spec.pixel_scale for spec in read_bundle(tmp_path / "iris").inputs] == [255]
    with pytest.raises(
        export.ConversionError, match=r"pixel_scale: the members take no input 'photo'; .* \['tabular'\]"
    ):
        build(iris, tmp_path / "iris", pixel_scale={"photo": 255})


def test_the_bundle_tells_how_its_combiner_was_chosen(iris: Iris, tmp_path: Path) -> None:
    built = build(iris, tmp_path / "iris")
    read = read_bundle(tmp_path / "iris")
    assert read.selection["chosen"] in read.selection["results"]
    assert set(read.selection["members"]) == {"linear", "bayes"}
    assert read.combiner.to_json() == built.selection.combiners[built.selection.chosen].to_json()
    assert combiner_from_json(read.combiner.to_json()).to_json() == read.combiner.to_json()


def test_the_evidence_holds_the_rows_that_the_weights_were_learned_on(iris: Iris, tmp_path: Path) -> None:
    build(iris, tmp_path / "iris")
    with np.load(tmp_path / "iris" / "evidence" / "held_out.npz") as held_out:
        np.testing.assert_array_equal(held_out["target"], iris.target)
        np.testing.assert_array_equal(held_out["scores/bayes"], iris.scores["bayes"])


def test_rows_can_count_differently_and_the_evidence_tells_how(iris: Iris, tmp_path: Path) -> None:
    weights = iris.target.astype(np.float64)
    built = build(iris, tmp_path / "iris", weights=weights)
    assert built.selection.n_rows == np.count_nonzero(weights)
    with np.load(tmp_path / "iris" / "evidence" / "held_out.npz") as held_out:
        np.testing.assert_array_equal(held_out["weights"], weights)
        assert len(held_out["target"]) == len(weights)


def test_the_evidence_holds_histograms_of_the_inputs(iris: Iris, tmp_path: Path) -> None:
    path = tmp_path / "iris"
    build(iris, path)
    found = read_histograms(path, read_bundle(path))
    assert found is not None
    assert found.n_rows == len(iris.rows)
    numeric = found.numeric["tabular"]
    np.testing.assert_array_equal(numeric.least, iris.rows.min(axis=0))
    np.testing.assert_array_equal(numeric.most, iris.rows.max(axis=0))
    np.testing.assert_array_equal(numeric.counts, numeric.count(iris.rows))
    assert (numeric.counts.sum(axis=1) == len(iris.rows)).all()


def test_histograms_may_be_of_more_rows_than_the_proof_needs(iris: Iris, tmp_path: Path) -> None:
    path = tmp_path / "iris"
    build(iris, path, rows={"tabular": iris.rows[:20]}, reference={"tabular": iris.rows})
    found = read_histograms(path, read_bundle(path))
    assert found is not None
    assert found.n_rows == len(iris.rows)
    with pytest.raises(InvalidInput, match="missing input 'tabular'"):
        build(iris, path, reference={"pixels": iris.rows})


def test_the_same_build_gives_the_same_digest(iris: Iris, tmp_path: Path) -> None:
    assert build(iris, tmp_path / "a").bundle.digest == build(iris, tmp_path / "b").bundle.digest


def test_golden_rows_are_spread_over_the_rows_given(iris: Iris, tmp_path: Path) -> None:
    build(iris, tmp_path / "iris", golden_rows=3)
    np.testing.assert_array_equal(read_samples(tmp_path / "iris").inputs["tabular"], iris.rows[[0, 74, 149]])


def test_a_regression_is_built_from_values(tmp_path: Path) -> None:
    data = load_diabetes()
    rows, target = np.asarray(data.data, np.float32), data.target
    models = {"ridge": Ridge(alpha=0.1), "shrunk": Ridge(alpha=100.0)}
    scores = {name: cross_val_predict(model, rows, target, cv=5)[:, None] for name, model in models.items()}
    members = {name: export.convert(model.fit(rows, target), rows) for name, model in models.items()}
    built = export.build(
        tmp_path / "diabetes", name="diabetes", members=members, scores=scores, target=target, rows={"tabular": rows}
    )
    answer = Ensemble.load(tmp_path / "diabetes").predict({"tabular": rows})["prediction"]
    native = np.array([model.predict(rows)[:, None] for model in models.values()])
    np.testing.assert_allclose(answer, built.selection.combiner(native), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"scores": {}}, ValueError, r"scores are of \[\], members are \['bayes', 'linear'\]"),
        ({"members": {}, "scores": {}}, export.ConversionError, "at least one member"),
        ({"rows": {"pixels": np.zeros((3, 4), np.float32)}}, InvalidInput, "missing input 'tabular'"),
        ({"rows": {"tabular": np.zeros((3, 4))}}, InvalidInput, "expected datatype FP32, got FP64"),
        ({"target": np.full(150, 7)}, ValueError, r"label 7; expected one of \[0, 1, 2\]"),
        ({"classes": ("a", "b")}, export.ConversionError, "2 classes given for a classification with 3 outputs"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    iris: Iris, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(iris, tmp_path / "iris", **changes)
    assert not (tmp_path / "iris").exists()
