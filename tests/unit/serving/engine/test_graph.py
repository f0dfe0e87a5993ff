from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from widedeep.serving.contract.errors import BundleError
from widedeep.serving.engine.graph import check_self_contained


def outside(name: str = "weights") -> TensorProto:
    """Return a tensor whose data lies in another file."""
    tensor = numpy_helper.from_array(np.ones(2, np.float32), name)
    external_data_helper.set_external_data(tensor, location="../../secret", offset=0, length=8)
    tensor.ClearField("raw_data")
    return tensor


def inside(name: str = "weights") -> TensorProto:
    return numpy_helper.from_array(np.ones(2, np.float32), name)


def in_initializer(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "g", [], [], [tensor]))


def in_constant(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    return helper.make_model(helper.make_graph([node], "g", [], []))


def in_branch(tensor: TensorProto) -> onnx.ModelProto:
    branch = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "branch", [], [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return helper.make_model(helper.make_graph([node], "g", [], []))


def in_function(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    function = helper.make_function("local", "f", [], ["y"], [node], [helper.make_opsetid("", 17)])
    return helper.make_model(helper.make_graph([], "g", [], []), functions=[function])


def in_sparse(tensor: TensorProto) -> onnx.ModelProto:
    indices = numpy_helper.from_array(np.array([0, 1]), "i")
    sparse = helper.make_sparse_tensor(tensor, indices, [4])
    return helper.make_model(helper.make_graph([], "g", [], [], sparse_initializer=[sparse]))


Place = Callable[[TensorProto], onnx.ModelProto]
PLACES: list[Place] = [in_initializer, in_constant, in_branch, in_function, in_sparse]


@pytest.mark.parametrize("place", PLACES)
def test_tensor_data_in_another_file_is_refused_wherever_the_tensor_stands(place: Place, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(place(outside()).SerializeToString())
    with pytest.raises(BundleError, match=r"m\.onnx: tensor 'weights' keeps its data in another file"):
        check_self_contained(tmp_path / "m.onnx")


@pytest.mark.parametrize("place", PLACES)
def test_tensor_data_in_the_file_itself_passes(place: Place, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(place(inside()).SerializeToString())
    check_self_contained(tmp_path / "m.onnx")


def test_the_size_of_the_initializers_is_told_that_of_constants_is_not(tmp_path: Path) -> None:
    large = numpy_helper.from_array(np.ones(1000, np.float32), "weights")
    (tmp_path / "m.onnx").write_bytes(in_initializer(large).SerializeToString())
    assert 4000 <= check_self_contained(tmp_path / "m.onnx") < 4100
    (tmp_path / "m.onnx").write_bytes(in_constant(large).SerializeToString())
    assert check_self_contained(tmp_path / "m.onnx") == 0


def test_a_location_flag_alone_is_refused(tmp_path: Path) -> None:
    tensor = inside()
    tensor.data_location = TensorProto.EXTERNAL
    (tmp_path / "m.onnx").write_bytes(in_initializer(tensor).SerializeToString())
    with pytest.raises(BundleError, match="another file"):
        check_self_contained(tmp_path / "m.onnx")


def test_a_second_graph_appended_to_the_file_cannot_hide_one(tmp_path: Path) -> None:
    parts = [in_initializer(outside()), in_initializer(inside("other"))]
    (tmp_path / "m.onnx").write_bytes(b"".join(part.SerializeToString() for part in parts))
    with pytest.raises(BundleError, match="another file"):
        check_self_contained(tmp_path / "m.onnx")


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"<html>"])
def test_what_is_no_model_is_refused_by_file_name(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(BundleError, match=r"m\.onnx is not an ONNX model"):
        check_self_contained(tmp_path / "m.onnx")


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"m\.onnx is not an ONNX model"):
        check_self_contained(tmp_path / "m.onnx")
