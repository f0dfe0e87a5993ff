"""The container image, built and run without a Docker engine; see docs/container.md for what that leaves untested."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from image_build import ROOT, Archive, Buildah, Container, call, missing
from oci_registry import PASSWORD, docker_config, find_registry, oci_registry, password_auth
from oci_registry import USER as READER
from peers.processes import free_port
from small_bundle import make_bundle

USER = 10001
BUILD = ROOT / "build" / "image"
MAX_BYTES = 250e6
MAX_COMPRESSED_BYTES = 90e6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=missing() or "can be built"),
]

CALL = """
import sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype

samples = np.load("/models/small/1/samples.npz")
inputs = []
for key in samples.files:
    side, _, name = key.partition("/")
    if side == "inputs":
        rows = samples[key]
        inputs.append(triton.InferInput(name, rows.shape, np_to_triton_dtype(rows.dtype)))
        inputs[-1].set_data_from_numpy(rows)
with triton.InferenceServerClient(sys.argv[1]) as client:
    answer = client.infer("small", inputs)
np.testing.assert_allclose(answer.as_numpy("probabilities"), samples["outputs/probabilities"], atol=1e-6)
print("answered", len(answer.as_numpy("probabilities")))
"""

FIND_WRITABLE = """
import os
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in {"/proc", "/sys", "/dev"}]
    for path in [folder, *(os.path.join(folder, name) for name in files)]:
        if not os.path.islink(path) and os.access(path, os.W_OK):
            print(path)
"""


@dataclass(frozen=True)
class Image:
    """The image under test: where it is and, as a file, what it holds."""

    buildah: Buildah
    name: str
    archive: Archive


@dataclass
class Serving:
    """A server in a container."""

    container: Container
    process: subprocess.Popen[str]
    port: int
    http_port: int

    def status(self, path: str) -> int:
        """Return the HTTP status of a path of the server, 0 where none answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def wait(self) -> None:
        """Wait until it is ready."""
        deadline = time.monotonic() + 60
        while self.status("/v2/health/ready") != 200:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "not ready within a minute"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    buildah = Buildah(BUILD)
    bases = buildah.import_bases()
    revision = call("git", "-C", ROOT, "rev-parse", "HEAD").strip()
    buildah.build("localhost/widedeep", ROOT, **bases, VERSION=version("widedeep"), REVISION=revision)
    yield Image(buildah, "localhost/widedeep", buildah.export("localhost/widedeep", BUILD / "widedeep.tar"))
    buildah.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_bundle(folder / "small" / "1")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IRGRP | stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0))
    return folder


@pytest.fixture(scope="module")
def client(image: Image) -> Path:
    """A folder with tritonclient for the image's Python, which is the least that the image lacks to call itself."""
    python = Container(image.buildah, image.name).call(
        "python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"
    )
    folder = BUILD / f"client-{python.strip()}"
    if not (folder / "tritonclient").exists():
        only = ["--quiet", "--disable-pip-version-check", "--only-binary=:all:", f"--python-version={python.strip()}"]
        call(sys.executable, "-m", "pip", "install", *only, f"--target={folder}", "tritonclient[grpc]")
    return folder


@pytest.fixture(scope="module")
def serving(image: Image, models: Path, client: Path) -> Iterator[Serving]:
    with serve(image, image.name, (models, "/models"), (client, "/client")) as server:
        yield server


class serve:  # noqa: N801 - reads as the command
    """A context: the image's own entry point and command, on free ports, ready when it begins.

    `source` stands in for what the command serves, and `environment` is set beside the image's own.
    """

    def __init__(
        self, image: Image, name: str, *volumes: tuple[Path, str], source: str = "", environment: Sequence[str] = ()
    ) -> None:
        self._ports = [free_port(), free_port()]
        self._container = Container(image.buildah, name, *volumes)
        self._flags = ["--port", str(self._ports[0]), "--metrics-port", str(self._ports[1])]
        what = ["serve", source] if source else image.archive.config["Cmd"]
        self._command = [*image.archive.config["Entrypoint"], *what, *self._flags]
        # The suite turns metrics off for servers side by side.
        self._environment = ["WIDEDEEP_METRICS=true", *environment]

    def __enter__(self) -> Serving:
        command = self._container.command(*self._command, environment=self._environment)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._serving = Serving(self._container, process, *self._ports)
        try:
            self._serving.wait()
        except BaseException:
            process.kill()
            raise
        return self._serving

    def __exit__(self, *_: object) -> None:
        if self._serving.process.poll() is None:
            os.kill(self._container.process(*self._flags), signal.SIGTERM)
            self._serving.process.communicate(timeout=60)


def test_the_image_has_the_structure_that_is_written_down(image: Image) -> None:
    tester = Path(sys.executable).with_name("container-structure-test")
    if not tester.exists():
        pytest.skip("container-structure-test is not installed (the extra `deploy`)")
    config = ROOT / "deploy" / "image" / "structure-test.yaml"
    call(tester, "test", "--driver", "tar", "--image", image.archive.path, "--config", config)


def test_the_image_knows_how_it_is_stopped_and_how_it_is_asked_for_its_health(image: Image) -> None:
    config = image.archive.config
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "widedeep", "health"]


def test_the_image_is_small(image: Image) -> None:
    n_bytes, n_compressed = image.archive.sizes()
    print(f"{n_bytes / 1e6:.0f} MB, {n_compressed / 1e6:.0f} MB compressed")  # noqa: T201 - pytest -s shows it
    assert n_bytes < MAX_BYTES
    assert n_compressed < MAX_COMPRESSED_BYTES


def test_no_compiler_installer_or_training_library_is_in_any_layer(image: Image) -> None:
    paths = [Path(entry.name) for entry in image.archive.files()]
    commands = {path.name for path in paths if path.parent.name in {"bin", "sbin"}}
    modules = {path.name for path in paths if path.parent.name.endswith("-packages")}
    assert not commands & {"as", "c++", "cc", "clang", "g++", "gcc", "ld", "make", "pip", "pip3", "uv"}
    assert not modules & {"keras", "lightgbm", "onnx", "pandas", "pip", "sklearn", "tensorflow", "torch", "xgboost"}
    assert "widedeep" in commands
    assert {"onnxruntime", "widedeep"} <= modules


def test_only_the_cache_belongs_to_the_user_and_nothing_runs_as_another(image: Image) -> None:
    entries = {entry.name.removeprefix("./").rstrip("/"): entry for entry in image.archive.files()}
    assert [name for name, entry in entries.items() if USER in {entry.uid, entry.gid}] == ["var/cache/widedeep"]
    cache = entries["var/cache/widedeep"]
    assert (cache.uid, cache.gid, stat.S_IMODE(cache.mode)) == (USER, USER, 0o700)
    assert [name for name, entry in entries.items() if entry.mode & (stat.S_ISUID | stat.S_ISGID)] == []


def test_the_user_can_write_nowhere_but_in_the_cache_and_tmp(image: Image) -> None:
    writable = set(Container(image.buildah, image.name).call("python", "-c", FIND_WRITABLE).split())
    assert writable == {"/tmp", "/var/cache/widedeep"}  # noqa: S108 - where anybody may write


def test_every_module_is_byte_compiled_once_and_whatever_its_date(image: Image) -> None:
    names = {entry.name.removeprefix("./") for entry in image.archive.files()}
    packages = "opt/widedeep/lib/python3"
    sources = {name for name in names if name.startswith(packages) and "/widedeep/" in name and name.endswith(".py")}
    compiled = {name for name in names if name.startswith(packages) and name.endswith(".pyc")}
    by_source = [re.sub(r"__pycache__/(.*)\.cpython-\d+\.pyc$", r"\1.py", name) for name in compiled]
    assert len(by_source) == len(set(by_source))
    assert sources
    assert sources <= set(by_source)
    (module,) = (name for name in compiled if "/site-packages/grpc/__pycache__/__init__." in name)
    # Source: PEP 552, flags after the magic number: hashed, and not checked against the source.
    assert image.archive.read_file(module)[4:8] == b"\x01\0\0\0"


def test_the_bill_of_materials_lists_what_is_installed(image: Image) -> None:
    sbom = json.loads(image.archive.read_file("usr/share/sbom/widedeep.cdx.json"))
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["name"]) == ("CycloneDX", "widedeep")
    listed = {(part["name"].lower().replace("_", "-"), part["version"]) for part in sbom["components"]}
    code = "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()))"
    lines = Container(image.buildah, image.name).call("python", "-c", code).split()
    installed = {tuple(line.lower().replace("_", "-").split("==")) for line in lines}
    assert installed - {("widedeep", version("widedeep"))} == listed - {("widedeep", version("widedeep"))}
    assert {"grpcio", "numpy", "onnxruntime", "oras", "pygrpc-native", "s3fs"} <= {name for name, _ in listed}


def test_the_server_runs_as_the_numeric_user_and_answers_its_health_probes(serving: Serving) -> None:
    flags = ["--port", str(serving.port), "--metrics-port", str(serving.http_port)]
    process = Path("/proc", str(serving.container.process(*flags)))
    assert (process.stat().st_uid, process.stat().st_gid) == (USER, USER)
    assert "SERVING" in serving.container.call("widedeep", "health", f"localhost:{serving.port}")
    assert serving.status("/v2/health/live") == 200
    assert serving.status("/metrics") == 200


def test_the_health_probe_fails_where_nothing_serves(image: Image) -> None:
    probe = Container(image.buildah, image.name).command("widedeep", "health", f"localhost:{free_port()}")
    assert subprocess.run(probe, capture_output=True, check=False).returncode == 1


def test_it_answers_tritonclient_from_inside(serving: Serving) -> None:
    answer = serving.container.call(
        "python", "-c", CALL, f"localhost:{serving.port}", environment=["PYTHONPATH=/client"]
    )
    assert answer.startswith("answered ")


def test_it_signs_in_to_object_storage_with_what_the_strip_left(image: Image) -> None:
    code = (
        "import botocore.session as b, s3fs; s = b.get_session(); "
        "print(*(s.create_client(n, region_name='eu-west-1').meta.service_model.service_name for n in ('s3', 'sts')))"
    )
    assert Container(image.buildah, image.name).call("python", "-c", code).split() == ["s3", "sts"]


@pytest.mark.skipif(find_registry() is None, reason="needs docker-registry, Debian's package of that name")
def test_it_serves_from_an_oci_registry_with_a_mounted_docker_configuration(
    image: Image, models: Path, client: Path, tmp_path: Path
) -> None:
    with oci_registry(tmp_path / "registry", auth=password_auth(tmp_path)) as registry:
        mounted = (tmp_path / "secret", "/etc/widedeep/registry")
        docker_config(mounted[0], auths={registry.address: f"{READER}:{PASSWORD}"})
        environment = [f"DOCKER_CONFIG={mounted[1]}"]
        url = registry.url("models/small")
        pushing = Container(image.buildah, image.name, (models, "/models"), mounted)
        pushing.call("widedeep", "push", "/models/small/1", f"{url}:1", environment=environment)
        volumes = (mounted, (models, "/models"), (client, "/client"))
        with serve(image, image.name, *volumes, source=url, environment=environment) as server:
            answer = server.container.call(
                "python", "-c", CALL, f"localhost:{server.port}", environment=["PYTHONPATH=/client"]
            )
    assert answer.startswith("answered ")


def test_the_quota_of_the_control_group_sets_the_number_of_threads(image: Image) -> None:
    group, files = _quota_group()
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, of which a quota takes one")
    code = "from widedeep.serving.engine.pool import available_cores; print(available_cores())"
    command = Container(image.buildah, image.name).command("python", "-c", code)
    try:
        group.mkdir()
        for name, value in files.items():
            (group / name).write_text(value)
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    try:
        inside = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        assert call("sh", "-c", inside, "sh", *command).strip() == "1"
    finally:
        group.rmdir()


def _quota_group() -> tuple[Path, dict[str, str]]:
    """Return where to make a control group, and the files that give it one core."""
    for name in ("cpu", "cpu,cpuacct"):
        if (root := Path("/sys/fs/cgroup", name)).is_dir():
            return root / "widedeep-test", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}
    return Path("/sys/fs/cgroup/widedeep-test"), {"cpu.max": "100000 100000"}


def test_a_bundle_is_baked_in_as_the_documentation_says(image: Image, models: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "container.md").read_text()
    (dockerfile,) = re.findall(r"```dockerfile\n(FROM widedeep\n.*?)```", text, re.DOTALL)
    call("cp", "-r", models, tmp_path / "demo")
    image.buildah.build("localhost/baked", tmp_path, dockerfile=dockerfile)
    with serve(image, "localhost/baked") as server:
        assert "SERVING" in server.container.call("widedeep", "health", f"localhost:{server.port}")


def test_it_drains_on_sigterm_logs_json_and_leaves_files_in_the_cache_alone(image: Image, models: Path) -> None:
    with serve(image, image.name, (models, "/models")) as server:
        flags = ["--port", str(server.port), "--metrics-port", str(server.http_port)]
        os.kill(server.container.process(*flags), signal.SIGTERM)
        _, logs = server.process.communicate(timeout=60)
    assert server.process.returncode == 0, logs
    lines = [json.loads(line) for line in logs.splitlines()]
    assert lines
    written = {path for path in server.container.root.rglob("*") if path.lstat().st_uid == USER}
    cache = server.container.root / "var" / "cache" / "widedeep"
    assert written
    assert [str(path) for path in written if path != cache and cache not in path.parents] == []
