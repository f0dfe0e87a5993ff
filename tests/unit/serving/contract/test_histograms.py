"""Histograms of inputs: what is counted where, and the file in the bundle."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from small_bundle import make_bundle
from widedeep.export.histograms import histograms_of, to_bytes
from widedeep.serving.contract import histograms as module
from widedeep.serving.contract.bundle import Bundle
from widedeep.serving.contract.errors import BundleError
from widedeep.serving.contract.histograms import (
    ABOVE,
    BELOW,
    HISTOGRAMS_FILE,
    MISSING,
    N_CELLS,
    Histograms,
    column_names,
    numeric_cells,
    read_histograms,
)
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec

ONE = TensorSpec("x", DataType.FP32, (-1, 1))

floats = arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))


@given(floats, floats)
def test_every_value_lies_in_the_cell_that_its_bounds_say(then: Array, now: Array) -> None:
    numeric = histograms_of([ONE], {"x": then[:, None]}).numeric["x"]
    counts = numeric.count(now[:, None])[0]
    present = now[~np.isnan(now)]
    least, most, edges = numeric.least[0], numeric.most[0], numeric.edges[0]
    assert counts.sum() == len(now)
    assert counts[MISSING] == np.isnan(now).sum()
    if np.isnan(then).all():
        assert counts[BELOW] == (present < np.inf).sum()
        return
    assert counts[BELOW] == (present < least).sum()
    assert counts[ABOVE] == (present > most).sum()
    inside = present[(present >= least) & (present <= most)]
    upper = np.append(edges, most)
    expected = np.bincount(np.searchsorted(upper, inside), minlength=len(upper))
    np.testing.assert_array_equal(counts[BELOW + 1 : ABOVE], expected)


@pytest.mark.parametrize("block_values", [7, 1 << 17])
def test_columns_are_counted_alike_in_blocks_of_any_size(block_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    spec = TensorSpec("x", DataType.FP64, (-1, 5))
    numeric = histograms_of([spec], {"x": rng.normal(size=(400, 5))}).numeric["x"]
    now = rng.normal(size=(301, 5))
    whole = numeric.count(now)
    monkeypatch.setattr(module, "_BLOCK_VALUES", block_values)
    np.testing.assert_array_equal(numeric.count(now), whole)


@pytest.mark.parametrize("datatype", [datatype for datatype in DataType if datatype is not DataType.BYTES])
def test_every_numeric_datatype_is_counted_and_comes_back_from_json(datatype: DataType) -> None:
    spec = TensorSpec("x", datatype, (-1, 2))
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2 if datatype is DataType.BOOL else 100, (300, 2)).astype(datatype.dtype)
    made = histograms_of([spec], {"x": values})
    read = Histograms.from_json(json.loads(to_bytes(made)), {"x": spec})
    numeric = read.numeric["x"]
    assert numeric.edges.dtype == made.numeric["x"].edges.dtype
    np.testing.assert_array_equal(numeric.edges, made.numeric["x"].edges)
    np.testing.assert_array_equal(numeric.count(numeric_cells(spec, values)), made.numeric["x"].counts)
    assert (numeric.counts.sum(axis=1) == 300).all()
    assert (numeric.counts[:, [MISSING, BELOW, ABOVE]] == 0).all()


def test_large_whole_numbers_keep_every_digit() -> None:
    spec = TensorSpec("x", DataType.INT64, (-1, 1))
    values = np.array([[2**62], [2**62 + 1], [-(2**63)]])
    read = Histograms.from_json(json.loads(to_bytes(histograms_of([spec], {"x": values}))), {"x": spec})
    assert read.numeric["x"].count(np.array([[2**62 + 1], [2**62 + 2]]))[0][[ABOVE - N_CELLS, ABOVE]].tolist()[1] == 1


def test_columns_are_named_by_features_places_or_what_is_made_of_them() -> None:
    assert column_names(TensorSpec("t", DataType.FP32, (-1, 2), feature_names=("a", "b"))) == ("a", "b")
    assert column_names(TensorSpec("t", DataType.FP32, (-1, 2))) == ("t[0]", "t[1]")
    assert column_names(ONE) == ("x",)
    made = ("t: mean", "t: standard deviation")
    assert column_names(TensorSpec("t", DataType.FP32, (-1, 2, 2))) == made
    assert column_names(TensorSpec("t", DataType.FP32, (-1, module.MAX_COLUMNS + 1))) == made
    assert column_names(TensorSpec("t", DataType.BYTES, (-1, 2, 2))) == ()


def test_rows_of_images_are_looked_at_by_mean_and_standard_deviation() -> None:
    spec = TensorSpec("image", DataType.UINT8, (-1, 40, 40, 3))
    images = np.random.default_rng(0).integers(0, 256, (100, 40, 40, 3)).astype(np.uint8)
    flat = images.reshape(100, -1).astype(np.float64)
    expected = np.stack([flat.mean(axis=1), flat.std(axis=1)], axis=1)
    np.testing.assert_allclose(numeric_cells(spec, images), expected, rtol=1e-5)


def test_an_image_with_a_missing_or_infinite_value_is_missing() -> None:
    spec = TensorSpec("image", DataType.FP32, (-1, 2, 2))
    images = np.zeros((3, 2, 2), np.float32)
    images[0, 0, 0], images[1, 0, 0] = np.nan, np.inf
    counts = histograms_of([spec], {"image": images}).numeric["image"].counts
    assert counts[1, MISSING] == 2


@pytest.fixture
def with_histograms(tmp_path: Path) -> tuple[Path, Bundle, bytes]:
    """A bundle's folder and description with histograms in it, and their file's content."""
    bundle = make_bundle(tmp_path / "bundle")
    rng = np.random.default_rng(0)
    rows = {spec.name: rng.normal(size=(50, *spec.row_shape)).astype(np.float32) for spec in bundle.inputs}
    content = to_bytes(histograms_of(bundle.inputs, rows))
    return put(tmp_path / "bundle", bundle, content), bundle_with(bundle, content), content


def put(folder: Path, bundle: Bundle, content: bytes) -> Path:
    (folder / "evidence").mkdir(exist_ok=True)
    (folder / "evidence" / HISTOGRAMS_FILE).write_bytes(content)
    return folder


def bundle_with(bundle: Bundle, content: bytes) -> Bundle:
    return replace(bundle, evidence={HISTOGRAMS_FILE: hashlib.sha256(content).hexdigest()})


def test_histograms_of_a_bundle_are_read(with_histograms: tuple[Path, Bundle, bytes]) -> None:
    folder, bundle, content = with_histograms
    read = read_histograms(folder, bundle)
    assert read is not None
    assert to_bytes(read) == content
    assert read.numeric["tabular"].names == ("a", "b", "c")


def test_a_bundle_without_histograms_has_none(tmp_path: Path) -> None:
    assert read_histograms(tmp_path, make_bundle(tmp_path / "bundle")) is None


def test_histograms_of_a_later_format_are_passed_over(with_histograms: tuple[Path, Bundle, bytes]) -> None:
    folder, bundle, _ = with_histograms
    later = json.dumps({"format": 2}).encode()
    assert read_histograms(put(folder, bundle, later), bundle_with(bundle, later)) is None


def test_histograms_that_have_changed_are_refused(with_histograms: tuple[Path, Bundle, bytes]) -> None:
    folder, bundle, content = with_histograms
    put(folder, bundle, content + b" ")
    with pytest.raises(BundleError, match=r"inputs\.json has changed: expected SHA-256"):
        read_histograms(folder, bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("n_rows"), "KeyError: 'n_rows'"),
        (lambda data: data["numeric"]["tabular"].pop(), "input 'tabular' has 3 columns, got 2"),
        (lambda data: data["numeric"]["tabular"][0]["counts"].pop(), "ValueError"),
        (lambda data: [column["edges"].pop() for column in data["numeric"]["tabular"]], "expected 19 edges"),
        (lambda data: data["numeric"].update(other=[]), "KeyError: 'other'"),
        (lambda data: data.update(text=[]), "AttributeError"),
    ],
)
def test_damaged_histograms_are_refused(
    with_histograms: tuple[Path, Bundle, bytes], change: "object", message: str
) -> None:
    folder, bundle, content = with_histograms
    data = json.loads(content)
    change(data)  # type: ignore[operator]  # a function of the data
    damaged = json.dumps(data).encode()
    with pytest.raises(BundleError, match=r"inputs\.json cannot be read: ") as caught:
        read_histograms(put(folder, bundle, damaged), bundle_with(bundle, damaged))
    assert message in str(caught.value)
