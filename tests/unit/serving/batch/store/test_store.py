"""One job on its output folder."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from batch_outputs import do_task, input_files, job_spec, job_tasks, remote_url
from hypothesis import given, settings
from hypothesis import strategies as st
from widedeep.serving.batch.store.lock import LeaseTimes
from widedeep.serving.batch.store.record import Totals
from widedeep.serving.batch.store.store import Store
from widedeep.serving.batch.task import Task, TaskResult
from widedeep.serving.contract.errors import ConfigurationError

N = 6


def begun(url: str, n: int = N, clock: float = 0.0) -> Store:
    store = Store.open(url, clock=lambda: clock, lease=LeaseTimes(settle_s=0))
    store.begin(job_spec(store.output.url), input_files(), lambda: job_tasks(n))
    return store


def never() -> Iterator[Task]:
    raise AssertionError("the input of a job that was begun is not planned again")


def left(store: Store) -> list[int]:
    return [task.number for task in store.tasks()]


@pytest.fixture(params=["local", "memory", "oss"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else remote_url(request.param)


def test_a_job_goes_from_its_beginning_to_its_manifest(url: str) -> None:
    with Store.open(url, lease=LeaseTimes(settle_s=0)) as store:
        assert store.spec is None
        assert store.begin(job_spec(url), input_files(), lambda: iter(job_tasks(N)))
        assert (store.n_tasks, store.totals, store.is_complete) == (N, Totals(), False)
        for task in store.tasks():
            store.record(do_task(store.output, task.number, n_scored=task.number, n_rejected=1))
        assert store.totals == Totals(N, 21, 15, 6)
        store.finish({"evaluation": {"accuracy": 0.9}})
        assert store.is_complete
        manifest = store.manifest()
    assert manifest["bundle"] == {"name": "digits", "version": "1", "digest": "a" * 64}
    assert [manifest[key] for key in ("tasks", "n_in", "n_scored", "n_rejected")] == [N, 21, 15, 6]
    assert manifest["evaluation"] == {"accuracy": 0.9}
    assert manifest["results"][2] | {"seconds": 0} == {
        "task": 2,
        "ranges": [["file-0.parquet", 2, 3]],
        "parts": ["part-000002.parquet"],
        "rejects": "",
        "n_in": 3,
        "n_scored": 2,
        "n_rejected": 1,
        "seconds": 0,
    }


def test_the_same_job_again_is_complete_and_plans_nothing(url: str) -> None:
    with begun(url) as store:
        for task in store.tasks():
            store.record(do_task(store.output, task.number))
        store.finish({})
    with Store.open(url, lease=LeaseTimes(settle_s=0)) as store:
        assert store.spec == job_spec(store.output.url)
        assert not store.begin(job_spec(url), input_files(), never)
        assert store.is_complete
        assert store.totals == Totals(N, 18, 18, 0)
        assert left(store) == []


def test_a_job_that_was_left_is_taken_up_where_it_was(url: str) -> None:
    with begun(url) as store:
        for task in (4, 1, 2):
            store.record(do_task(store.output, task))
    with Store.open(url, lease=LeaseTimes(settle_s=0)) as store:
        assert not store.begin(job_spec(url), input_files(), never)
        assert left(store) == [0, 3, 5]
        assert store.totals == Totals(3, 9, 9, 0)
        assert [result.task for result in store.results()] == [4, 1, 2]


def test_a_job_that_was_cut_off_before_it_was_written_begins_anew(tmp_path: Path) -> None:
    def cut_off() -> Iterator[Task]:
        yield from job_tasks(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Store.open(str(tmp_path)) as store:
        store.begin(job_spec(store.output.url), input_files(), cut_off)
    with begun(str(tmp_path)) as store:
        assert store.n_tasks == N


def test_another_job_is_refused_with_every_difference(tmp_path: Path) -> None:
    begun(str(tmp_path)).close()
    spec = job_spec(str(tmp_path), digest="c" * 64, keep=("x",), input_digest="other")
    with Store.open(str(tmp_path)) as store, pytest.raises(ConfigurationError) as refused:
        store.begin(spec, input_files(1), never)
    assert str(refused.value).splitlines()[1:] == [
        f"  bundle: was digits version 1 with digest {'a' * 12}, now digits version 1 with digest {'c' * 12}",
        "  keep: was none, now x",
        "  input: file-1.parquet was removed",
    ]


def test_results_are_on_record_without_an_end(tmp_path: Path) -> None:
    store = begun(str(tmp_path / "out"))
    store.record(do_task(store.output, 0))
    shutil.copytree(tmp_path / "out", tmp_path / "killed")
    with Store.open(str(tmp_path / "killed")) as killed:
        assert left(killed) == [1, 2, 3, 4, 5]
    store.close()


def test_the_last_result_of_a_task_counts(tmp_path: Path) -> None:
    with begun(str(tmp_path)) as store:
        store.record(do_task(store.output, 0, n_scored=3, n_rejected=2))
        store.record(do_task(store.output, 0, n_scored=5))
        assert store.totals == Totals(1, 5, 5, 0)
        assert [result.n_scored for result in store.results()] == [5]
    with Store.open(str(tmp_path)) as store:
        assert store.totals == Totals(1, 5, 5, 0)
        assert [result.n_scored for result in store.results()] == [5]


def test_a_result_that_failed_or_does_not_add_up_is_not_recorded(tmp_path: Path) -> None:
    with begun(str(tmp_path)) as store:
        for wrong in (TaskResult(0, error="broke"), TaskResult(0, 2, 1, 0), TaskResult(N)):
            with pytest.raises(ValueError, match="task"):
                store.record(wrong)
    with Store.open(str(tmp_path)) as store:
        assert store.totals == Totals()


def test_a_job_is_not_finished_before_all_tasks_are_done(tmp_path: Path) -> None:
    with begun(str(tmp_path)) as store:
        store.record(do_task(store.output, 0))
        with pytest.raises(ValueError, match="1 of 6 tasks are done"):
            store.finish({})
    assert not (tmp_path / "_manifest.json").exists()


def test_a_job_without_tasks_is_finished_at_once(tmp_path: Path) -> None:
    with begun(str(tmp_path), 0) as store:
        store.finish({})
        assert store.manifest()["results"] == []
    with Store.open(str(tmp_path)) as store:
        assert store.is_complete


def test_a_part_that_vanished_is_told_at_the_end_and_made_again_by_the_next_run(tmp_path: Path) -> None:
    with begun(str(tmp_path), 2) as store:
        for task in range(2):
            store.record(do_task(store.output, task))
        (tmp_path / "part-000001.parquet").unlink()
        with pytest.raises(ConfigurationError, match=r"part-000001\.parquet: on record but not there"):
            store.finish({})
    with Store.open(str(tmp_path)) as store:
        assert left(store) == [1]
        store.record(do_task(store.output, 1))
        store.finish({})
    (tmp_path / "part-000000.parquet").unlink()
    with Store.open(str(tmp_path)) as store:
        assert not store.is_complete
        assert left(store) == [0]


def test_a_retry_replaces_results_and_removes_what_it_made_stale(tmp_path: Path) -> None:
    with begun(str(tmp_path), 1) as store:
        first = replace(do_task(store.output, 0, n_scored=3, n_rejected=2), rejects="part-000000.parquet")
        store.output.write("_rejects/part-000000.parquet", b"two rows")
        store.record(first)
        store.finish({})
    with Store.open(str(tmp_path)) as store:
        assert store.is_complete
        store.reopen()
        assert not (tmp_path / "_manifest.json").exists()
        for name in ("part-000000-retry-1.parquet", "_rejects/part-000000-retry-1.parquet", "part-000000-retry-2.csv"):
            store.output.write(name, b"one row")
        retried = replace(
            first,
            n_scored=4,
            n_rejected=1,
            parts=(*first.parts, "part-000000-retry-1.parquet"),
            rejects="part-000000-retry-1.parquet",
        )
        store.record(retried)
        store.finish({})
        assert store.totals == Totals(1, 5, 4, 1)
        assert store.manifest()["results"][0]["parts"] == ["part-000000.parquet", "part-000000-retry-1.parquet"]
    assert sorted(path.name for path in tmp_path.glob("part-*")) == [
        "part-000000-retry-1.parquet",
        "part-000000.parquet",
    ]
    assert [path.name for path in (tmp_path / "_rejects").iterdir()] == ["part-000000-retry-1.parquet"]


def test_a_driver_whose_lease_was_taken_over_records_nothing_more() -> None:
    url = remote_url()
    held_up = begun(url)
    held_up.record(do_task(held_up.output, 0))
    lock = json.loads(held_up.output.read("_lock"))
    held_up.output.write("_lock", json.dumps({**lock, "token": "another's"}).encode())
    held_up.record(do_task(held_up.output, 1))  # waits for a second
    with pytest.raises(ConfigurationError, match="taken its lock over"):
        held_up.flush()
    with pytest.raises(ConfigurationError, match="taken its lock over"):
        held_up.close()
    held_up.output.remove("_lock")
    with Store.open(url, lease=LeaseTimes(settle_s=0)) as store:
        assert left(store) == [1, 2, 3, 4, 5]


def test_what_never_became_whole_is_removed_by_the_next_job(tmp_path: Path) -> None:
    begun(str(tmp_path)).close()
    (tmp_path / "_tmp" / "half").write_bytes(b"")
    Store.open(str(tmp_path)).close()
    assert list((tmp_path / "_tmp").iterdir()) == []


def test_an_output_that_is_refused_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"notes\.txt"):
        Store.open(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigurationError, match="must not lie in the input"):
        Store.open(str(tmp_path / "out"), input_url=str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_the_lock_is_given_back_when_the_record_is_damaged(tmp_path: Path) -> None:
    begun(str(tmp_path)).close()
    (tmp_path / "_job.json").write_bytes(b"{")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="damaged"):
            Store.open(str(tmp_path))


STEPS = st.lists(
    st.tuples(st.just("record"), st.integers(0, N - 1), st.integers(0, 3), st.integers(0, 2))
    | st.tuples(st.sampled_from(["flush", "wait", "kill", "leave"])),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(steps=STEPS)
def test_however_recording_and_being_killed_follow_one_another_the_record_is_true(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("jobs")
    now = [0.0]
    opened = 0
    store = begun(str(folder / "0"))
    recorded: list[TaskResult] = []
    on_record = 0  # of `recorded`, at least so many survive a kill
    for kind, *what in steps:
        if kind == "record":
            task, n_scored, n_rejected = what
            result = do_task(store.output, task, n_scored, n_rejected)
            store.record(result)
            recorded.append(result)
            on_record = max(on_record, 1)
        elif kind == "flush":
            store.flush()
            on_record = len(recorded)
        elif kind == "wait":
            now[0] += 2.0
        else:
            if kind == "leave":
                store.close()
                on_record = len(recorded)
            opened += 1
            shutil.copytree(folder / str(opened - 1), folder / str(opened))  # as the disk is at this moment
            store.close()
            store = Store.open(str(folder / str(opened)), clock=lambda: now[0])
            survived = list(store.results())
            recorded = recorded[: _survivors(recorded, survived, on_record)]
            on_record = len(recorded)
    latest = {result.task: result for result in recorded}
    assert store.totals == Totals(
        len(latest),
        *(sum(getattr(result, name) for result in latest.values()) for name in ("n_in", "n_scored", "n_rejected")),
    )
    assert left(store) == [task for task in range(N) if task not in latest]
    for task in left(store):
        store.record(do_task(store.output, task, n_scored=1))
    store.finish({})
    manifest = store.manifest()
    store.close()
    assert manifest["n_in"] == manifest["n_scored"] + manifest["n_rejected"]
    rows = {path.name: pq.read_metadata(path).num_rows for path in (folder / str(opened)).glob("part-*")}
    assert rows.keys() == {name for entry in manifest["results"] for name in entry["parts"]}


def _survivors(recorded: list[TaskResult], survived: list[TaskResult], at_least: int) -> int:
    """Return how many of the first results make what survived; it is a stretch from the start, and not too short."""
    for n in range(at_least, len(recorded) + 1):
        if {result.task: result for result in recorded[:n]} == {result.task: result for result in survived}:
            return n
    raise AssertionError(f"{survived} are not the first of {recorded}")
