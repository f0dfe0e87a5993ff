"""BentoML: a worker process a core, adaptive batching."""

import os

import bentoml
from ensemble import Ensemble, concatenated, encode
from pydantic import BaseModel


class Rows(BaseModel):
    """A request: base64 of float32 bytes by input."""

    rows: int
    tabular: str
    image: str = ""


@bentoml.service(workers=int(os.environ["CORES"]), traffic={"timeout": 60})
class EnsembleService:
    """The ensemble behind BentoML."""

    def __init__(self):
        """Load the sessions."""
        self._ensemble = Ensemble(os.environ["BUNDLE"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, requests: list[Rows]) -> list[dict]:
        """Answer a batch of requests."""
        import numpy as np

        decoded = [self._ensemble.decode(request.__dict__) for request in requests]
        batch, starts = concatenated(decoded)
        return [encode(part) for part in np.split(self._ensemble.predict(batch), starts)]
