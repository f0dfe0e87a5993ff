"""Processes that hold an output, are killed at any moment, and are followed by others."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from batch_outputs import input_files, job_spec, job_tasks
from widedeep.serving.batch.store.lock import LeaseTimes
from widedeep.serving.batch.store.store import Store
from widedeep.serving.contract.errors import ConfigurationError

N = 60

# Says "begun", then does what is left of a job of N tasks: slowly, with half a part in `_tmp` most of the time. The
# child that it starts first outlives it.
DRIVER = """
import subprocess, sys, time
from batch_outputs import SCHEMA, input_files, job_spec, job_tasks
import pyarrow as pa
from widedeep.serving.batch.store.lock import LeaseTimes
from widedeep.serving.batch.store.parts import part_name, part_writer
from widedeep.serving.batch.store.store import Store
from widedeep.serving.batch.task import TaskResult

url, n, pause_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
with Store.open(url, lease=LeaseTimes(0.1, 1.0, 0.1)) as store:
    store.begin(job_spec(url), input_files(), lambda: job_tasks(n))
    subprocess.Popen(["sleep", "20"], stdout=subprocess.DEVNULL)
    print("begun", flush=True)
    for task in store.tasks():
        with part_writer(store.output, part_name(task.number), SCHEMA, "parquet") as part:
            for row in range(3):
                part.write(pa.record_batch([pa.array([10 * task.number + row])], SCHEMA))
                time.sleep(pause_s)
        store.record(TaskResult(task.number, 3, 3, 0, (part.name,)))
    store.finish({})
"""


@contextmanager
def driver(url: str, n: int = N, pause_s: float = 0.005) -> Iterator[subprocess.Popen[str]]:
    """Run a driver that has begun; its child is killed at the end, too."""
    command = [sys.executable, "-c", DRIVER, url, str(n), str(pause_s)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def wait_for_parts(folder: Path, n: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("part-*"))) < n:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def test_a_job_that_is_killed_three_times_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    url = str(tmp_path / "killed")
    done = [0]
    for _ in range(3):
        with driver(url) as process:
            wait_for_parts(tmp_path / "killed", done[-1] + 5)
            kill(process)
            with Store.open(url) as store:  # at once, though the driver's child lives
                assert not store.is_complete
                assert list((tmp_path / "killed" / "_tmp").iterdir()) == []
                done.append(store.totals.tasks)
    assert done == sorted(done)
    assert 0 < done[-1] < N
    for end in (url, str(tmp_path / "undisturbed")):
        with driver(end, pause_s=0) as process:
            assert process.wait(60) == 0
    assert parts(tmp_path / "killed") == parts(tmp_path / "undisturbed")
    table = ds.dataset(url).to_table()  # as every reader takes it: names that begin with "_" are none of its parts
    assert sorted(table["x"].to_pylist()) == [10 * task + row for task in range(N) for row in range(3)]
    with Store.open(url) as store:
        assert store.is_complete
        manifest = store.manifest()
    assert (manifest["tasks"], manifest["n_in"], manifest["n_scored"], manifest["n_rejected"]) == (N, 3 * N, 3 * N, 0)


def test_a_second_process_is_refused_while_the_first_runs_and_disturbs_nothing(tmp_path: Path) -> None:
    url = str(tmp_path / "out")
    with driver(url, pause_s=0.02) as process:
        second = subprocess.run(
            [sys.executable, "-c", DRIVER, url, str(N), "0"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert f"process {process.pid} on " in second.stderr
        assert process.wait(60) == 0
    with Store.open(url) as store:
        assert store.is_complete


def test_a_lease_of_a_killed_process_is_taken_over_once_it_is_old(tmp_path: Path) -> None:
    url = f"shared://{tmp_path}/out"
    times = LeaseTimes(0.1, 1.0, 0.1)
    with driver(url, pause_s=0.05) as process:
        time.sleep(1.5)
        with pytest.raises(ConfigurationError, match=f"process {process.pid} on "):
            Store.open(url, lease=times)
        kill(process)
        with pytest.raises(ConfigurationError, match="try again"):
            Store.open(url, lease=times)
        time.sleep(1.2)
        with Store.open(url, lease=times) as store:
            assert 0 < store.totals.tasks < N
            assert not store.begin(job_spec(url), input_files(), lambda: job_tasks(0))


def test_a_process_that_was_stopped_for_too_long_finds_its_lease_taken(tmp_path: Path) -> None:
    url = f"shared://{tmp_path}/out"
    with driver(url, pause_s=0.05) as process:
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.2)
        with Store.open(url, lease=LeaseTimes(0.1, 1.0, 0.1)) as store:
            before = store.totals
            os.kill(process.pid, signal.SIGCONT)
            assert process.wait(60) == 1
        with Store.open(url, lease=LeaseTimes(0.1, 1.0, 0.1)) as store:
            assert store.totals == before


@pytest.mark.slow
def test_a_job_killed_at_every_moment_of_its_life_ends_with_the_same_bytes(tmp_path: Path) -> None:
    with driver(str(tmp_path / "undisturbed"), 10, 0) as process:
        assert process.wait(60) == 0
    expected = parts(tmp_path / "undisturbed")
    for moment in range(40):
        folder = tmp_path / "killed"
        with driver(str(folder), 10, 0.002) as process:
            time.sleep(0.004 * moment)
            kill(process)
        with driver(str(folder), 10, 0) as process:
            assert process.wait(60) == 0
        assert parts(folder) == expected
        shutil.rmtree(folder)
