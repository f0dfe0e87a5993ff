from pathlib import Path

import pytest
from widedeep.export.member import ConversionError, Member, ParityError
from widedeep.serving.contract.certificate import Certificate
from widedeep.serving.contract.errors import WidedeepError
from widedeep.serving.contract.tensors import DataType, TensorSpec

MEMBER = Member(
    graph=b"a graph",
    inputs=(TensorSpec("tabular", DataType.FP32, (-1, 3)), TensorSpec("city", DataType.BYTES, (-1, 1))),
    task="classification",
    classes=("no", "yes"),
    n_outputs=2,
    source={"framework": "xgboost", "version": "3.2.0", "class": "XGBClassifier"},
    opset={"": 17, "ai.onnx.ml": 5},
    certificate=Certificate(
        rows=10, probes=20, max_abs_diff=1e-7, max_rel_diff=1e-7, worst_row=3, labels_differ=0, versions={"onnx": "1"}
    ),
)


def test_save_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "members" / "trees.onnx"
    path.parent.mkdir()
    path.write_bytes(b"an older and longer graph")
    assert MEMBER.save(str(path)) == path
    assert path.read_bytes() == b"a graph"
    assert list(path.parent.iterdir()) == [path]


def test_a_save_that_fails_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "trees.onnx"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"trees\.onnx"):
        MEMBER.save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_its_spec_is_what_a_bundle_declares() -> None:
    spec = MEMBER.spec("trees")
    assert (spec.name, spec.inputs, spec.file) == ("trees", ("tabular", "city"), "members/trees.onnx")
    assert spec.to_json()["certificate"] == MEMBER.certificate.to_json()
    assert spec.source["class"] == "XGBClassifier"
    assert spec.opset == {"": 17, "ai.onnx.ml": 5}


def test_a_parity_error_is_a_conversion_error_with_a_status() -> None:
    assert issubclass(ParityError, ConversionError)
    assert issubclass(ConversionError, WidedeepError)
    assert ParityError.status == "FAILED_PRECONDITION"
