"""The process that workers are forked from: it has imported all that they need and started nothing.

A fork takes only the thread that forks along, so neither gRPC nor onnxruntime may have started any by then, and the
supervisor, which has threads, cannot fork. The nursery is a program of its own, stays single-threaded, and every
worker, the first as well as one that takes a dead one's place, is there at once with most of its memory shared
(measured: 26 MB of its own after the imports, and 57 MB where a worker is started as a program).

Where the nursery itself is killed, its workers go on, and another takes its place.
"""

import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from ...contract.errors import ExecutionError
from ...logs import configure
from ...settings import ServeSettings
from ...signals import blocked

_LOG = logging.getLogger(__name__)
_REAP_S = 0.5
_CLOSE_S = 5.0
_MAX_BYTES = 1 << 16
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""They reach the whole process group or container; the supervisor alone decides how its workers end."""


class Nursery:
    """Forks workers. Order of calls: `start`, then `fork` and `renew` any number of times, then `close`.

    Owner: the supervisor; one thread at a time. When the supervisor goes, however that happens, the nursery goes.
    """

    def __init__(self, settings: ServeSettings) -> None:
        """Store what workers are to be given."""
        # Not by pydantic's own JSON, which refuses names of files that are no UTF-8.
        self._told = json.dumps(settings.model_dump()).encode()
        self._forked: set[int] = set()
        self._orphans: set[int] = set()

    def start(self) -> None:
        """Start the process; what it can import is what this one can.

        Raises:
            ExecutionError: it cannot be started.
        """
        path = [each for each in sys.path if isinstance(each, str)]  # anything else is passed over by imports, too
        isolated = ["-I"] if sys.flags.isolated else []  # else variables would let it run what this one must not
        try:
            self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs, blocked(*_SIGNALS):
                code = f"import sys; sys.path[:] = {path}; from {__name__} import main; main({theirs.fileno()})"
                self._process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
                    [sys.executable, *isolated, "-c", code], pass_fds=[theirs.fileno()]
                )
            self._end.send(self._told)
        except OSError as error:
            raise ExecutionError(f"the process that workers are forked from cannot be started: {error}") from error

    def renew(self) -> bool:
        """Start another if it has died, and return whether it had; raises what `start` does."""
        _reap(self._orphans)
        if (status := self._process.poll()) is None:
            return False
        _LOG.error("the process that workers are forked from (%d) %s; another starts", self._process.pid, _end(status))
        self._end.close()
        # Its workers are now the children of whoever takes orphans: in a container that is this process, as number 1.
        self._orphans |= self._forked
        self._forked = set()
        _reap(self._orphans)
        self.start()
        return True

    def fork(self, place: int, board: int) -> socket.socket:
        """Start a worker and return this end of its control socket.

        Raises:
            ExecutionError: the nursery has died, or cannot be started anew.
        """
        self.renew()
        with contextlib.ExitStack() as unless_forked:
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                unless_forked.callback(ours.close)
                with theirs:
                    socket.send_fds(self._end, [str(place).encode()], [theirs.fileno(), board])
                    if not (process := self._end.recv(_MAX_BYTES)):
                        raise ConnectionError("the nursery has died")
            except OSError as error:
                raise ExecutionError(f"no worker can be forked: {error}") from error
            unless_forked.pop_all()
        self._forked.add(int(process))
        return ours

    def close(self) -> None:
        """Let the nursery end, and wait for it; one that hangs is killed."""
        self._end.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(descriptor: int) -> NoReturn:
    """Be the nursery, given its end of the socket."""
    _never_return(partial(_tend, socket.socket(fileno=descriptor)))


def _tend(end: socket.socket) -> None:
    """Fork what is asked for until the supervisor has gone."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if not (told := end.recv(_MAX_BYTES)):
        return
    settings = ServeSettings.model_validate(json.loads(told))
    configure(settings.log_level, settings.log_format)
    from .worker import Worker  # not above: the supervisor is to load none of it

    gc.collect()
    gc.freeze()  # a collection in a worker would write to the pages of everything imported, and so copy them
    forked: set[int] = set()
    with contextlib.suppress(ConnectionError):  # the supervisor has gone, perhaps while this process was importing
        while True:
            if not select.select([end], [], [], _REAP_S)[0]:
                _reap(forked)
                continue
            data, descriptors, _, _ = socket.recv_fds(end, _MAX_BYTES, 2)
            if not data:
                return
            control, board = descriptors
            place = int(data)
            if (process := os.fork()) == 0:
                end.close()
                worker = Worker(settings, socket.socket(fileno=control), board, place)
                _never_return(worker.run)
            os.close(control)
            os.close(board)
            forked.add(process)
            _LOG.info("worker %d is process %d", place, process)
            end.send(str(process).encode())


def _reap(processes: set[int]) -> None:
    """Take leave of those that have ended, and say how if it was not as they should; keep those that have not.

    What is no child of this process goes, too.
    """
    for process in list(processes):
        try:
            ended, status = os.waitpid(process, os.WNOHANG)
        except ChildProcessError:
            processes.remove(process)
            continue
        if ended:
            processes.remove(process)
            if status:
                _LOG.error("worker process %d %s", process, _end(os.waitstatus_to_exitcode(status)))


def _end(status: int) -> str:
    """Return how a process ended, given its status as `subprocess` has it."""
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def _never_return(run: Callable[[], None]) -> NoReturn:
    """Run a process to its end: nothing of what a parent was doing goes on in it."""
    status = 1
    try:
        run()
        status = 0
    except BaseException as error:
        _LOG.critical("process %d failed", os.getpid(), exc_info=error)
    finally:
        os._exit(status)
