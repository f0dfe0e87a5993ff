"""Fixtures: small real bundles and a real server on a free port."""

import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from small_bundle import make_bundle
from tritonclient.grpc import InferenceServerClient
from widedeep.serving.online.native import is_installed
from widedeep.serving.online.server import Server
from widedeep.serving.settings import ServeSettings

FRONT_ENDS = (
    "grpcio",
    pytest.param("native", marks=pytest.mark.skipif(not is_installed(), reason="needs widedeep[native]")),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked `each_front_end` that start servers with every front end."""
    if "front_end" in metafunc.fixturenames and metafunc.definition.get_closest_marker("each_front_end"):
        metafunc.parametrize("front_end", FRONT_ENDS, indirect=True, scope="session")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what servers learn about this machine out of the user's cache, and the user's cache out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache-home")))
        # Servers side by side would want the same port; tests of metrics ask for them on a free one.
        patch.setenv("WIDEDEEP_METRICS", "false")
        yield


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """The demo's folder, not to be changed, and its results: trains for more than a minute."""
    from rich.console import Console
    from widedeep.export.demo.run import run_demo

    output = tmp_path_factory.mktemp("demo")
    return output, run_demo(output, port=0, seed=0, fresh=False, console=Console(quiet=True))


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Let this process, and those that it starts, heed SIGINT, which a shell's background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle, not to be changed."""
    path = tmp_path_factory.mktemp("bundle") / "animals"
    make_bundle(path)
    return path


@pytest.fixture(scope="session")
def repository_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one model, `animals`, version 1, not to be changed."""
    path = tmp_path_factory.mktemp("repository")
    make_bundle(path / "animals" / "1")
    return path


@pytest.fixture(scope="session")
def front_end(request: pytest.FixtureRequest) -> str:
    """The front end of servers; the default one where a test is not for each of them."""
    return str(getattr(request, "param", "auto"))


@pytest.fixture
def start_server(front_end: str) -> Iterator[Callable[..., Server]]:
    """Start servers on free ports: `start_server(path, max_batch_rows=8)`; all are stopped at the end."""
    servers: list[Server] = []

    def start(path: Path, **settings: object) -> Server:
        defaults = {"host": "127.0.0.1", "port": 0, "drain_wait_s": 0, "front_end": front_end}
        server = Server(path, ServeSettings.load({**defaults, **settings}))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def server(repository_path: Path, front_end: str) -> Iterator[Server]:
    """A server of the model `animals`, shared by tests that leave it as it is."""
    settings = {"host": "127.0.0.1", "port": 0, "drain_wait_s": 0, "front_end": front_end}
    running = Server(repository_path, ServeSettings.load(settings))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[InferenceServerClient]:
    """A tritonclient of `server`."""
    with InferenceServerClient(server.address) as stock:
        yield stock
