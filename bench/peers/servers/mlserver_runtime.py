"""The custom runtime of MLServer; its adaptive batcher joins requests."""

import os

from ensemble import Ensemble
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class EnsembleRuntime(MLModel):
    """The ensemble behind MLServer."""

    async def load(self):
        """Load the sessions."""
        self._ensemble = Ensemble(os.environ["BUNDLE"])
        return True

    async def predict(self, payload):
        """Answer a batch."""
        rows = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        probabilities = self._ensemble.predict(rows)
        labels = probabilities.argmax(axis=1)[:, None]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("probabilities", probabilities),
                NumpyCodec.encode_output("label", labels),
            ],
        )
