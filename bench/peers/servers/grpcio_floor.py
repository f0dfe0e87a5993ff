"""What gRPC in Python costs by itself: grpcio takes the same requests and answers bytes that were made beforehand.

Nothing is decoded, nothing is computed; only what perf_analyzer asks first is answered truly.
"""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2

MODEL = os.environ["MODEL"]
DESCRIBED = json.loads((Path(os.environ["BUNDLE"]) / "bundle.json").read_text())
SHAPES = {spec["name"]: spec["shape"][1:] for spec in DESCRIBED["inputs"]}
ROW_BYTES = sum(4 * int(np.prod(shape)) for shape in SHAPES.values())
N_CLASSES = len(DESCRIBED["classes"])


def response(rows):
    """Return a response of so many rows as bytes."""
    message = service_pb2.ModelInferResponse(model_name=MODEL, model_version="1")
    for name, datatype, array in (
        ("probabilities", "FP32", np.full((rows, N_CLASSES), 0.1, np.float32)),
        ("label", "INT64", np.zeros((rows, 1), np.int64)),
    ):
        message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_output_contents.append(array.tobytes())
    return message.SerializeToString()


RESPONSES = {rows: response(rows) for rows in (1, 8, 64)}


def metadata(_request, _context):
    """Describe the tensors."""
    message = service_pb2.ModelMetadataResponse(name=MODEL, versions=["1"], platform="none")
    for name, shape in SHAPES.items():
        message.inputs.add(name=name, datatype="FP32", shape=[-1, *shape])
    message.outputs.add(name="probabilities", datatype="FP32", shape=[-1, N_CLASSES])
    message.outputs.add(name="label", datatype="INT64", shape=[-1, 1])
    return message


def config(_request, _context):
    """Describe the tensors as Triton's configuration does."""
    message = model_config_pb2.ModelConfig(name=MODEL, max_batch_size=256)
    for name, shape in SHAPES.items():
        message.input.add(name=name, data_type=model_config_pb2.TYPE_FP32, dims=shape)
    message.output.add(name="probabilities", data_type=model_config_pb2.TYPE_FP32, dims=[N_CLASSES])
    message.output.add(name="label", data_type=model_config_pb2.TYPE_INT64, dims=[1])
    return service_pb2.ModelConfigResponse(config=message)


def infer(request, _context):
    """Answer bytes for bytes."""
    return RESPONSES[len(request) // ROW_BYTES]


def main():
    """Serve until SIGTERM."""
    server_metadata = service_pb2.ServerMetadataResponse(name="floor", version="1")
    answers = {
        "ServerMetadata": lambda _request, _context: server_metadata,
        "ModelMetadata": metadata,
        "ModelConfig": config,
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(answer, response_serializer=lambda m: m.SerializeToString())
        for name, answer in answers.items()
    }
    handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(infer)
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(4), options=limits)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server.start()
    signal.sigwait({signal.SIGTERM})
    server.stop(0)


if __name__ == "__main__":
    main()
