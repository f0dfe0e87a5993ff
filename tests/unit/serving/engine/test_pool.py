import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from widedeep.serving.engine import pool as pool_module
from widedeep.serving.engine.pool import Pool, available_cores


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(4)
    yield pool
    pool.close()


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_every_job_runs_once(pool: Pool, n_threads: int) -> None:
    done: list[int] = []
    pool.run([partial(done.append, i) for i in range(100)], n_threads)
    assert sorted(done) == list(range(100))


def test_jobs_run_side_by_side(pool: Pool) -> None:
    together = threading.Barrier(4, timeout=10)
    pool.run([lambda: together.wait() and None] * 4, 4)
    assert not together.broken


@pytest.mark.parametrize("n_threads", [1, 4])
def test_an_error_reaches_the_caller_and_the_pool_lives_on(pool: Pool, n_threads: int) -> None:
    def fail() -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"):
        pool.run([fail, *[lambda: None] * 20], n_threads)
    done: list[int] = []
    pool.run([partial(done.append, i) for i in range(10)], n_threads)
    assert len(done) == 10


def test_many_callers_share_the_threads(pool: Pool) -> None:
    done: list[int] = []
    callers = [
        threading.Thread(target=pool.run, args=([partial(done.append, i) for i in range(50)], 4)) for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert len(done) == 400


def test_the_cgroup_quota_limits_the_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(pool_module, "CPU_MAX", tmp_path / "cpu.max")
    assert available_cores() == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores() >= 1
