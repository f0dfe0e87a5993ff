"""The batcher in front of a small executor that doubles its rows, can be held up, and fails on negative rows."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from widedeep.serving.contract.errors import Cancelled, DeadlineExceeded, ExecutionError, NotReady, Overloaded
from widedeep.serving.engine.pool import Pool
from widedeep.serving.online.batcher import Batcher
from widedeep.serving.online.policy import BatchPolicy
from widedeep.serving.online.request import Request
from widedeep.serving.online.statistics import Statistics
from widedeep.serving.online.tally import Tally

WAIT_S = 20.0


class Doubler:
    """Answers `double` = 2 x and `negative` = -x; while held, it stays in its first call."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.names: list[list[str]] = []
        self.first_rows: list[int] = []
        self.entered = threading.Event()
        self.released = threading.Event()
        self.released.set()

    efficient_rows = 1 << 30

    def seconds(self, n_rows: int) -> float:
        return 1e-6 * n_rows

    def start(self, inputs: Any, n_rows: int, outputs: Any, done: Any, observe: Any, *, first_row: int) -> None:
        self.first_rows.append(first_row)
        try:
            done(self.execute(inputs, n_rows, outputs, observe))
        except Exception as error:
            done(error)

    def execute(self, inputs: Any, n_rows: int, outputs: Any, observe: Any) -> Any:
        x = inputs["x"]
        assert len(x) == n_rows
        self.batches.append(x[:, 0].tolist())
        self.names.append(list(outputs))
        self.entered.set()
        assert self.released.wait(WAIT_S)
        if (x < 0).any():
            raise ExecutionError("rows below zero")
        if np.isnan(x).any():
            raise ZeroDivisionError("a bug")
        observe(0, n_rows, 0.001)
        return {name: {"double": 2 * x, "negative": -x}[name] for name in outputs}


class Bench:
    """A batcher with its executor, its counters and a clock that is moved by hand."""

    def __init__(self, **policy: Any) -> None:
        self.now = 100.0
        self.doubler = Doubler()
        self.statistics = Statistics(1)
        self.pool = Pool(1)
        self.batcher = Batcher(
            cast("Any", self.doubler), self.pool, BatchPolicy(**policy), self.statistics, clock=lambda: self.now
        )

    def submit(
        self, *values: float, outputs: tuple[str, ...] = ("double",), deadline_s: float | None = None
    ) -> Request:
        x = np.array(values)[:, None]
        request = Request(inputs={"x": x}, n_rows=len(x), outputs=outputs, deadline_s=deadline_s)
        self.batcher.submit(request)
        return request

    def hold(self) -> Request:
        """Let one request of one row, 0, occupy the executor; what comes now has to wait."""
        self.doubler.entered.clear()
        self.doubler.released.clear()
        request = self.submit(0.0)
        assert self.doubler.entered.wait(WAIT_S)
        return request

    def release(self) -> None:
        self.doubler.released.set()

    def close(self) -> None:
        self.release()
        self.batcher.close()
        self.pool.close()


def answer(request: Request, output: str = "double") -> list[float]:
    values: list[float] = request.result(WAIT_S)[output][:, 0].tolist()
    return values


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**policy: Any) -> Bench:
        made.append(Bench(**policy))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_request_at_an_idle_batcher_is_executed_alone(bench: Callable[..., Bench]) -> None:
    assert answer(bench().submit(1, 2)) == [2, 4]


def test_requests_that_wait_are_executed_together_and_get_their_own_rows(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.hold()
    requests = [b.submit(1), b.submit(2, 3), b.submit(4)]
    b.release()
    assert [answer(request) for request in requests] == [[2], [4, 6], [8]]
    assert b.doubler.batches == [[0], [1, 2, 3, 4]]


def test_every_request_gets_the_outputs_that_it_asked_for_and_no_others(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.hold()
    one, both = b.submit(1), b.submit(2, outputs=("negative", "double"))
    b.release()
    assert list(one.result(WAIT_S)) == ["double"]
    assert list(both.result(WAIT_S)) == ["negative", "double"]
    assert b.doubler.names[1] == ["double", "negative"]


def test_no_batch_is_larger_than_allowed_and_no_request_that_fits_is_cut(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch_rows=4)
    b.hold()
    requests = [b.submit(1, 2, 3), b.submit(4, 5), b.submit(6, 7), b.submit(8)]
    b.release()
    for request in requests:
        answer(request)
    assert b.doubler.batches == [[0], [1, 2, 3], [4, 5, 6, 7], [8]]


def test_a_long_request_is_split_behind_those_that_came_meanwhile_and_comes_back_whole(
    bench: Callable[..., Bench],
) -> None:
    b = bench(max_batch_rows=4)
    b.hold()
    requests = [b.submit(1, 2, 3), b.submit(*range(10, 20)), b.submit(4)]
    b.release()
    assert answer(requests[1]) == [2.0 * value for value in range(10, 20)]
    assert answer(requests[2]) == [8]
    assert b.doubler.batches == [[0], [1, 2, 3, 10], [4, 11, 12, 13], [14, 15, 16, 17], [18, 19]]


@settings(deadline=None)  # threads of a busy machine
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 16))
def test_whatever_the_sizes_rows_come_back_to_their_owner(sizes: list[int], max_batch_rows: int) -> None:
    b = Bench(max_batch_rows=max_batch_rows)
    try:
        b.hold()
        requests = [b.submit(*(1000 * i + row for row in range(size))) for i, size in enumerate(sizes)]
        b.release()
        for i, (request, size) in enumerate(zip(requests, sizes, strict=True)):
            assert answer(request) == [2.0 * (1000 * i + row) for row in range(size)]
        assert max(map(len, b.doubler.batches)) <= max_batch_rows
    finally:
        b.close()


def test_a_deadline_that_passes_while_a_request_waits_is_told_and_nothing_executed(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.hold()
    late, fine = b.submit(1, deadline_s=b.now + 1), b.submit(2, deadline_s=b.now + 3)
    b.now += 2
    b.release()
    assert answer(fine) == [4]
    with pytest.raises(DeadlineExceeded, match="while the request waited"):
        answer(late)
    assert b.doubler.batches == [[0], [2]]


def test_a_deadline_that_passes_between_the_batches_of_a_long_request_ends_it(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch_rows=2)
    b.hold()
    request = b.submit(1, 2, 3, 4, 5, 6, deadline_s=b.now + 1)
    advance = b.doubler.execute

    def execute(*args: Any, **kwargs: Any) -> Any:
        b.now += 0.6
        return advance(*args, **kwargs)

    b.doubler.execute = execute  # type: ignore[method-assign]  # each batch takes 0.6 s on the clock
    b.release()
    with pytest.raises(DeadlineExceeded):
        answer(request)
    assert answer(b.submit(9)) == [18]
    assert b.doubler.batches == [[0], [1, 2], [3, 4], [9]]


def test_a_cancelled_request_is_not_executed_and_makes_room(bench: Callable[..., Bench]) -> None:
    b = bench(max_queue_rows=4)
    b.hold()
    gone, kept = b.submit(1, 2, 3), b.submit(4)
    assert gone.cancel()
    b.release()
    assert answer(kept) == [8]
    assert b.doubler.batches == [[0], [4]]
    b.hold()
    b.submit(5)
    b.submit(6, 7, 8)


def test_cancelling_a_long_request_halfway_drops_the_rows_that_are_left(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch_rows=2)
    b.doubler.released.clear()
    b.doubler.entered.clear()
    long = b.submit(*range(10))
    assert b.doubler.entered.wait(WAIT_S)
    assert long.cancel()
    after = b.submit(99)
    b.release()
    assert answer(after) == [198]
    assert b.doubler.batches == [[0, 1], [99]]
    with pytest.raises(Cancelled):
        answer(long)


def test_a_request_cancelled_while_its_rows_are_executed_disturbs_nobody(bench: Callable[..., Bench]) -> None:
    b = bench()
    held = b.hold()
    assert held.cancel()
    waiting = b.submit(1)
    b.release()
    assert answer(waiting) == [2]


def test_a_full_queue_refuses_until_it_has_room_again(bench: Callable[..., Bench]) -> None:
    b = bench(max_queue_rows=3)
    b.hold()
    waiting = b.submit(1, 2)
    with pytest.raises(Overloaded, match="2 rows wait, 2 more would exceed 3"):
        b.submit(3, 4)
    b.release()
    answer(waiting)
    assert answer(b.submit(3, 4)) == [6, 8]


def test_a_request_that_fails_does_not_fail_those_in_its_batch(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.hold()
    good, bad, other = b.submit(1), b.submit(-1, 5), b.submit(2)
    b.release()
    assert (answer(good), answer(other)) == ([2], [4])
    with pytest.raises(ExecutionError, match="rows below zero"):
        answer(bad)


def test_an_unforeseen_error_reaches_its_caller_and_the_batcher_lives_on(bench: Callable[..., Bench]) -> None:
    b = bench()
    with pytest.raises(ZeroDivisionError):
        answer(b.submit(float("nan")))
    assert answer(b.submit(1)) == [2]


def test_a_long_request_that_fails_is_dropped_with_the_rows_that_are_left(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch_rows=2, max_queue_rows=8)
    b.hold()
    bad, good = b.submit(1, 2, -3, 4, 5, 6), b.submit(7)
    b.release()
    with pytest.raises(ExecutionError):
        answer(bad)
    assert answer(good) == [14]
    assert b.doubler.batches == [[0], [1, 2], [7, -3], [7], [-3]]
    b.hold()
    b.submit(*range(8))


def test_a_batch_waits_for_more_rows_until_it_is_full(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch_rows=3, max_delay_s=3600)
    requests = [b.submit(value) for value in (1, 2, 3)]
    assert [answer(request) for request in requests] == [[2], [4], [6]]
    assert b.doubler.batches == [[1, 2, 3]]


def test_closing_answers_what_waits_without_delay_and_refuses_what_comes_after(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch_rows=8, max_delay_s=3600)
    waiting = [b.submit(1), b.submit(2)]
    b.batcher.close()
    assert [request.is_ended for request in waiting] == [True, True]
    assert [answer(request) for request in waiting] == [[2], [4]]
    with pytest.raises(NotReady):
        b.submit(3)
    b.batcher.close()


def test_a_batch_is_counted_by_the_time_its_answer_is_there(bench: Callable[..., Bench]) -> None:
    b = bench()
    answer(b.submit(1, 2))
    total = b.statistics.total()
    assert (total.rows, total.executions, total.queue.count) == (2, 1, 1)
    assert b.statistics.member(0).rows == 2


def test_the_time_in_the_queue_is_counted_from_arrival(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.hold()
    waiting = b.submit(1)
    b.now += 2
    b.release()
    answer(waiting)
    assert b.statistics.total().queue.ns == 2_000_000_000


def test_a_request_with_a_near_deadline_goes_before_those_that_have_time(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch_rows=1)
    b.hold()
    requests = [b.submit(1), b.submit(2, deadline_s=b.now + 60), b.submit(3, deadline_s=b.now + 0.5)]
    b.release()
    for request in requests:
        answer(request)
    assert b.doubler.batches == [[0], [3], [1], [2]]


def test_rows_of_a_long_request_are_numbered_as_its_sender_does(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch_rows=2)
    answer(b.submit(1, 2, 3, 4, 5))
    assert b.doubler.first_rows == [0, 2, 4]


def test_a_batch_ends_where_larger_ones_gain_nothing(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.doubler.efficient_rows = 2
    b.hold()
    requests = [b.submit(float(value)) for value in range(1, 6)]
    whole = b.submit(10, 11, 12)
    b.release()
    for request in (*requests, whole):
        answer(request)
    assert b.doubler.batches == [[0], [1, 2], [3, 4], [5], [10, 11, 12]]


def test_what_waits_is_executed_though_the_end_of_a_short_batch_is_left_to_another_thread(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    ends: list[Callable[[], None]] = []
    waiting: list[Request] = []
    start = b.doubler.start

    def leave_the_end(inputs: Any, n_rows: int, outputs: Any, done: Any, observe: Any, *, first_row: int) -> None:
        b.doubler.start = start  # type: ignore[method-assign]  # the next batch as usual
        ends.append(lambda: start(inputs, n_rows, outputs, done, observe, first_row=first_row))
        waiting.append(b.submit(2))

    b.doubler.start = leave_the_end  # type: ignore[method-assign]  # a batch of which another thread has the last run
    first = b.submit(1)
    while not waiting:
        time.sleep(0.001)
    try:
        assert answer(waiting[0]) == [4]
    finally:
        ends[0]()
    assert answer(first) == [2]


def test_what_one_worker_leaves_in_the_queue_goes_to_the_next_core_that_is_free() -> None:
    doubler, pool = Doubler(), Pool(2)
    doubler.efficient_rows = 1
    doubler.seconds = lambda n_rows: 1.0 * n_rows  # type: ignore[method-assign]  # longer than waking a thread takes
    batcher = Batcher(cast("Any", doubler), pool, BatchPolicy(), Statistics(1))
    requests = [Request(inputs={"x": np.full((1, 1), x)}, n_rows=1, outputs=("double",)) for x in (1.0, 2.0)]
    freed, taken = threading.Event(), threading.Barrier(3, timeout=WAIT_S)

    def take_a_core() -> None:
        with pool.slot():
            taken.wait()
            freed.wait(WAIT_S)

    others = [threading.Thread(target=take_a_core) for _ in range(2)]
    for other in others:
        other.start()
    taken.wait()
    execute = doubler.execute

    def hold_the_first(inputs: Any, n_rows: int, outputs: Any, observe: Any) -> Any:
        if inputs["x"][0, 0] == 1.0:
            requests[1].result(WAIT_S)
        return execute(inputs, n_rows, outputs, observe)

    doubler.execute = hold_the_first  # type: ignore[method-assign]  # it ends only after the other one
    for request in requests:
        batcher.submit(request)
    freed.set()
    assert [answer(request) for request in requests] == [[2], [4]]
    batcher.close()
    pool.close()


def test_models_that_share_a_core_take_turns() -> None:
    pool = Pool(1)
    order: list[str] = []
    batchers: dict[str, Batcher] = {}
    requests: list[Request] = []

    def submit(name: str, n_rows: int) -> None:
        requests.append(Request(inputs={"x": np.ones((n_rows, 1))}, n_rows=n_rows, outputs=("double",)))
        batchers[name].submit(requests[-1])

    def make(name: str) -> Doubler:
        doubler = Doubler()
        doubler.seconds = lambda n_rows: 1.0 * n_rows  # type: ignore[method-assign]  # not worth waiting for
        execute = doubler.execute

        def note(*args: Any) -> Any:
            order.append(name)
            if order == ["long"]:
                submit("short", 1)
            return execute(*args)

        doubler.execute = note  # type: ignore[method-assign]  # tells whose turn it was
        return doubler

    for name in ("long", "short"):
        batchers[name] = Batcher(cast("Any", make(name)), pool, BatchPolicy(max_batch_rows=2), Statistics(1))
    submit("long", 6)
    for request in requests:
        answer(request)
    assert order == ["long", "short", "long", "long"]
    for batcher in batchers.values():
        batcher.close()
    pool.close()


class SevenElsewhere(Tally):
    """The count of a process beside which others have seven rows waiting."""

    def elsewhere(self) -> int:
        return 7


def test_rows_that_wait_in_other_processes_count_towards_the_limit() -> None:
    doubler, pool = Doubler(), Pool(1)
    batcher = Batcher(
        cast("Any", doubler), pool, BatchPolicy(max_queue_rows=8), Statistics(1), waiting=SevenElsewhere()
    )
    fits = Request(inputs={"x": np.ones((1, 1))}, n_rows=1, outputs=("double",))
    batcher.submit(fits)
    assert answer(fits) == [2]
    with pytest.raises(Overloaded, match="7 rows wait, 2 more would exceed 8"):
        batcher.submit(Request(inputs={"x": np.ones((2, 1))}, n_rows=2, outputs=("double",)))
    batcher.close()
    pool.close()
