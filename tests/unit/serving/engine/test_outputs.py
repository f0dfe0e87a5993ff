from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from widedeep.serving.contract.bundle import Bundle, read_bundle
from widedeep.serving.contract.combiner import LinearPool
from widedeep.serving.engine.outputs import all_outputs, members_for, outputs_of

SCORES = np.array([[[0.8, 0.1, 0.1], [0.2, 0.2, 0.6]], [[0.5, 0.4, 0.1], [0.1, 0.9, 0.0]]])


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    """Members `deep` and `wide`, weights 0.6 and 0.4, classes cat, dog and owl."""
    return read_bundle(bundle_path)


def test_probabilities_are_combined_and_labels_are_their_largest(bundle: Bundle) -> None:
    out = outputs_of(bundle, SCORES)
    np.testing.assert_allclose(out["probabilities"], [[0.68, 0.22, 0.1], [0.16, 0.48, 0.36]], rtol=1e-6)
    assert out["probabilities"].dtype == np.float32
    assert out["label"].tolist() == [["cat"], ["dog"]]


def test_classes_without_names_are_numbers(bundle: Bundle) -> None:
    label = outputs_of(replace(bundle, classes=(10, 20, 30)), SCORES, ["label"])["label"]
    assert label.dtype == np.int64
    assert label.tolist() == [[10], [20]]


def test_every_members_scores_are_outputs_of_their_own(bundle: Bundle) -> None:
    out = outputs_of(bundle, SCORES, ["scores/wide", "scores/deep"])
    assert list(out) == ["scores/wide", "scores/deep"]
    np.testing.assert_array_equal(out["scores/wide"], SCORES[1].astype(np.float32))


def test_a_regression_answers_values(bundle: Bundle) -> None:
    values = replace(
        bundle, task="regression", classes=(), n_outputs=1, combiner=LinearPool(np.array([0.5, 0.5]), normalize=False)
    )
    out = outputs_of(values, np.array([[[1.0], [-3.0]], [[2.0], [1e6]]]))
    assert list(out) == ["prediction", "scores/deep", "scores/wide"]
    np.testing.assert_array_equal(out["prediction"], np.array([[1.5], [499998.5]], np.float32))


def test_defaults_come_first_among_all_outputs(bundle: Bundle) -> None:
    assert all_outputs(bundle) == ("probabilities", "label", "scores/deep", "scores/wide")


@pytest.mark.parametrize(
    ("outputs", "members"),
    [
        (["probabilities"], (0,)),
        (["label"], (0,)),
        (["scores/wide"], (1,)),
        (["label", "scores/wide"], (0, 1)),
    ],
)
def test_a_member_runs_only_for_an_output_that_needs_it(
    bundle: Bundle, outputs: list[str], members: tuple[int, ...]
) -> None:
    assert members_for(replace(bundle, combiner=LinearPool(np.array([1.0, 0.0]))), outputs) == members
