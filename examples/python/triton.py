"""Asks a model what it takes, scores one row, and shows what a refusal looks like, with tritonclient.

    python triton.py [ADDRESS [MODEL]]

WIDEDEEP_CA names a PEM file of the authority of the server's certificate, WIDEDEEP_TOKEN holds a bearer token.
"""

import os
import sys
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

address = sys.argv[1] if len(sys.argv) > 1 else "localhost:8001"
model = sys.argv[2] if len(sys.argv) > 2 else "digits"
ca, token = os.environ.get("WIDEDEEP_CA"), os.environ.get("WIDEDEEP_TOKEN")
headers = {"authorization": f"Bearer {token}"} if token else None
service_config = Path(__file__).parent.with_name("service_config.json").read_text()  # retries, balancing

client = InferenceServerClient(
    address, ssl=ca is not None, root_certificates=ca, channel_args=[("grpc.service_config", service_config)]
)
found = client.get_model_metadata(model, headers=headers, client_timeout=5)
print(f"{model} version {found.versions[-1]} takes {', '.join(each.name for each in found.inputs)}")

tensors = []
for each in found.inputs:
    tensor = InferInput(each.name, [1, *each.shape[1:]], each.datatype)
    tensor.set_data_from_numpy(np.resize(np.arange(8, dtype=np.float32) / 8, tensor.shape()))
    tensors.append(tensor)
answer = client.infer(model, tensors, headers=headers, client_timeout=5)
print("probabilities", *(f"{value:.9g}" for value in answer.as_numpy("probabilities")[0]))

try:
    client.get_model_metadata("no-such-model", headers=headers, client_timeout=5)
except InferenceServerException as error:
    code = grpc.StatusCode[error.status().removeprefix("StatusCode.")]
    print(f"status {code.value[0]}: {error.message()}")
client.close()
