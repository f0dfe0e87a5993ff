from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from widedeep.serving.contract.errors import BundleError, InvalidInput
from widedeep.serving.contract.tensors import DataType, TensorSpec, check_rows

IMAGE = TensorSpec("image", DataType.FP32, (-1, 2, 4))
TABULAR = TensorSpec("tabular", DataType.FP64, (-1, 3), allow_nan=False)


def arrays(n_rows: int = 2, **changes: object) -> dict[str, object]:
    return {"image": np.zeros((n_rows, 2, 4), np.float32), "tabular": np.zeros((n_rows, 3)), **changes}


def test_exactly_the_declared_inputs_pass_and_tell_their_rows() -> None:
    assert check_rows((IMAGE, TABULAR), arrays(7)) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": np.zeros((2, 1))}, "unknown input 'extra'; expected 'image', 'tabular'"),
        ({"image": np.zeros((2, 2, 4))}, "input 'image': expected datatype FP32, got FP64"),
        ({"image": np.zeros((2, 8), np.float32)}, r"input 'image': expected shape \[-1, 2, 4\], got \[2, 8\]"),
        ({"image": np.zeros((2, 2, 5), np.float32)}, r"input 'image': expected shape \[-1, 2, 4\], got \[2, 2, 5\]"),
        ({"tabular": np.zeros((3, 3))}, "input 'tabular' has 3 rows, but input 'image' has 2"),
        ({"tabular": np.array([[0.0] * 3, [0, np.nan, 0]])}, "input 'tabular': NaN in row 1, column 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_rows((IMAGE, TABULAR), arrays(**changes))


def test_a_missing_input_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="missing input 'tabular'"):
        check_rows((IMAGE, TABULAR), {"image": np.zeros((2, 2, 4), np.float32)})


def test_no_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'image' has no rows"):
        check_rows((IMAGE, TABULAR), arrays(0))


def test_nan_passes_where_the_bundle_allows_it() -> None:
    assert check_rows((IMAGE,), {"image": np.full((1, 2, 4), np.nan, np.float32)}) == 1


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_pass_unless_the_bundle_forbids_them(value: float) -> None:
    rows = {"image": np.zeros((2, 2, 4), np.float32)}
    rows["image"][1, 0, 3] = value
    assert check_rows((IMAGE,), rows) == 2
    with pytest.raises(InvalidInput, match=r"input 'image': an infinity in row 1, column \(0, 3\), but"):
        check_rows((replace(IMAGE, allow_inf=False),), rows)


def test_nan_passes_where_only_infinities_are_forbidden_and_the_other_way_round() -> None:
    missing, infinite = np.full((1, 3), np.nan), np.full((1, 3), np.inf)
    assert check_rows((replace(TABULAR, allow_nan=True, allow_inf=False),), {"tabular": missing}) == 1
    assert check_rows((TABULAR,), {"tabular": infinite}) == 1


def test_a_forbidden_value_is_named_by_its_feature() -> None:
    spec = replace(TABULAR, feature_names=("age", "height", "income"))
    with pytest.raises(InvalidInput, match="NaN in row 0, column 'income'"):
        check_rows((spec,), {"tabular": np.array([[0, 0, np.nan]])})


def test_a_category_that_no_member_knows_is_refused_where_the_bundle_says_so() -> None:
    colours = tuple(f"colour {i}" for i in range(9))
    spec = TensorSpec("x", DataType.BYTES, (-1, 1), categories=colours, closed_categories=True)
    known, unknown = np.array([["colour 8"]], object), np.array([["colour 0"], ["red"]], object)
    assert check_rows((spec,), {"x": known}) == 1
    with pytest.raises(InvalidInput, match=r"input 'x': 'red' in row 1 is no category .* 'colour 7', \.\.\. \(9\)"):
        check_rows((spec,), {"x": unknown})
    assert check_rows((replace(spec, closed_categories=False),), {"x": unknown}) == 2


@pytest.mark.parametrize("options", [{"datatype": DataType.FP32}, {"categories": ()}])
def test_only_strings_with_categories_can_be_closed(options: dict[str, Any]) -> None:
    spec = TensorSpec("x", DataType.BYTES, (-1, 1), categories=("red",))
    with pytest.raises(BundleError, match="closed_categories needs a BYTES tensor with categories"):
        replace(spec, closed_categories=True, **options)


@pytest.mark.parametrize("shape", [(-1,), (1, 3), (-1, 0), (-1, -1), (3,)])
def test_a_shape_that_cannot_be_batched_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BundleError, match="shape must be"):
        TensorSpec("x", DataType.FP32, shape)


def test_feature_names_must_name_every_column() -> None:
    with pytest.raises(BundleError, match="1 feature names for 2 columns"):
        TensorSpec("x", DataType.FP32, (-1, 2), feature_names=("a",))


def test_a_spec_survives_json() -> None:
    flags = {"allow_nan": False, "allow_inf": False, "closed_categories": True}
    spec = TensorSpec("x", DataType.BYTES, (-1, 1), feature_names=("colour",), categories=("red",), **flags)
    assert TensorSpec.from_json({**spec.to_json(), "added_later": 1}) == spec
    image = TensorSpec("x", DataType.FP32, (-1, 2, 4), pixel_scale=127.5)
    assert TensorSpec.from_json(image.to_json()) == image


@pytest.mark.parametrize("pixel_scale", [0, -1, np.inf, np.nan])
def test_pixels_can_be_divided_by_a_positive_number_only(pixel_scale: float) -> None:
    with pytest.raises(BundleError, match="expected a positive pixel_scale"):
        replace(IMAGE, pixel_scale=pixel_scale)


def test_a_spec_of_an_older_bundle_allows_all_values() -> None:
    spec = TensorSpec.from_json({"name": "x", "datatype": "FP32", "shape": [-1, 1]})
    assert spec.allow_nan
    assert spec.allow_inf
    assert not spec.closed_categories
    assert spec.to_json() == {"name": "x", "datatype": "FP32", "shape": [-1, 1]}


@pytest.mark.parametrize("datatype", [t for t in DataType if t is not DataType.BYTES])
def test_every_datatype_is_found_from_its_numpy_dtype(datatype: DataType) -> None:
    assert DataType.of(np.zeros(1, datatype.dtype)) is datatype


def test_strings_of_every_kind_are_bytes() -> None:
    assert {DataType.of(np.array(["a"], dtype=dtype)) for dtype in (object, "U", "S")} == {DataType.BYTES}


def test_a_dtype_without_a_datatype_is_refused() -> None:
    with pytest.raises(InvalidInput, match="complex128"):
        DataType.of(np.zeros(1, complex))
