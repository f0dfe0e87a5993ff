"""Servers of what lies at URLs."""

from collections.abc import Iterator

import pytest
from stored_servers import Serving


@pytest.fixture
def servers() -> Iterator[list[Serving]]:
    """Those that a test has started, for it to add to; what it has not stopped is killed at its end."""
    started: list[Serving] = []
    yield started
    for server in started:
        server.process.kill()
        server.process.communicate()
