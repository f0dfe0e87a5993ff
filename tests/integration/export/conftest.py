"""What all export tests share."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep BLAS and OpenMP to one thread: on shared cores theirs wait for each other longer than these models train."""
    with threadpool_limits(1):
        yield
