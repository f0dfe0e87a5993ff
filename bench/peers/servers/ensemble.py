"""The ensemble as a user of any serving framework would write it: a session a member, the mean of their scores.

Runs inside the contenders' own environments, so it needs only numpy and onnxruntime.
"""

import base64
import json
import os
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort


class Ensemble:
    """Sessions and weights of a bundle. `predict` may be called from several threads at once.

    Attributes:
        inputs: name -> row shape.
    """

    def __init__(self, bundle, threads=1):
        """Load the members; each run uses `threads` threads, none of which spins."""
        bundle = Path(bundle)
        described = json.loads((bundle / "bundle.json").read_text())
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.inputs = {spec["name"]: tuple(spec["shape"][1:]) for spec in described["inputs"]}
        self._weights = described["combiner"]["weights"]
        self._members = []
        for member in described["members"]:
            session = ort.InferenceSession(str(bundle / member["file"]), options, providers=["CPUExecutionProvider"])
            names = [value.name for value in session.get_inputs()]
            self._members.append((session, names, [session.get_outputs()[0].name]))

    def predict(self, inputs):
        """Return probabilities, float32 `(n_rows, n_classes)`."""
        total = 0.0
        for weight, (session, names, outputs) in zip(self._weights, self._members, strict=True):
            total = total + weight * session.run(outputs, {name: inputs[name] for name in names})[0]
        return np.asarray(total, np.float32)

    def decode(self, message):
        """Return the arrays of a JSON message: base64 of float32 bytes by input."""
        return {
            name: np.frombuffer(base64.b64decode(message[name]), "<f4").reshape(-1, *shape)
            for name, shape in self.inputs.items()
        }


def encode(probabilities):
    """Return an answer as JSON can hold it."""
    return {
        "rows": len(probabilities),
        "probabilities": base64.b64encode(probabilities.tobytes()).decode(),
        "label": probabilities.argmax(axis=1).tolist(),
    }


def concatenated(requests):
    """Return the arrays of several requests as one batch, and the row at which each but the first begins."""
    sizes = [len(next(iter(request.values()))) for request in requests]
    batch = (
        requests[0]
        if len(requests) == 1
        else {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
    )
    return batch, np.cumsum(sizes)[:-1]
