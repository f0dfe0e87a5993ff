"""The thread that looks again and again."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from widedeep.serving.online.polling import Poller

Starter = Callable[[Callable[[], bool], float], Poller]


@pytest.fixture
def start() -> Iterator[Starter]:
    pollers: list[Poller] = []

    def started(look: Callable[[], bool], interval_s: float) -> Poller:
        pollers.append(Poller(look, interval_s))
        pollers[-1].start()
        return pollers[-1]

    yield started
    for poller in pollers:
        poller.stop(10)


def test_it_looks_at_intervals_until_it_is_stopped(start: Starter) -> None:
    looks = threading.Semaphore(0)
    poller = start(lambda: looks.release() is None, 0.001)
    for _ in range(3):
        assert looks.acquire(timeout=10)
    poller.stop(10)
    while looks.acquire(blocking=False):
        pass
    assert not looks.acquire(timeout=0.02)


def test_it_looks_again_soon_while_there_is_more_to_come(start: Starter) -> None:
    looks: list[float] = []
    done = threading.Event()

    def look() -> bool:
        looks.append(time.monotonic())
        if len(looks) == 2:
            done.set()
        return len(looks) > 1

    start(look, 600.0).hurry()
    assert done.wait(10)
    assert looks[1] - looks[0] < 5


def test_an_interval_of_zero_is_none_at_all(start: Starter) -> None:
    looked = threading.Event()
    poller = start(lambda: looked.set() is None, 0.0)
    poller.hurry()
    assert not looked.wait(0.02)


def test_what_goes_wrong_is_logged_once_while_it_stays_the_same(
    start: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    errors = iter([OSError("gone")] * 3 + [None] + [OSError("gone")] * 2)
    ended = threading.Event()

    def look() -> bool:
        error = next(errors, StopIteration)
        if error is StopIteration:
            ended.set()
        elif isinstance(error, Exception):
            raise error
        return True

    with caplog.at_level(logging.WARNING):
        start(look, 0.001)
        assert ended.wait(10)
    assert caplog.messages == ["the repository cannot be looked at; what is served stays: gone"] * 2


def test_a_stop_waits_for_a_look_under_way_no_longer_than_said(start: Starter) -> None:
    looking, may_end = threading.Event(), threading.Event()

    def look() -> bool:
        looking.set()
        return may_end.wait(20)

    poller = start(look, 0.001)
    assert looking.wait(10)
    began = time.monotonic()
    poller.stop(0.01)
    assert time.monotonic() - began < 5
    may_end.set()
