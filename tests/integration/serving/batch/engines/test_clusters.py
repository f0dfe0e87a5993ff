"""Ray and Spark as engines of jobs: real clusters of several processes, some of which are killed on the way."""

import gc
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import engine_work
import pytest
from engine_work import BAD_ROWS, MARK, N_ROWS, N_TASKS, ROWS_PER_TASK, Work, processes
from waiting import wait_for as wait
from widedeep.serving.batch.engines import EngineName
from widedeep.serving.batch.store.store import Store
from widedeep.serving.batch.task import TaskResult
from widedeep.serving.contract.errors import ExecutionError

wait_for = partial(wait, timeout_s=60)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # Ray reads settings that itself has deprecated; PySpark has a word on pandas, which nothing here uses.
    pytest.mark.filterwarnings("ignore:`use_.* is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]

CLUSTERS = {"ray": "ray_cluster", "spark": "spark"}
WORKERS = {"ray": "ray::MapWorker", "spark": "pyspark.daemon"}


@pytest.fixture(params=CLUSTERS)
def engine(request: pytest.FixtureRequest) -> EngineName:
    """An engine whose cluster runs."""
    request.getfixturevalue(CLUSTERS[request.param])
    name: EngineName = request.param
    return name


def has_ray_no_workers() -> bool:
    gc.collect()  # Ray ends them once nothing refers to them, as errors do that were caught
    return not processes(WORKERS["ray"])


def test_a_cluster_writes_the_same_files_as_one_machine_and_counts_alike(work: Work, engine: EngineName) -> None:
    summary = work.run(engine, engine)
    assert (summary.n_in, summary.n_rejected, summary.n_parts) == (N_ROWS, len(BAD_ROWS), N_TASKS)
    assert work.files(engine) == work.files("local")
    assert work.tasks(engine) == work.tasks("local")


def test_a_job_ends_whole_when_a_worker_is_killed(work: Work, engine: EngineName, monkeypatch: Any) -> None:
    killed: list[int] = []
    record = Store.record

    def record_and_kill(store: Store, result: TaskResult) -> None:
        record(store, result)
        if not killed:
            killed.append(max(processes(WORKERS[engine])))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(Store, "record", record_and_kill)
    summary = work.run(engine, f"{engine}-killed")
    assert killed
    assert not Path(f"/proc/{killed[0]}").exists()
    assert summary.n_in == N_ROWS
    assert work.files(f"{engine}-killed") == work.files("local")
    assert work.tasks(f"{engine}-killed") == work.tasks("local")


def test_a_task_whose_worker_dies_too_often_ends_the_job(
    work: Work, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_all(*_: object) -> None:
        for process in processes(WORKERS["ray"]):
            os.kill(process, signal.SIGKILL)

    monkeypatch.setattr(Store, "record", kill_all)
    with pytest.raises(ExecutionError, match=r"Ray gave up: .*actor"):
        work.run("ray", "ray-given-up", retries=0)


def test_machines_that_do_not_see_the_bundle_are_sent_it_once(work: Work, engine: EngineName, shelf: Path) -> None:
    folder = os.open(work.bundle.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        own = f"/proc/self/fd/{folder}/1"  # which is a place for this process alone
        work.run(engine, f"{engine}-sent", bundle=own)
    finally:
        os.close(folder)
    assert work.files(f"{engine}-sent") == work.files("local")
    kept = list((shelf / f"widedeep-{os.geteuid()}" / "bundles").glob("*/1/bundle.json"))
    assert [file.read_bytes() for file in kept] == [(work.bundle / "bundle.json").read_bytes()]


def test_a_row_that_is_not_allowed_to_fail_ends_the_job_and_the_next_run_goes_on(
    work: Work, engine: EngineName
) -> None:
    with pytest.raises(ExecutionError, match=r"rows\.parquet, row (7|25000|319999): .*column 'a'"):
        work.run(engine, f"{engine}-failed", on_error="fail")
    if engine == "ray":  # Spark keeps its processes for the next job
        wait_for(has_ray_no_workers)
    work.run(engine, f"{engine}-failed")
    assert work.files(f"{engine}-failed") == work.files("local")


@pytest.mark.parametrize(("first", "then"), [("ray", "local"), ("spark", "ray")])
def test_a_killed_driver_leaves_no_worker_behind_and_another_engine_ends_its_job(
    work: Work, first: EngineName, then: EngineName, request: pytest.FixtureRequest
) -> None:
    for name in {first, then} & CLUSTERS.keys():
        request.getfixturevalue(CLUSTERS[name])  # skips where Spark cannot run
    output, mark = f"{first}-{then}", uuid4().hex
    command = [sys.executable, engine_work.__file__, str(work.folder), first, output]
    with subprocess.Popen(command, env={**os.environ, MARK: mark}) as driver:
        done = work.folder / output / "_done"
        wait_for(lambda: done.is_dir() and any(done.iterdir()))
        driver.kill()
    # Two agents of Ray's, which touch no output, may notice some 30 s later.
    agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
    wait_for(lambda: not processes(mark=mark).difference(*(processes(agent, mark) for agent in agents)))
    summary = work.run(then, output)
    assert ROWS_PER_TASK <= N_ROWS - summary.n_rows_now < N_ROWS
    assert work.files(output) == work.files("local")
    assert work.tasks(output) == work.tasks("local")


def test_a_ray_that_cannot_be_connected_to_is_an_error_in_words(work: Work) -> None:
    pytest.importorskip("ray")
    where = [str(work.bundle), str(work.folder / "rows.parquet"), str(work.folder / "none")]
    command = [sys.executable, "-m", "widedeep.serving.cli", "score", *where, "--engine", "ray", "--address", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("widedeep score: cannot connect to Ray at 'nowhere': ")
