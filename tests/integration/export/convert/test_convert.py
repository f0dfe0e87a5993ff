"""What all converters share: who is asked, and that nobody else is imported."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError

from .conftest import Data, Score


def test_an_object_of_no_known_framework_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(ConversionError, match=r"no converter for builtins\.dict; there are keras, xgboost, lightgbm"):
        convert({}, np.zeros((2, 1)))


def test_a_framework_without_converter_is_sent_to_its_own_onnx_export() -> None:
    module = type("Module", (), {"__module__": "torch.nn.modules.linear"})
    with pytest.raises(ConversionError, match=r"torch\.nn\.modules\.linear\.Module.*torch\.onnx\.export"):
        convert(module(), np.zeros((2, 1)))


def test_a_class_derived_from_a_known_one_is_converted_as_that(iris: Data, score: Score) -> None:
    class Mine(GaussianNB):  # type: ignore[misc]  # scikit-learn publishes no types
        pass

    member = convert(model := Mine().fit(*iris), iris[0])
    assert member.source["class"] == "Mine"
    np.testing.assert_allclose(score(member, {"tabular": iris[0]}), model.predict_proba(iris[0]), atol=1e-6)


def test_classes_of_the_model_are_not_overruled(iris: Data) -> None:
    model = GaussianNB().fit(iris[0], iris[1] + 5)
    with pytest.raises(ConversionError, match=r"the model's classes are \[5, 6, 7\], given were \['a', 'b', 'c'\]"):
        convert(model, iris[0], classes=["a", "b", "c"])
    assert convert(model, iris[0]).classes == (5, 6, 7)


def test_what_only_an_onnx_file_needs_and_a_task_that_is_not_the_models_are_refused(iris: Data) -> None:
    model = GaussianNB().fit(*iris)
    with pytest.raises(ConversionError, match="native and output are for ONNX files"):
        convert(model, iris[0], output="probabilities")
    with pytest.raises(ConversionError, match=r"task='regression' was given, but .* those of a classification"):
        convert(model, iris[0], task="regression")
    with pytest.raises(ConversionError, match="2 classes were given, the model has 3"):
        convert(model, iris[0], classes=["a", "b"])


def test_the_winner_of_a_search_is_converted(iris: Data) -> None:
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=2).fit(*iris)
    assert convert(search, iris[0]).source["class"] == "GaussianNB"


def test_a_constant_model_is_refused_since_nothing_would_be_proven(iris: Data) -> None:
    from sklearn.dummy import DummyClassifier

    with pytest.raises(ConversionError, match="vary by only 0 over the 150 rows given"):
        convert(DummyClassifier().fit(*iris), iris[0])


def test_more_than_two_thousand_rows_are_compared_on_two_thousand(iris: Data) -> None:
    rows = np.concatenate([iris[0] + shift / 100 for shift in range(20)])
    assert convert(GaussianNB().fit(*iris), rows).certificate.rows == 2000


@pytest.mark.slow
def test_only_the_framework_of_the_model_is_imported() -> None:
    script = """
import sys
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from widedeep.export.convert import convert
rows, labels = load_iris(return_X_y=True)
convert(GaussianNB().fit(rows, labels), rows)
print(sorted({"keras", "tensorflow", "xgboost", "lightgbm"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
