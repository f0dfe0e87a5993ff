import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from widedeep.serving.engine import pool as pool_module
from widedeep.serving.engine.pool import Job, Pool, Shared, available_cores


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(4)
    yield pool
    pool.close()


def run(pool: Pool, jobs: Sequence[Callable[[], None]], n_threads: int) -> None:
    """Share jobs among threads and wait for the last."""
    ended = threading.Event()
    shared = Shared(jobs, lambda _: ended.set())
    with pool.slot():
        pool.share(shared, n_threads)
    assert ended.wait(10)
    if shared.error is not None:
        raise shared.error


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_every_shared_job_runs_once(pool: Pool, n_threads: int) -> None:
    done: list[int] = []
    run(pool, [partial(done.append, i) for i in range(100)], n_threads)
    assert sorted(done) == list(range(100))


def test_shared_jobs_run_side_by_side(pool: Pool) -> None:
    together = threading.Barrier(4, timeout=10)
    run(pool, [lambda: together.wait() and None] * 4, 4)
    assert not together.broken


@pytest.mark.parametrize("n_threads", [1, 4])
def test_an_error_reaches_the_caller_and_the_pool_lives_on(pool: Pool, n_threads: int) -> None:
    def fail() -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"):
        run(pool, [fail, *[lambda: None] * 20], n_threads)
    done: list[int] = []
    run(pool, [partial(done.append, i) for i in range(10)], n_threads)
    assert len(done) == 10


def test_many_callers_share_the_threads(pool: Pool) -> None:
    done: list[int] = []
    callers = [
        threading.Thread(target=run, args=(pool, [partial(done.append, i) for i in range(50)], 4)) for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert len(done) == 400


def test_no_more_jobs_run_at_once_than_there_are_cores() -> None:
    pool = Pool(2)
    lock, running, most = threading.Lock(), 0, 0
    left = threading.Semaphore(0)

    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        left.release()

    def bring() -> None:
        with pool.collect(1.0):
            for _ in range(5):
                pool.submit(job, 0.0)

    callers = [threading.Thread(target=bring) for _ in range(6)]
    for caller in callers:
        caller.start()
    for _ in range(30):
        assert left.acquire(timeout=10)
    pool.close()
    assert most == 2


def test_a_thread_does_short_jobs_that_it_brings_at_the_end_and_leaves_long_ones_to_workers_at_once(pool: Pool) -> None:
    names: dict[str, str] = {}
    ended = threading.Event()

    def long() -> None:
        names["long"] = threading.current_thread().name
        ended.set()

    with pool.collect(1e-3):
        pool.submit(lambda: names.update(short=threading.current_thread().name), 1e-4)
        pool.submit(long, 1e-2)
        assert ended.wait(10)
        assert "short" not in names
    assert names["short"] == threading.current_thread().name
    assert names["long"].startswith("widedeep-worker-")


def test_what_a_job_returns_is_done_next_by_its_worker_or_left_to_one_by_a_thread_that_brought_it(pool: Pool) -> None:
    names: list[str] = []
    ended = threading.Event()

    def second() -> None:
        names.append(threading.current_thread().name)
        ended.set()

    def first() -> Job:
        names.append(threading.current_thread().name)
        return second

    with pool.collect(1.0):
        pool.submit(first, 0.0)
    assert ended.wait(10)
    assert names[0] == threading.current_thread().name
    assert names[1].startswith("widedeep-worker-")
    ended.clear()
    pool.submit(first, 0.0)
    assert ended.wait(10)
    assert names[2] == names[3]


def test_a_job_that_fails_is_logged_and_its_worker_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(1)
    ended = threading.Event()

    def fail() -> None:
        raise ValueError("job")

    pool.submit(fail, 0.0)
    pool.submit(ended.set, 0.0)
    assert ended.wait(10)
    pool.close()
    assert "a job failed" in caplog.text


def test_a_thread_that_waits_keeps_no_job_in_memory(pool: Pool) -> None:
    class Model:
        def job(self) -> None:
            pass

    left_to_a_worker, collected = Model(), Model()
    gone = [weakref.ref(left_to_a_worker), weakref.ref(collected)]
    pool.submit(left_to_a_worker.job, 1.0)
    with pool.collect(1.0):
        pool.submit(collected.job, 0.0)
    del left_to_a_worker, collected
    deadline = time.monotonic() + 10
    while any(model() is not None for model in gone):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_workers_that_cannot_all_be_started_are_completed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def start_two(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)
        started.append(thread)

    pool = Pool(3)
    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(RuntimeError, match="can't start"):
        pool.start()
    monkeypatch.undo()
    pool.start()
    together = threading.Barrier(4, timeout=10)
    for _ in range(3):
        pool.submit(lambda: together.wait() and None, 0.0)
    together.wait()
    pool.close()


@pytest.mark.parametrize(("quota", "cores"), [(None, 3), (0.5, 1), (1.25, 2), (64.0, 3)])
def test_the_cgroup_quota_limits_the_cores(monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(pool_module, "cpu_quota", lambda: quota)
    assert available_cores() == cores


def test_a_worker_that_joins_a_long_list_sees_to_others_in_between() -> None:
    pool = Pool(2)
    order: list[str] = []
    entered, other = threading.Semaphore(0), threading.Event()

    def job() -> None:
        entered.release()
        other.wait(0.05)
        order.append("shared")

    def run_other() -> None:
        order.append("other")
        other.set()

    caller = threading.Thread(target=run, args=(pool, [job] * 20, 2))
    caller.start()
    assert entered.acquire(timeout=10)
    pool.submit(run_other, 0.0)
    caller.join(30)
    pool.close()
    assert order.index("other") < 6
