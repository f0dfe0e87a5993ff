"""Our messages and Triton's own are the same on the wire: names, numbers, types and bytes."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2, service_pb2
from widedeep.serving.protocol import messages
from widedeep.serving.protocol.service import METHODS, SERVICE

NOT_TRITONS = {("ModelMetadataResponse", "properties")}
"""Fields of the protocol that Triton's own files leave out."""

_SCALARS: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_DOUBLE: -2.5,
    FieldDescriptor.CPPTYPE_ENUM: 3,
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_INT32: -7,
    FieldDescriptor.CPPTYPE_INT64: -(1 << 40),
    FieldDescriptor.CPPTYPE_UINT32: 1 << 31,
    FieldDescriptor.CPPTYPE_UINT64: 1 << 63,
}


def message_names() -> list[str]:
    return [message.name for file in messages.FILES.file for message in file.message_type]


def theirs(name: str) -> Any:
    return getattr(service_pb2, name, None) or getattr(model_config_pb2, name)


def scalar(field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{field.name} ä"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return f"{field.name}\0".encode()
    return _SCALARS[field.cpp_type]


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def fill(message: Any, like: Descriptor) -> None:
    """Set every field that `like` has too; of a oneof, the last one stays."""
    for field in message.DESCRIPTOR.fields:
        if field.name not in like.fields_by_name:
            continue
        counterpart = like.fields_by_name[field.name].message_type
        value = getattr(message, field.name)
        if is_map(field):
            entry = field.message_type.fields_by_name["value"]
            if entry.message_type:
                fill(value["key"], counterpart.fields_by_name["value"].message_type)
            else:
                value["key"] = scalar(entry)
        elif field.message_type:
            for part in (value.add(), value.add()) if field.is_repeated else (value,):
                fill(part, counterpart)
        elif field.is_repeated:
            value.extend([scalar(field)] * 2)
        else:
            setattr(message, field.name, scalar(field))


def as_dict(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


@pytest.mark.parametrize("name", message_names())
def test_what_we_write_they_read(name: str) -> None:
    ours = getattr(messages, name)()
    fill(ours, theirs(name).DESCRIPTOR)
    read = theirs(name).FromString(ours.SerializeToString())
    assert as_dict(read) == as_dict(ours)


@pytest.mark.parametrize("name", message_names())
def test_what_they_write_we_read(name: str) -> None:
    written = theirs(name)()
    fill(written, getattr(messages, name).DESCRIPTOR)
    read = getattr(messages, name).FromString(written.SerializeToString())
    assert as_dict(read) == as_dict(written)


@pytest.mark.parametrize("name", message_names())
def test_every_field_of_ours_is_a_field_of_theirs(name: str) -> None:
    def check(ours: Descriptor, their: Descriptor) -> None:
        for field in ours.fields:
            if (name, field.name) in NOT_TRITONS:
                continue
            other = their.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated)
            oneofs = [f.containing_oneof and f.containing_oneof.name for f in (field, other)]
            assert oneofs[0] == oneofs[1]
        for nested in ours.nested_types:
            if nested.name == "PropertiesEntry":
                continue
            check(nested, their.nested_types_by_name[nested.name])

    check(getattr(messages, name).DESCRIPTOR, theirs(name).DESCRIPTOR)


def test_the_properties_of_a_model_have_the_protocols_number() -> None:
    assert messages.ModelMetadataResponse.DESCRIPTOR.fields_by_name["properties"].number == 6


def test_data_types_have_their_numbers() -> None:
    assert dict(messages.DataType.items()) == dict(model_config_pb2.DataType.items())  # type: ignore[attr-defined]  # the wrapper's


@pytest.mark.parametrize("name", list(METHODS))
def test_methods_take_and_answer_what_theirs_do(name: str) -> None:
    ours = messages.POOL.FindServiceByName(SERVICE).methods_by_name[name]
    their = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[name]
    assert ours.full_name == their.full_name
    assert (ours.input_type.full_name, ours.output_type.full_name) == (
        their.input_type.full_name,
        their.output_type.full_name,
    )
    assert (ours.client_streaming, ours.server_streaming) == (their.client_streaming, their.server_streaming)
