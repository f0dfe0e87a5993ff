"""The model of Triton's Python backend: batches come from its dynamic batcher, requests are joined here."""

import json
import os
import sys

# The backend's interpreter is isolated: it ignores PYTHONPATH.
sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)

import numpy as np  # noqa: E402 - after the path
import triton_python_backend_utils as pb_utils  # noqa: E402
from ensemble import Ensemble, concatenated  # noqa: E402


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args):
        """Load the sessions."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._ensemble = Ensemble(parameters["bundle"]["string_value"])

    def execute(self, requests):
        """Answer a batch of requests."""
        names = self._ensemble.inputs
        rows = [{name: pb_utils.get_input_tensor_by_name(r, name).as_numpy() for name in names} for r in requests]
        batch, starts = concatenated(rows)
        probabilities = self._ensemble.predict(batch)
        labels = probabilities.argmax(axis=1)[:, None]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("probabilities", p), pb_utils.Tensor("label", label)])
            for p, label in zip(split(probabilities, starts), split(labels, starts), strict=True)
        ]


def split(array, starts):
    """Return the parts of a batch; the whole of it if there is only one."""
    return np.split(array, starts) if len(starts) else [array]
