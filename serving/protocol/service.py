"""The service's name, its methods with their message classes, and what this project adds to the protocol by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from . import messages

SERVICE = "inference.GRPCInferenceService"

INPUTS_PROPERTY = "widedeep.inputs"
"""Property of ModelMetadata that holds the bundle's input specs as a JSON list: feature names, categories and all."""

CLASSES_PROPERTY = "widedeep.classes"
"""Property of ModelMetadata that holds the names of the classes in score order as a JSON list."""

DIGEST_PROPERTY = "widedeep.digest"
OTHER_BUNDLE = "the request was made for the bundle of digest"
"""How the refusal of a request begins that names a bundle which is not the one served."""
"""Property of ModelMetadata that holds the bundle's digest. A ModelInfer request may carry it as a parameter of this
name, and then no other bundle answers it: a client that put columns in the order of one bundle's features must not get
the answer of another that has the same shapes."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the service.

    Attributes:
        name: last part of its path.
        request: class of what the caller sends.
        response: class of what the server answers.
        streaming: whether both sides send any number of messages, rather than one each.
    """

    name: str
    request: type[Message]
    response: type[Message]
    streaming: bool

    @property
    def path(self) -> str:
        """The path to call it by."""
        return f"/{SERVICE}/{self.name}"


def _methods() -> Mapping[str, Method]:
    service = messages.POOL.FindServiceByName(SERVICE)
    return {
        method.name: Method(
            name=method.name,
            request=getattr(messages, method.input_type.name),
            response=getattr(messages, method.output_type.name),
            streaming=method.client_streaming and method.server_streaming,
        )
        for method in service.methods
    }


METHODS = _methods()
"""Method name -> method, in the order of the .proto file."""
