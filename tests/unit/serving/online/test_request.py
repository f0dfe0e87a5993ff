import gc
import threading
import weakref
from functools import partial

import numpy as np
import pytest
from widedeep.serving.contract.errors import Cancelled, ExecutionError
from widedeep.serving.online.request import Request

ANSWER = {"double": np.ones((1, 1))}


def request() -> Request:
    return Request({"x": np.ones((1, 1))}, 1, ("double",))


def test_a_request_ends_once_by_whatever_comes_first() -> None:
    one = request()
    assert one.end(ANSWER)
    assert not one.cancel()
    assert not one.end(ExecutionError("late"))
    assert one.result() is ANSWER
    other = request()
    assert other.cancel()
    with pytest.raises(Cancelled):
        other.result()


def test_who_waits_is_woken_by_the_end_and_gives_up_after_the_time_that_it_has() -> None:
    one = request()
    with pytest.raises(TimeoutError):
        one.result(0.001)
    threading.Timer(0.01, one.end, [ANSWER]).start()
    assert one.result(10) is ANSWER


def test_callbacks_are_called_once_by_the_end_or_at_once_after_it(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []
    one = request()
    one.on_end(partial(told.append, 1))
    one.on_end(lambda: 1 // 0)
    one.on_end(partial(told.append, 2))
    one.end(ANSWER)
    one.cancel()
    assert told == [1, 2]
    assert "a callback of a request failed" in caplog.text
    one.on_end(partial(told.append, 3))
    assert told == [1, 2, 3]


def test_a_request_that_has_ended_leaves_memory_with_its_last_user() -> None:
    one = request()
    one.on_end(partial(id, one))
    rows = weakref.ref(one.inputs["x"])
    gc.disable()
    try:
        one.end(ANSWER)
        del one
        assert rows() is None
    finally:
        gc.enable()
