"""Tasks that a cluster is given in waves, and what is done where it lacks the bundle or loses results."""

import itertools
import json
from collections.abc import Iterable, Iterator

import pytest
from widedeep.serving.batch.engines import process
from widedeep.serving.batch.engines.process import MISSING, results_of
from widedeep.serving.batch.task import Range, Task, TaskResult
from widedeep.serving.contract.errors import ExecutionError


def tasks() -> Iterator[Task]:
    return (Task(number, (Range("a.csv"),), 1) for number in itertools.count())


def number_of(task: str) -> int:
    return Task.from_json(json.loads(task)).number


def told(task: str) -> str:
    return json.dumps(TaskResult(number_of(task), n_in=1, n_scored=1).to_json())


def numbers(results: Iterable[TaskResult]) -> list[int]:
    return [result.task for result in results]


def never() -> str:
    raise AssertionError("sent without need")


def test_tasks_are_taken_as_waves_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WAVE_TASKS", 3)
    endless = tasks()
    results = results_of(endless, lambda pending, _: (told(task) for task in pending), never)
    assert numbers(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    assert next(endless).number == 6


def test_only_tasks_that_lacked_the_bundle_are_run_again_once_it_was_sent() -> None:
    runs: list[tuple[list[int], str | None]] = []

    def run(pending: Iterable[str], sent: str | None) -> Iterator[str]:
        texts = list(pending)
        runs.append((list(map(number_of, texts)), sent))
        for task in texts:
            is_missing = sent is None and number_of(task) in {1, 3}
            yield json.dumps({MISSING: number_of(task)}) if is_missing else told(task)

    assert numbers(results_of(itertools.islice(tasks(), 5), run, lambda: "bundle")) == [0, 2, 4, 1, 3]
    assert runs == [([0, 1, 2, 3, 4], None), ([1, 3], "bundle")]


def test_a_result_that_is_told_twice_counts_once() -> None:
    def run(pending: Iterable[str], _: str | None) -> Iterator[str]:
        return (told(task) for task in pending for _ in range(2))

    assert numbers(results_of(itertools.islice(tasks(), 3), run, never)) == [0, 1, 2]


def test_a_cluster_that_ends_without_all_results_is_an_error() -> None:
    def run(pending: Iterable[str], _: str | None) -> Iterator[str]:
        return (told(task) for task in itertools.islice(pending, 1))

    results = results_of(itertools.islice(tasks(), 3), run, never)
    with pytest.raises(ExecutionError, match="without the results of 2 tasks"):
        list(results)


def test_closing_the_results_closes_what_runs() -> None:
    closed: list[bool] = []

    def run(pending: Iterable[str], _: str | None) -> Iterator[str]:
        try:
            yield from map(told, pending)
        finally:
            closed.append(True)

    results = results_of(itertools.islice(tasks(), 3), run, never)
    assert next(results).task == 0
    results.close()  # type: ignore[attr-defined]  # a generator
    assert closed == [True]
