"""When results are put on record."""

import time
from collections.abc import Sequence

import pytest
from widedeep.serving.batch.store.recorder import Recorder, wait_s
from widedeep.serving.batch.task import TaskResult


class Segments:
    """Keeps what is written; fails when told to."""

    def __init__(self) -> None:
        self.written: list[list[int]] = []
        self.fails = False

    def write(self, results: Sequence[TaskResult]) -> None:
        if self.fails:
            raise OSError("disk full")
        self.written.append([result.task for result in results])


def test_the_first_results_are_written_at_once_and_later_ones_after_a_second_or_a_hundredth_of_the_time() -> None:
    assert wait_s(start=0, last=None, now=5) == 0
    assert wait_s(start=0, last=5, now=5.25) == 0.75
    assert wait_s(start=0, last=5, now=6) == 0
    assert wait_s(start=0, last=1000, now=1000) == 10
    assert wait_s(start=0, last=1000, now=2000) == 0


def test_results_within_a_second_are_written_together() -> None:
    segments, now = Segments(), [0.0]
    recorder = Recorder(segments.write, lambda: now[0])
    for task in range(3):
        recorder.add(TaskResult(task))
    assert segments.written == [[0]]
    now[0] = 1.5
    recorder.add(TaskResult(3))
    assert segments.written == [[0], [1, 2, 3]]
    recorder.close()


def test_results_left_waiting_are_written_without_another_call() -> None:
    segments = Segments()
    recorder = Recorder(segments.write, time.monotonic)
    recorder.add(TaskResult(0))
    recorder.add(TaskResult(1))
    until = time.monotonic() + 20
    while len(segments.written) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert segments.written == [[0], [1]]
    recorder.close()


def test_the_end_writes_what_waits_and_a_second_end_nothing() -> None:
    segments = Segments()
    recorder = Recorder(segments.write, lambda: 0.0)
    for task in range(3):
        recorder.add(TaskResult(task))
    recorder.close()
    recorder.close()
    assert segments.written == [[0], [1, 2]]


def test_results_that_could_not_be_written_are_kept_and_written_later() -> None:
    segments = Segments()
    recorder = Recorder(segments.write, lambda: 0.0)
    segments.fails = True
    with pytest.raises(OSError, match="disk full"):
        recorder.add(TaskResult(0))
    segments.fails = False
    recorder.add(TaskResult(1))
    assert segments.written == [[0, 1]]
    recorder.close()


def test_a_failure_of_a_late_write_is_told_by_the_next_call() -> None:
    segments, now = Segments(), [0.0]
    recorder = Recorder(segments.write, lambda: now[0])
    recorder.add(TaskResult(0))
    segments.fails = True
    recorder.add(TaskResult(1))
    now[0] = 10.0
    with pytest.raises(OSError, match="disk full"):
        recorder.flush()
    segments.fails = False
    recorder.close()
    assert segments.written == [[0], [1]]
