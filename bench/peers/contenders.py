"""Who is measured, as data: how each is installed, started and called.

Each runs as its documentation advises for a model on CPU: a worker or instance a core, its own batching switched on
where it has one, access logs off, and the densest encoding that its wire takes.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SERVERS = Path(__file__).resolve().parent / "servers"
GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"
_ONNXRUNTIME = "onnxruntime==1.32.0"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True, slots=True)
class Place:
    """What a contender is started with.

    Attributes:
        repository: folder of `<model>/1/`, named as its one model.
        bundle: that bundle.
        folder: empty folder for what it writes.
        port: where it must listen.
        cores: cores that it may use.
        python: interpreter of its own environment.
    """

    repository: Path
    bundle: Path
    folder: Path
    port: int
    cores: int
    python: Path

    @property
    def model(self) -> str:
        """Return the served name."""
        return self.repository.name

    @property
    def env(self) -> dict[str, str]:
        """Return what every server script reads."""
        return {
            **_ONE_THREAD,
            "BUNDLE": str(self.bundle),
            "MODEL": self.model,
            "PORT": str(self.port),
            "CORES": str(self.cores),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(SERVERS), os.environ.get("PYTHONPATH", "")))),
        }


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, what it adds to the environment, where it runs, and a folder of its own to remove afterwards."""

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    leftover: Path | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """One server, or the bare runtime.

    Attributes:
        name: as flags and results spell it.
        title: for a reader.
        how: one sentence for the report on how it runs.
        launch: returns how to start it; None for the bare runtime, which is no server.
        packages: what its environment holds; none for this project's own.
        analyzer: whether perf_analyzer can drive it.
        wire: `grpc` or `http`.
        path: method or URL path of an inference.
        answers: whether it computes; else its answers are not checked and it has no overload to show.
    """

    name: str
    title: str
    how: str
    launch: Callable[[Place], Launch] | None
    packages: tuple[str, ...] = ()
    analyzer: bool = False
    wire: str = "grpc"
    path: str = GRPC_PATH
    answers: bool = True

    @property
    def is_ours(self) -> bool:
        """Say whether it is widedeep."""
        return self.name.startswith("widedeep")


def widedeep(name: str, flags: Sequence[str]) -> Contender:
    """Return a form of widedeep that differs by the flags of `widedeep serve`."""

    def launch(place: Place) -> Launch:
        command = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(place.repository), "--host", "127.0.0.1"]
        command += ["--port", str(place.port), "--log-level", "warning", "--drain-wait-s", "0", *flags]
        return Launch(command, {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}, place.folder)

    how = f"`widedeep serve {' '.join(flags)}`, defaults elsewhere".replace(" `", "`")
    return Contender(name, name.replace("-", " "), how, launch, analyzer=True)


def _script(file: str) -> Callable[[Place], Launch]:
    return lambda place: Launch([str(place.python), str(SERVERS / file)], place.env, place.folder)


def _triton(place: Place) -> Launch:
    described = json.loads((place.bundle / "bundle.json").read_bytes())
    home = next(place.python.parents[1].glob("lib/python*/site-packages/pytriton/tritonserver"))
    model = place.folder / "models" / place.model
    (model / "1").mkdir(parents=True)
    shutil.copy(SERVERS / "triton_model.py", model / "1" / "model.py")
    (model / "config.pbtxt").write_text(_triton_config(place, described))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    stub.chmod(0o755)
    backend = place.folder / "backends" / "python"
    backend.mkdir(parents=True)
    for file in (stub, *(home / "backends" / "python").glob("*.*")):
        (backend / file.name).symlink_to(file.resolve())
    binary = home / "bin" / "tritonserver"
    binary.chmod(0o755)
    site = home.parents[1]
    env = {**place.env, "PYTHONPATH": os.pathsep.join([str(SERVERS), str(site)])}
    command = [str(binary), "--model-repository", str(place.folder / "models")]
    command += ["--backend-directory", str(backend.parent), "--grpc-port", str(place.port)]
    command += ["--allow-http", "false", "--allow-metrics", "false", "--disable-auto-complete-config"]
    return Launch(command, env, place.folder)


def _triton_config(place: Place, described: Mapping[str, object]) -> str:
    inputs: list[dict[str, object]] = described["inputs"]  # type: ignore[assignment]  # JSON
    tensors = ", ".join(
        f'{{ name: "{spec["name"]}" data_type: TYPE_FP32 dims: {spec["shape"][1:]} }}'  # type: ignore[index]  # JSON
        for spec in inputs
    )
    n_classes = len(described["classes"])  # type: ignore[arg-type]  # JSON
    return f"""name: "{place.model}"
backend: "python"
max_batch_size: 256
input [ {tensors} ]
output [ {{ name: "probabilities" data_type: TYPE_FP32 dims: [{n_classes}] }},
         {{ name: "label" data_type: TYPE_INT64 dims: [1] }} ]
instance_group [ {{ count: {place.cores} kind: KIND_CPU }} ]
dynamic_batching {{ }}
parameters: {{ key: "bundle" value: {{ string_value: "{place.bundle}" }} }}
"""


def _mlserver(place: Place) -> Launch:
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": place.port + 1,
        "grpc_port": place.port,
        "metrics_endpoint": None,
        "grpc_max_message_length": 64 << 20,
        "parallel_workers": 0,  # measured: with a worker a core it answers a third fewer rows/s at twice the CPU
    }
    model = {
        "name": place.model,
        "implementation": "mlserver_runtime.EnsembleRuntime",
        "max_batch_size": 32,
        "max_batch_time": 0.001,
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(place.python.parent / "mlserver"), "start", str(place.folder)]
    return Launch(command, place.env, place.folder)


def _bentoml(place: Place) -> Launch:
    command = [str(place.python.parent / "bentoml"), "serve", "bentoml_service:EnsembleService", "--host", "127.0.0.1"]
    command += ["--port", str(place.port), "--working-dir", str(SERVERS)]
    quiet = {"BENTOML_HOME": str(place.folder), "BENTOML_DO_NOT_TRACK": "True"}
    config = place.folder / "bentoml.yaml"
    config.write_text("api_server:\n  logging:\n    access:\n      enabled: false\n  metrics:\n    enabled: false\n")
    return Launch(command, {**place.env, **quiet, "BENTOML_CONFIG": str(config)}, place.folder)


def _ray(place: Place) -> Launch:
    # Ray's sockets need a short path.
    folder = Path("/tmp") / f"widedeep-bench-ray-{place.port}"  # noqa: S108 - its own, named by the port
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
    env = {**place.env, **quiet, "RAY_FOLDER": str(folder)}
    return Launch([str(place.python), str(SERVERS / "ray_app.py")], env, place.folder, folder)


CONTENDERS = (
    widedeep("widedeep-grpcio", ("--front-end", "grpcio")),
    widedeep("widedeep-native", ("--front-end", "native")),
    Contender(
        "triton",
        "Triton, Python backend",
        "the tritonserver binary of the wheel nvidia-pytriton 0.7.0; one instance a core, dynamic batching",
        _triton,
        packages=("nvidia-pytriton==0.7.0", "numpy==1.26.4", _ONNXRUNTIME),
        analyzer=True,
    ),
    Contender(
        "floor",
        "empty grpcio handler",
        "grpcio with 4 handler threads that answer bytes made beforehand, without reading the request",
        _script("grpcio_floor.py"),
        analyzer=True,
        answers=False,
    ),
    Contender(
        "mlserver",
        "MLServer",
        "a custom runtime over gRPC in the server's process (faster here than its workers), batches of 32 within 1 ms",
        _mlserver,
        packages=("mlserver==1.7.1", "uvloop==0.21.0", _ONNXRUNTIME),  # its workers fail with later uvloop
    ),
    Contender(
        "ray",
        "Ray Serve",
        "over its gRPC proxy, throughput-optimised, a replica a core, `serve.batch` of at most 32 requests within 1 ms",
        _ray,
        packages=("ray[serve]==2.60.0", "tritonclient[grpc]==2.73.0", _ONNXRUNTIME),
    ),
    Contender(
        "litserve",
        "LitServe",
        "HTTP with base64 in JSON, a worker a core, batches of at most 32 requests within 1 ms",
        _script("litserve_app.py"),
        packages=("litserve==0.2.19", _ONNXRUNTIME),
        wire="http",
        path="/predict",
    ),
    Contender(
        "bentoml",
        "BentoML",
        "HTTP with base64 in JSON, a worker a core, adaptive batching",
        _bentoml,
        packages=("bentoml==1.4.40", _ONNXRUNTIME),
        wire="http",
        path="/predict",
    ),
    Contender(
        "bare",
        "bare onnxruntime",
        "no network: a process a core with the cheaper of fused graph and single members, each in its fastest chunk",
        None,
    ),
)


@dataclass(slots=True)
class Skipped:
    """Contenders that could not be installed or started: name -> why."""

    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, why: str) -> None:
        """Note and print."""
        self.reasons[name] = why
        print(f"skipped {name}: {why}", flush=True)
