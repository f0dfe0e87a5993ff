"""What a client knows of a model: its inputs and outputs, as ModelMetadata tells them.

This project's servers add the bundle's own input specs, feature names included; of any other server the plain
metadata has to do, and then a table's columns are found by the inputs' names alone.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..contract.errors import BundleError, Unsupported
from ..contract.tensors import DataType, TensorSpec
from ..protocol import messages as m
from ..protocol.service import CLASSES_PROPERTY, DIGEST_PROPERTY, INPUTS_PROPERTY


@dataclass(frozen=True, slots=True)
class OutputInfo:
    """One output as the server declares it.

    Attributes:
        name: its name.
        datatype: as the protocol spells it.
        shape: -1 stands for any size; the first axis is rows.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Size of one row in a message; a guess for text."""
        itemsize = DataType(self.datatype).dtype.itemsize if self.datatype in set(DataType) else 4
        return itemsize * math.prod(size for size in self.shape[1:] if size > 0)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's metadata.

    Attributes:
        name: the served name.
        versions: versions that the server has ready.
        platform: what runs it.
        inputs: what `predict` must be given.
        outputs: what can be asked for.
        properties: further facts, as text.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[OutputInfo, ...]
    properties: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Digest of the bundle that is served, "" where the server tells none."""
        return self.properties.get(DIGEST_PROPERTY, "")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in score order, empty where there are none or the server tells none."""
        return tuple(json.loads(self.properties.get(CLASSES_PROPERTY, "[]")))

    def row_bytes(self, outputs: Collection[str] | None) -> int:
        """Return the size of one row in the answer; without names, as if every output were asked for."""
        return sum(output.row_bytes for output in self.outputs if outputs is None or output.name in outputs)


def read_metadata(response: m.ModelMetadataResponse) -> ModelInfo:
    """Return what the server says of a model.

    Raises:
        Unsupported: an input's datatype or shape is none that this client can send.
    """
    properties = dict(response.properties)
    try:
        if INPUTS_PROPERTY in properties:
            inputs = tuple(map(TensorSpec.from_json, json.loads(properties[INPUTS_PROPERTY])))
        else:
            inputs = tuple(TensorSpec(t.name, DataType(t.datatype), tuple(t.shape)) for t in response.inputs)
    except (BundleError, ValueError, TypeError, KeyError) as error:
        raise Unsupported(f"model {response.name!r}: its inputs are none that this client can send: {error}") from error
    return ModelInfo(
        name=response.name,
        versions=tuple(response.versions),
        platform=response.platform,
        inputs=inputs,
        outputs=tuple(OutputInfo(t.name, t.datatype, tuple(t.shape)) for t in response.outputs),
        properties=properties,
    )
