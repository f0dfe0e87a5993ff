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
        ({"tabular": np.array([[0.0] * 3, [0, np.nan, 0]])}, "input 'tabular': NaN in row 1"),
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


@pytest.mark.parametrize("shape", [(-1,), (1, 3), (-1, 0), (-1, -1), (3,)])
def test_a_shape_that_cannot_be_batched_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BundleError, match="shape must be"):
        TensorSpec("x", DataType.FP32, shape)


def test_feature_names_must_name_every_column() -> None:
    with pytest.raises(BundleError, match="1 feature names for 2 columns"):
        TensorSpec("x", DataType.FP32, (-1, 2), feature_names=("a",))


def test_a_spec_survives_json() -> None:
    spec = TensorSpec("x", DataType.BYTES, (-1, 1), feature_names=("colour",), categories=("red",), allow_nan=False)
    assert TensorSpec.from_json({**spec.to_json(), "added_later": 1}) == spec


@pytest.mark.parametrize("datatype", [t for t in DataType if t is not DataType.BYTES])
def test_every_datatype_is_found_from_its_numpy_dtype(datatype: DataType) -> None:
    assert DataType.of(np.zeros(1, datatype.dtype)) is datatype


def test_strings_of_every_kind_are_bytes() -> None:
    assert {DataType.of(np.array(["a"], dtype=dtype)) for dtype in (object, "U", "S")} == {DataType.BYTES}


def test_a_dtype_without_a_datatype_is_refused() -> None:
    with pytest.raises(InvalidInput, match="complex128"):
        DataType.of(np.zeros(1, complex))
