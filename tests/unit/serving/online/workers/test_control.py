import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from widedeep.serving.contract.errors import BundleError, NotFound
from widedeep.serving.online.workers.control import Connection, ConnectionLost


class Ends:
    """Two connected ends in one process; the second answers."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.lost = threading.Event()
        self.first = Connection(ours, lost=self.lost.set, name="second")
        self.second = Connection(theirs, lost=lambda: None, name="first")

    def start(self, **questions: Any) -> None:
        self.first.start({})
        self.second.start(questions)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.first.close()
    made.second.close()


def test_a_question_is_answered_with_what_it_came_with(ends: Ends) -> None:
    ends.start(add=lambda first, second: {"sum": [first + second]})
    assert ends.first.ask("add", first="läng" * 100_000, second="x") == {"sum": ["läng" * 100_000 + "x"]}


def test_a_slow_answer_holds_up_no_other(ends: Ends) -> None:
    release = threading.Event()
    ends.start(slow=lambda: release.wait(20), fast=lambda: "at once")
    slow = ends.first.begin("slow")
    assert ends.first.ask("fast") == "at once"
    assert not slow.done()
    release.set()
    assert slow.result(20) is True


def test_both_ends_ask_while_they_answer(ends: Ends) -> None:
    ends.first.start({"back": lambda number: number + 1})
    ends.second.start({"there": lambda number: ends.second.ask("back", number=number) * 10})
    assert ends.first.ask("there", number=4) == 50


@pytest.mark.parametrize("error", [BundleError("deep.onnx has changed"), NotFound("no model 'x'")])
def test_a_deliberate_error_comes_over_as_it_is(ends: Ends, error: Exception) -> None:
    def fail() -> None:
        raise error

    ends.start(fail=fail)
    with pytest.raises(type(error), match=str(error)):
        ends.first.ask("fail")


def test_any_other_error_is_logged_where_it_happened(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    ends.start(fail=lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="division"):
        ends.first.ask("fail")
    assert "fail failed" in caplog.text


def test_whoever_waits_is_told_when_the_other_end_goes(ends: Ends) -> None:
    asked = threading.Event()
    ends.start(never=lambda: asked.set() or threading.Event().wait(60))
    waiting = ends.first.begin("never")
    assert asked.wait(20)
    ends.second.close()
    with pytest.raises(ConnectionLost, match="second has gone"):
        waiting.result(20)
    assert ends.lost.wait(20)
    assert ends.first.is_lost
    with pytest.raises(ConnectionLost):
        ends.first.begin("never").result(20)


def test_half_a_message_is_the_end_of_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    lost = threading.Event()
    Connection(ours, lost=lost.set, name="half").start({})
    theirs.sendall(b"\0\0\1\0{")
    theirs.close()
    assert lost.wait(20)
