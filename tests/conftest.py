"""Fixtures: small real bundles and a real server on a free port."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_bundle import make_bundle
from widedeep.serving.online.server import Server
from widedeep.serving.settings import ServeSettings


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


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Start servers on free ports: `start_server(path, max_batch_rows=8)`; all are stopped at the end."""
    servers: list[Server] = []

    def start(path: Path, **settings: object) -> Server:
        server = Server(path, ServeSettings.load({"host": "127.0.0.1", "port": 0, "drain_wait_s": 0, **settings}))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def server(repository_path: Path) -> Iterator[Server]:
    """A server of the model `animals`, shared by tests that leave it as it is."""
    running = Server(repository_path, ServeSettings.load({"host": "127.0.0.1", "port": 0, "drain_wait_s": 0}))
    running.start()
    yield running
    running.stop()
