"""LitServe: a worker process a core, batches as they queue up."""

import os

import litserve
from ensemble import Ensemble, concatenated, encode


class EnsembleAPI(litserve.LitAPI):
    """The ensemble behind LitServe."""

    def setup(self, device):  # noqa: ARG002 - LitServe's signature
        """Load the sessions in the worker."""
        self._ensemble = Ensemble(os.environ["BUNDLE"])

    def decode_request(self, request):
        """Return arrays."""
        return self._ensemble.decode(request)

    def batch(self, inputs):
        """Join requests."""
        return concatenated(inputs)

    def predict(self, x):
        """Return probabilities of a batch, and where its requests begin."""
        batch, starts = x
        return self._ensemble.predict(batch), starts

    def unbatch(self, output):
        """Part the answers."""
        import numpy as np

        return np.split(*output)

    def encode_response(self, output):
        """Return JSON."""
        return encode(output)


if __name__ == "__main__":
    server = litserve.LitServer(
        EnsembleAPI(max_batch_size=32, batch_timeout=0.001),
        accelerator="cpu",
        workers_per_device=int(os.environ["CORES"]),
        timeout=60,
    )
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
