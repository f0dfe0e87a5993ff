"""What is asked of every contender: the loads, and the requests of each wire.

A closed load keeps a number of calls under way; an open one lets calls of one row arrive by chance, at a share of the
capacity that the same contender showed in the same round.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Load:
    """One load.

    Attributes:
        name: as flags and results spell it.
        rows: rows of a call.
        concurrency: calls under way at once; 0 in an open load.
        share: calls a second of an open load, as a share of capacity; 0 in a closed one.
    """

    name: str
    rows: int
    concurrency: int = 0
    share: float = 0.0

    @property
    def title(self) -> str:
        """Return the name for a reader."""
        if self.share:
            return f"{self.rows} row, Poisson at {self.share:.0%} of capacity"
        return f"{self.rows} row{'s' if self.rows > 1 else ''} x {self.concurrency}"


CAPACITY = Load("1x64", 1, 64)
"""Its throughput is the capacity that open loads go by."""

WARM_UP = Load("1x16", 1, 16)
"""Comes first for a second, unmeasured: some servers take hundreds of calls to reach their pace."""

LOADS = (
    Load("1x1", 1, 1),
    WARM_UP,
    CAPACITY,
    Load("8x8", 8, 8),
    Load("64x4", 64, 4),
    Load("open50", 1, share=0.5),
    Load("open80", 1, share=0.8),
    Load("open120", 1, share=1.2),
)

Arrays = Mapping[str, np.ndarray]


def first_rows(inputs: Arrays, n_rows: int) -> dict[str, np.ndarray]:
    """Return so many rows, the given ones over and over."""
    return {name: np.resize(array, (n_rows, *array.shape[1:])) for name, array in inputs.items()}


def grpc_message(model: str, inputs: Arrays) -> bytes:
    """Return a ModelInferRequest of the Open Inference Protocol with raw contents."""
    from tritonclient.grpc import service_pb2 as pb

    tensors = [
        pb.ModelInferRequest.InferInputTensor(name=name, datatype="FP32", shape=array.shape)
        for name, array in inputs.items()
    ]
    outputs = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in ("probabilities", "label")]
    raw = [np.ascontiguousarray(array, "<f4").tobytes() for array in inputs.values()]
    request = pb.ModelInferRequest(model_name=model, inputs=tensors, outputs=outputs, raw_input_contents=raw)
    return request.SerializeToString()  # type: ignore[no-any-return]  # generated


def grpc_probabilities(response: bytes) -> np.ndarray:
    """Return the probabilities that a ModelInferResponse holds, `(n_rows, n_classes)`."""
    from tritonclient.grpc import service_pb2 as pb

    message = pb.ModelInferResponse.FromString(response)
    at, tensor = next((i, t) for i, t in enumerate(message.outputs) if t.name == "probabilities")
    flat = (
        np.frombuffer(message.raw_output_contents[at], {"FP32": "<f4", "FP64": "<f8"}[tensor.datatype])
        if message.raw_output_contents
        else np.asarray(tensor.contents.fp32_contents or tensor.contents.fp64_contents)
    )
    return flat.reshape(tensor.shape)


def json_message(inputs: Arrays) -> bytes:
    """Return rows as JSON with base64 of each input's float32 bytes: far smaller and faster than numbers as text."""
    encoded = {
        name: base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode() for name, array in inputs.items()
    }
    return json.dumps({"rows": len(next(iter(inputs.values()))), **encoded}).encode()


def json_probabilities(response: bytes) -> np.ndarray:
    """Return the probabilities of a JSON answer, `(n_rows, n_classes)`."""
    answer = json.loads(response)
    answer = answer[0] if isinstance(answer, list) else answer
    flat = np.frombuffer(base64.b64decode(answer["probabilities"]), "<f4")
    return flat.reshape(answer["rows"], -1)


def analyzer_data(path: Path, inputs: Arrays) -> Path:
    """Write real rows as perf_analyzer's input data; its own random bytes would be NaN now and then."""
    n_rows = len(next(iter(inputs.values())))
    data = [
        {name: {"content": array[i].ravel().tolist(), "shape": list(array.shape[1:])} for name, array in inputs.items()}
        for i in range(n_rows)
    ]
    path.write_text(json.dumps({"data": data}))
    return path
