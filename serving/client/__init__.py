"""Typed Python clients of the Open Inference Protocol: arrays, columns or tables in, a prediction out.

    with Client("localhost:8001", model="digits") as client:
        answer = client.predict({"image": images, "tabular": features})
    answer.label, answer.probabilities

`AsyncClient` does the same with `await`. Failures are raised as the classes of `widedeep.serving.contract.errors`.
Works with every server of the protocol; needs neither pandas nor pyarrow but takes their tables.
"""

from ..contract.errors import WidedeepError
from .asynchronous import AsyncClient
from .backoff import Backoff
from .model import ModelInfo, OutputInfo
from .prediction import Prediction
from .security import tls_credentials
from .synchronous import Client

__all__ = [
    "AsyncClient",
    "Backoff",
    "Client",
    "ModelInfo",
    "OutputInfo",
    "Prediction",
    "WidedeepError",
    "tls_credentials",
]
