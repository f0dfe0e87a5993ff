"""The clients under examples/, built from the .proto files with what is installed, against a real server."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tls_files import Authority
from widedeep.serving.client import Client
from widedeep.serving.contract.tensors import Array
from widedeep.serving.online.server import Server
from widedeep.serving.online.tokens import new_token

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
Start = Callable[..., Server]
DEBIAN_GO = Path("/usr/share/gocode/src/google.golang.org/grpc")
DEBIAN_GRPC_JAVA = Path("/usr/share/java/grpc-netty.jar")
# Example and client calculate nothing; digits of a float32 are shown in 9 places, from which it can be read back.
ATOL = 1e-9
UNKNOWN_TOKEN = {"WIDEDEEP_TOKEN": "no-token-of-this-server"}


@dataclass(frozen=True, slots=True)
class Example:
    """One example: its folder, what builds it there, what runs it there, and what must be installed."""

    folder: str
    run: tuple[str, ...]
    build: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def missing(self) -> list[str]:
        """Return what is not installed."""
        programs = [name for name in self.programs if not shutil.which(name)]
        return programs + [str(path) for path in self.files if not path.exists()]


EXAMPLES = {
    "python": Example("python", (sys.executable, "call.py")),
    "tritonclient": Example("python", (sys.executable, "triton.py")),
    "node": Example("node", ("node", "call.mjs"), ("npm", "ci"), ("node", "npm")),
    "go": Example("go", ("build/call",), ("make",), ("make", "go", "protoc", "protoc-gen-go"), (DEBIAN_GO,)),
    "cpp": Example("cpp", ("build/call",), ("make",), ("make", "g++", "pkg-config", "protoc", "grpc_cpp_plugin")),
    "java": Example(
        "java", ("build/call",), ("make",), ("make", "javac", "protoc", "grpc_java_plugin"), (DEBIAN_GRPC_JAVA,)
    ),
    "shell": Example("shell", ("./call.sh",), (), ("bash", "curl", "protoc", "awk", "od", "xargs")),
}


@dataclass(frozen=True, slots=True)
class Secured:
    """Settings of a server with TLS and tokens, and what its callers must have in their environment."""

    settings: dict[str, object]
    environment: dict[str, str]


class Built:
    """An example that is ready to run."""

    def __init__(self, example: Example, path: Path, silent_address: str) -> None:
        self.example = example
        self.path = path
        # Started here, so that its five seconds pass while it is tested in other ways.
        self.unanswered = self.start(silent_address)

    def start(self, address: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start it against a server, with a clean environment but for these variables."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WIDEDEEP_")}
        return subprocess.Popen(
            [*self.example.run, address, "animals"],
            cwd=self.path,
            env={**clean, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self, address: str, environment: dict[str, str] | None = None) -> str:
        """Return what it prints against a server."""
        return succeeded(self.start(address, environment))


def succeeded(process: "subprocess.Popen[str]") -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder examples/, beside its protos/, with nothing built in it yet."""
    path = tmp_path_factory.mktemp("examples")
    not_built = shutil.ignore_patterns("build", "node_modules", "__pycache__")
    for name in ("examples", "protos"):
        shutil.copytree(ROOT / name, path / name, ignore=not_built)
    return path / "examples"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Secured:
    """A certificate for localhost and a token."""
    path = tmp_path_factory.mktemp("secured")
    authority = Authority(path)
    pair, tokens = authority.issue(), path / "tokens"
    token, line = new_token("examples")
    tokens.write_text(line + "\n")
    return Secured(
        {"tls_cert": str(pair.cert), "tls_key": str(pair.key), "tokens": str(tokens)},
        {"WIDEDEEP_CA": str(authority.path), "WIDEDEEP_TOKEN": token},
    )


@pytest.fixture(scope="module", params=EXAMPLES)
def built(request: pytest.FixtureRequest, examples: Path) -> Iterator[Built]:
    example = EXAMPLES[request.param]
    if missing := example.missing():
        pytest.skip(f"the {request.param} example needs {', '.join(missing)}")
    path = examples / example.folder
    if example.build:
        done = subprocess.run(example.build, cwd=path, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    with socket.create_server(("127.0.0.1", 0)) as silent:
        example_is_built = Built(example, path, f"localhost:{silent.getsockname()[1]}")
        yield example_is_built
        example_is_built.unanswered.kill()
        example_is_built.unanswered.communicate()


@pytest.fixture(scope="module")
def expected(server: Server) -> Array:
    """What the Python client gets for the row that all examples send."""
    with Client(f"localhost:{server.port}", model="animals") as client:
        rows = {
            spec.name: (np.arange(np.prod(spec.row_shape)) % 8 / 8).astype(np.float32).reshape(1, *spec.row_shape)
            for spec in client.metadata().inputs
        }
        return client.predict(rows).probabilities[0]


def check(said: str, expected: Array) -> None:
    """Check the three lines that every example prints: what the model takes, its answer, a refusal."""
    takes, scores, refusal = said.splitlines()
    assert takes == "animals version 1 takes image, tabular"
    name, *values = scores.split(" ")
    assert name == "probabilities"
    np.testing.assert_allclose(np.array(values, np.float32), expected, rtol=0, atol=ATOL)
    assert refusal == "status 5: unknown model 'no-such-model'; this server has 'animals'"


def test_an_example_gets_the_answer_of_the_python_client(built: Built, server: Server, expected: Array) -> None:
    check(built.said(f"localhost:{server.port}"), expected)


def test_an_example_speaks_tls_and_sends_its_token(
    built: Built, expected: Array, repository_path: Path, start_server: Start, secured: Secured
) -> None:
    server = start_server(repository_path, **secured.settings)
    check(built.said(f"localhost:{server.port}", secured.environment), expected)


def test_an_example_with_an_unknown_token_is_refused(
    built: Built, repository_path: Path, start_server: Start, secured: Secured
) -> None:
    server = start_server(repository_path, **secured.settings)
    process = built.start(f"localhost:{server.port}", {**secured.environment, **UNKNOWN_TOKEN})
    output, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "probabilities" not in output
    # curl may take a refusal that comes before its request has gone out for a broken stream.
    assert "token" in errors or (built.example.folder == "shell" and "HTTP/2" in errors)


def test_an_example_waits_for_a_server_that_starts_later(
    built: Built, expected: Array, repository_path: Path, start_server: Start
) -> None:
    if built.example.folder == "shell":
        pytest.skip("curl does not try again")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    process = built.start(f"localhost:{port}")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    start_server(repository_path, port=port)
    check(succeeded(process), expected)


def test_an_example_gives_up_at_its_deadline(built: Built) -> None:
    output, errors = built.unanswered.communicate(timeout=30)
    assert built.unanswered.returncode != 0
    assert output == ""
    assert errors != ""
