"""What protos/generate.py has written is what it would write now."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from widedeep.serving.protocol import messages

ROOT = Path(__file__).parents[4]
PROTOCOL = ROOT / "serving" / "protocol"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "protos" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_descriptors_are_up_to_date(generate: ModuleType) -> None:
    now = FileDescriptorSet.FromString(generate.generated()["protocol.binpb"])
    assert now == messages.FILES


def test_the_types_are_up_to_date(generate: ModuleType) -> None:
    assert generate.generated()["messages.pyi"].decode() == (PROTOCOL / "messages.pyi").read_text()


def test_the_types_name_every_message() -> None:
    text = (PROTOCOL / "messages.pyi").read_text()
    for file in messages.FILES.file:
        for message in file.message_type:
            assert f"\nclass {message.name}(Message):" in text
