"""Asks a model what it takes, scores one row, and shows what a refusal looks like, with widedeep's own client.

    python call.py [ADDRESS [MODEL]]

WIDEDEEP_CA names a PEM file of the authority of the server's certificate, WIDEDEEP_TOKEN holds a bearer token.
"""

import os
import sys

import grpc
import numpy as np
from widedeep.serving.client import Client, WidedeepError, tls_credentials

address = sys.argv[1] if len(sys.argv) > 1 else "localhost:8001"
model = sys.argv[2] if len(sys.argv) > 2 else "digits"
ca, token = os.environ.get("WIDEDEEP_CA"), os.environ.get("WIDEDEEP_TOKEN", "")
credentials = tls_credentials(ca=ca) if ca else None

# Each call has 5 seconds, retries and all; while the server cannot be reached, the client tries again until then.
with Client(address, model=model, timeout_s=5, credentials=credentials, token=token) as client:
    found = client.metadata()
    print(f"{model} version {found.versions[-1]} takes {', '.join(spec.name for spec in found.inputs)}")

    rows = {spec.name: np.resize(np.arange(8, dtype=np.float32) / 8, (1, *spec.row_shape)) for spec in found.inputs}
    print("probabilities", *(f"{value:.9g}" for value in client.predict(rows).probabilities[0]))

with Client(address, model="no-such-model", timeout_s=5, credentials=credentials, token=token) as client:
    try:
        client.metadata()
    except WidedeepError as error:
        print(f"status {grpc.StatusCode[error.status].value[0]}: {error}")
