"""One job at a time on an output folder, by the kernel's lock or by a lease."""

import multiprocessing
import os
import shutil
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from batch_outputs import remote_url
from widedeep.serving.batch.store.lock import LOCK, FileLock, Lease, LeaseTimes, take_lock
from widedeep.serving.batch.store.output import Output
from widedeep.serving.contract.errors import ConfigurationError

QUICK = LeaseTimes(renew_s=0.02, stale_s=0.3, settle_s=0.05)


@pytest.fixture
def local(tmp_path: Path) -> Output:
    return Output(str(tmp_path))


@pytest.fixture(params=["memory", "oss"])
def remote(request: pytest.FixtureRequest) -> Output:
    return Output(remote_url(request.param))


def test_a_second_job_is_refused_and_told_who_runs_the_first(local: Output) -> None:
    lock = take_lock(local)
    assert isinstance(lock, FileLock)
    with pytest.raises(ConfigurationError, match=f"process {os.getpid()} on {socket.gethostname()} is running a job"):
        take_lock(local)
    lock.check()
    lock.release()


def test_a_lock_that_was_given_back_can_be_taken(local: Output) -> None:
    lock = take_lock(local)
    lock.release()
    lock.release()
    take_lock(local).release()


def test_a_forked_child_does_not_hold_its_parents_lock(local: Output) -> None:
    lock = take_lock(local)
    forked = multiprocessing.get_context("fork").Event()
    ended = multiprocessing.get_context("fork").Event()

    def live_on() -> None:
        forked.set()
        ended.wait(30)

    child = multiprocessing.get_context("fork").Process(target=live_on)
    child.start()
    try:
        assert forked.wait(30)
        lock.release()
        take_lock(local).release()
    finally:
        ended.set()
        child.join()


def test_a_holder_whose_folder_was_replaced_stops(local: Output, tmp_path: Path) -> None:
    lock = take_lock(local)
    shutil.rmtree(tmp_path)
    with pytest.raises(ConfigurationError, match="removed or replaced"):
        lock.check()
    tmp_path.mkdir()
    other = take_lock(local)
    with pytest.raises(ConfigurationError, match="removed or replaced"):
        lock.check()
    other.check()
    other.release()
    lock.release()


def test_a_fresh_lease_is_refused_and_says_how_long_to_wait(remote: Output) -> None:
    lease = take_lock(remote, QUICK)
    assert isinstance(lease, Lease)
    with pytest.raises(ConfigurationError, match=rf"process {os.getpid()} on .* is running a job .* try again"):
        take_lock(remote, QUICK)
    lease.check()
    lease.release()
    lease.release()
    assert LOCK not in remote.names()


def test_a_lease_that_is_renewed_does_not_age(remote: Output) -> None:
    lease = take_lock(remote, QUICK)
    time.sleep(2 * QUICK.stale_s)
    with pytest.raises(ConfigurationError):
        take_lock(remote, QUICK)
    lease.check()
    lease.release()


def test_a_lease_of_a_dead_holder_is_taken_over_once_it_is_old(remote: Output) -> None:
    dead = take_lock(remote, LeaseTimes(renew_s=3600, settle_s=0))
    now = time.time()
    with pytest.raises(ConfigurationError):
        take_lock(remote, LeaseTimes(settle_s=0), clock=lambda: now + 29)
    heir = take_lock(remote, LeaseTimes(settle_s=0), clock=lambda: now + 31)
    heir.check()
    with pytest.raises(ConfigurationError, match="taken its lock over"):
        dead.check()
    dead.release()
    heir.check()
    heir.release()


def test_a_holder_that_was_held_up_does_not_take_its_lease_back(remote: Output) -> None:
    held_up = take_lock(remote, LeaseTimes(renew_s=0.05, settle_s=0))
    heir = take_lock(remote, LeaseTimes(renew_s=3600, settle_s=0), clock=lambda: time.time() + 31)
    time.sleep(0.2)
    heir.check()
    with pytest.raises(ConfigurationError, match="taken its lock over"):
        held_up.check()
    held_up.release()
    heir.release()


def test_a_damaged_lease_is_taken_over(remote: Output) -> None:
    remote.write(LOCK, b"{")
    lease = take_lock(remote, QUICK)
    lease.check()
    lease.release()


def test_of_many_that_come_at_once_one_gets_the_lease(tmp_path: Path) -> None:
    remote = Output(f"shared://{tmp_path}")
    begun = threading.Barrier(6)
    held: list[object] = []

    def take() -> None:
        begun.wait()
        with suppress(ConfigurationError):
            held.append(take_lock(remote, LeaseTimes(settle_s=0.5)))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    (lease,) = held
    assert isinstance(lease, Lease)
    lease.check()
    lease.release()


def test_the_age_of_a_lease_is_told_by_the_file_systems_clock_where_it_has_one(tmp_path: Path) -> None:
    output = Output(f"shared://{tmp_path}")
    assert not output.local
    lease = take_lock(output, LeaseTimes(settle_s=0))
    with pytest.raises(ConfigurationError):  # a clock that is an hour ahead does not make it old
        take_lock(output, LeaseTimes(settle_s=0), clock=lambda: time.time() + 3600)
    os.utime(tmp_path / LOCK, (time.time() - 60,) * 2)
    take_lock(output, LeaseTimes(settle_s=0)).release()
    lease.release()
