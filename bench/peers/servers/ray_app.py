"""Ray Serve over gRPC, which was faster than its HTTP: a replica a core, `serve.batch` joins requests."""

import os
import signal

import numpy as np
import ray
from ensemble import Ensemble, concatenated
from ray import serve
from ray.serve.config import gRPCOptions
from tritonclient.grpc import service_pb2 as pb


@serve.deployment(num_replicas=int(os.environ["CORES"]), max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class EnsembleDeployment:
    """The ensemble behind Ray Serve."""

    def __init__(self):
        """Load the sessions."""
        self._ensemble = Ensemble(os.environ["BUNDLE"])

    async def ModelInfer(self, request):  # noqa: N802 - the method's name is the protocol's
        """Answer one request of the Open Inference Protocol."""
        rows = {
            tensor.name: np.frombuffer(raw, "<f4").reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        probabilities = await self._predict(rows)
        response = pb.ModelInferResponse(model_name=request.model_name)
        for name, datatype, array in (
            ("probabilities", "FP32", probabilities),
            ("label", "INT64", probabilities.argmax(axis=1)[:, None]),
        ):
            response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.001)
    async def _predict(self, requests):
        batch, starts = concatenated(requests)
        return np.split(self._ensemble.predict(batch), starts)


if __name__ == "__main__":
    ray.init(
        num_cpus=int(os.environ["CORES"]),
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        _temp_dir=os.environ["RAY_FOLDER"],
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"]) + 1},
        grpc_options=gRPCOptions(
            port=int(os.environ["PORT"]),
            grpc_servicer_functions=["tritonclient.grpc.service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"],
        ),
        logging_config={"enable_access_log": False},
    )
    serve.run(EnsembleDeployment.bind())
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
