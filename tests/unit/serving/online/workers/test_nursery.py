"""The nursery as a real process: what becomes of it, and of the workers it leaves."""

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_for
from widedeep.serving.contract.errors import ExecutionError
from widedeep.serving.online.workers import nursery as module
from widedeep.serving.online.workers.board import Board
from widedeep.serving.online.workers.nursery import Nursery
from widedeep.serving.settings import ServeSettings

_PR_SET_CHILD_SUBREAPER = 36
"""Source: prctl(2)."""


@pytest.fixture
def takes_orphans() -> Iterator[None]:
    """Have this process be given orphans, as process 1 of a container is."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children() -> set[int]:
    """Return the process ids of what this process is the parent of."""
    return {
        int(found) for task in Path("/proc/self/task").iterdir() for found in (task / "children").read_text().split()
    }


def test_a_worker_that_a_killed_nursery_leaves_to_this_process_is_taken_leave_of(
    takes_orphans: None, caplog: pytest.LogCaptureFixture
) -> None:
    before = children()
    _, descriptor = Board.create(2)
    nursery = Nursery(ServeSettings.load({"workers": 2}))
    nursery.start()
    control = nursery.fork(0, descriptor)
    (first,) = children() - before
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(children() - before) == 2)  # its worker is there, too
    (orphan,) = children() - before - {first}
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert nursery.renew()
    (second,) = children() - before - {orphan}
    assert not nursery.renew()
    control.close()  # as if the supervisor had gone: the worker ends at once
    wait_for(lambda: nursery.renew() or orphan not in children())
    assert children() - before == {second}
    assert f"({first}) was killed by signal 9; another starts" in caplog.text
    assert f"worker process {orphan} ended with status 1" in caplog.text
    nursery.close()
    os.close(descriptor)
    assert children() == before


def test_a_nursery_that_cannot_be_started_is_told_of_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    nursery = Nursery(ServeSettings.load({}))
    nursery.start()
    (first,) = children() - before
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        for _ in range(2):
            with pytest.raises(ExecutionError, match=r"cannot be started: .*/nowhere/python"):
                nursery.renew()
    assert nursery.renew()
    assert not nursery.renew()
    nursery.close()
    assert children() == before


def test_a_lack_of_descriptors_is_told_of_as_what_cannot_be_started() -> None:
    _, descriptor = Board.create(1)
    nursery = Nursery(ServeSettings.load({}))
    nursery.start()
    with no_descriptor_left(), pytest.raises(ExecutionError, match=r"forked: .*Too many open files"):
        nursery.fork(0, descriptor)
    nursery._process.kill()
    nursery._process.wait()
    with no_descriptor_left(), pytest.raises(ExecutionError, match=r"started: .*Too many open files"):
        nursery.renew()
    assert nursery.renew()
    nursery.fork(0, descriptor).close()
    nursery.close()
    os.close(descriptor)


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_nursery_that_hangs_is_left_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSE_S", 0.1)
    before = children()
    nursery = Nursery(ServeSettings.load({}))
    nursery.start()
    (process,) = children() - before
    os.kill(process, signal.SIGSTOP)
    nursery.close()
    assert children() == before


@pytest.mark.parametrize("n_asked", [0, 1])
def test_one_that_its_supervisor_leaves_while_it_imports_ends_without_a_complaint(
    n_asked: int, capfd: pytest.CaptureFixture[str]
) -> None:
    _, descriptor = Board.create(1)
    nursery = Nursery(ServeSettings.load({}))
    nursery.start()
    for _ in range(n_asked):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            socket.send_fds(nursery._end, [b"0"], [theirs.fileno(), descriptor])
    nursery._end.close()
    assert nursery._process.wait(30) == 0
    assert "Traceback" not in capfd.readouterr().err
    os.close(descriptor)


def test_what_is_no_text_on_the_path_of_imports_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [tmp_path, *sys.path])
    _, descriptor = Board.create(1)
    nursery = Nursery(ServeSettings.load({}))
    nursery.start()
    nursery.fork(0, descriptor).close()
    nursery.close()
    os.close(descriptor)


def test_an_isolated_interpreter_has_an_isolated_nursery(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('run from PYTHONPATH')")
    code = (
        f"from {module.__name__} import Nursery; from widedeep.serving.settings import ServeSettings;"
        "nursery = Nursery(ServeSettings.load({})); nursery.start(); nursery.close();"
        "print(nursery._process.returncode)"
    )
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-I", "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_settings_reach_workers_whole() -> None:
    no_utf_8 = os.fsdecode(b"/tmp/caf\xe9")
    given = {"providers": "deep=CUDAExecutionProvider,CPUExecutionProvider", "cores": "3", "cache_dir": no_utf_8}
    settings = ServeSettings.load(given)
    told = json.loads(Nursery(settings)._told)
    assert ServeSettings.model_validate(told).model_dump() == settings.model_dump()
