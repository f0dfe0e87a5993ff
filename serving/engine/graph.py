"""Does an ONNX graph keep to itself? External data lets a graph read any file by path, so bundles may not use it.

The file is parsed with a private descriptor that declares only the fields on the way to tensor data locations; all
else stays unparsed, so that no `onnx` package is needed and big initializers cost one read.

Source of field numbers: onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ..contract.errors import BundleError

_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL

# message -> field -> (number, type); every message field is declared as repeated, which parses a single one too
_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "Model": {"graph": (7, "Graph"), "training_info": (20, "Training"), "functions": (25, "Function")},
    "Training": {"initialization": (1, "Graph"), "algorithm": (2, "Graph")},
    "Function": {"node": (7, "Node"), "attribute_proto": (11, "Attribute")},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "sparse_initializer": (15, "Sparse")},
    "Node": {"attribute": (5, "Attribute")},
    "Attribute": {
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "Tensor"),
        "graphs": (11, "Graph"),
        "sparse_tensor": (22, "Sparse"),
        "sparse_tensors": (23, "Sparse"),
    },
    "Sparse": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
    "Tensor": {"name": (8, ""), "external_data": (13, "Entry"), "data_location": (14, "")},
    "Entry": {"key": (1, ""), "value": (2, "")},
}


def check_self_contained(path: Path) -> int:
    """Return how many bytes the graph's initializers take; refuse one that keeps tensor data in other files.

    Raises:
        BundleError: the file is not an ONNX model or names external data.
    """
    try:
        model = _Model.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise BundleError(f"{path.name} is not an ONNX model: {error}") from error
    if not model.graph:
        raise BundleError(f"{path.name} is not an ONNX model: it has no graph")
    if (tensor := _external(model)) is not None:
        raise BundleError(f"{path.name}: tensor {tensor!r} keeps its data in another file; a member must be one file")
    return sum(tensor.ByteSize() for graph in model.graph for tensor in graph.initializer)


def _external(message: Any) -> str | None:
    """Return the name of the first tensor that lies outside, depth first."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.name == "Entry":
            continue
        for part in value:
            if field.message_type.name == "Tensor":
                if part.external_data or part.data_location == _EXTERNAL:
                    return str(part.name, errors="replace")
            elif (found := _external(part)) is not None:
                return found
    return None


def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="onnx_subset.proto", package="subset", syntax="proto2")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, type_name) in fields.items():
            declared = message.field.add(
                name=field, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            )
            if type_name:
                declared.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
                declared.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                declared.type_name = f".subset.{type_name}"
            elif field == "data_location":
                declared.type = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
            else:
                declared.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("subset.Model"))


_Model = _model_class()
