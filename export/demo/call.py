"""Start the real server on the demo's repository and call it as any user would: with the stock tritonclient."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ...serving.contract.errors import ExecutionError
from ...serving.contract.tensors import Array

HOST = "127.0.0.1"
_START_S = 60.0
_STOP_S = 60.0


@contextmanager
def server(repository: Path, port: int, log: Path) -> Iterator[str]:
    """Run `widedeep serve` on a repository; yields its address once it is ready and stops it with SIGTERM.

    Args:
        repository: folder of `<model>/<version>/` bundles.
        port: port to listen on.
        log: file that takes what the server writes.

    Raises:
        ExecutionError: the server does not become ready or does not stop cleanly; quotes its log.
    """
    command = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(repository), "--host", HOST]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 - our own command
    try:
        _wait_until_ready(process, f"{HOST}:{port}", log)
        yield f"{HOST}:{port}"
        process.send_signal(signal.SIGTERM)
        if (status := process.wait(_STOP_S)) != 0:
            raise ExecutionError(f"the server ended with status {status} instead of 0:\n{log.read_text()}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def ask(address: str, model: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Send rows in one request and return the default outputs by name."""
    from tritonclient import grpc
    from tritonclient.utils import np_to_triton_dtype

    tensors = []
    for name, array in inputs.items():
        tensor = grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    with grpc.InferenceServerClient(address) as client:
        result = client.infer(model, tensors)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def free_port(wanted: int) -> int:
    """Return `wanted`, or if something listens there already, a port that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ExecutionError(f"no port is free on {HOST}")


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    from tritonclient import grpc

    deadline = time.monotonic() + _START_S
    with grpc.InferenceServerClient(address) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.is_server_ready():
                    return
            except grpc.InferenceServerException:
                pass  # not listening yet
            time.sleep(0.1)
    raise ExecutionError(f"the server did not become ready:\n{log.read_text()}")
