from dataclasses import replace

import numpy as np
import pytest
from widedeep.export.build import class_indices
from widedeep.export.inputs import merged_inputs
from widedeep.export.member import ConversionError, Member
from widedeep.serving.contract.certificate import Certificate
from widedeep.serving.contract.tensors import DataType, TensorSpec

COLUMNS = TensorSpec("tabular", DataType.FP32, (-1, 2), feature_names=("a", "b"))
IMAGE = TensorSpec("image", DataType.FP32, (-1, 2, 2))


def member(*inputs: TensorSpec) -> Member:
    certificate = Certificate(rows=8, probes=0, max_abs_diff=0.0, max_rel_diff=0.0, worst_row=0, labels_differ=0)
    return Member(
        graph=b"",
        inputs=inputs,
        task="classification",
        classes=(0, 1),
        n_outputs=2,
        source={},
        opset={},
        certificate=certificate,
    )


def test_the_bundle_takes_every_input_of_its_members_once() -> None:
    merged = merged_inputs({"deep": member(IMAGE), "trees": member(COLUMNS), "linear": member(COLUMNS)})
    assert merged == (IMAGE, COLUMNS)


def test_a_shared_input_takes_nan_only_if_every_member_does() -> None:
    strict = replace(COLUMNS, allow_nan=False)
    assert merged_inputs({"trees": member(COLUMNS), "linear": member(strict)}) == (strict,)


def test_a_shared_input_knows_the_categories_that_any_member_knows() -> None:
    color = TensorSpec("color", DataType.BYTES, (-1, 1), categories=("red", "blue"))
    other = replace(color, categories=("blue", "green"))
    (merged,) = merged_inputs({"a": member(color), "b": member(other)})
    assert merged.categories == ("red", "blue", "green")


def test_feature_names_may_come_from_either_member() -> None:
    nameless = replace(COLUMNS, feature_names=())
    assert merged_inputs({"a": member(nameless), "b": member(COLUMNS)}) == (COLUMNS,)


@pytest.mark.parametrize(
    "other",
    [
        replace(COLUMNS, datatype=DataType.FP64),
        TensorSpec("tabular", DataType.FP32, (-1, 3)),
        replace(COLUMNS, feature_names=("b", "a")),
    ],
)
def test_members_that_declare_an_input_differently_are_refused(other: TensorSpec) -> None:
    with pytest.raises(ConversionError, match=r"input 'tabular': member 'a' takes FP32 \[-1, 2\].* member 'b' takes"):
        merged_inputs({"a": member(COLUMNS), "b": member(other)})


def test_labels_become_their_places_among_the_classes() -> None:
    np.testing.assert_array_equal(class_indices(np.array(["owl", "cat", "owl"]), ("cat", "dog", "owl")), [2, 0, 2])
    np.testing.assert_array_equal(class_indices([7, 3], (3, 7)), [1, 0])


def test_numbers_are_places_where_classes_are_text() -> None:
    np.testing.assert_array_equal(class_indices(np.array([2, 0]), ("cat", "dog", "owl")), [2, 0])
    with pytest.raises(ValueError, match=r"label 3; expected one of \[0, 1, 2\]"):
        class_indices(np.array([3]), ("cat", "dog", "owl"))


def test_one_hot_labels_are_refused_by_their_shape() -> None:
    with pytest.raises(ValueError, match=r"expected one label a row, \(n_rows,\), got shape \[3, 3\]"):
        class_indices(np.eye(3), (0, 1, 2))


def test_a_label_that_is_no_class_is_named() -> None:
    with pytest.raises(ValueError, match=r"label 'cow'; expected one of \['cat', 'dog'\]"):
        class_indices(["cat", "cow"], ("cat", "dog"))
