"""The process that workers are forked from: it has imported all that they need and started nothing.

A fork takes only the thread that forks along, so neither gRPC nor onnxruntime may have started any by then, and the
supervisor, which has threads, cannot fork. The nursery is forked off before those, stays single-threaded, and every
worker, the first as well as one that takes a dead one's place, is there at once with most of its memory shared
(measured: 26 MB of its own after the imports, and 57 MB where a worker is started as a program).
"""

import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from ...contract.errors import ExecutionError

_LOG = logging.getLogger(__name__)
_REAP_S = 0.5
_MAX_BYTES = 256

Run = Callable[[socket.socket, int, int], None]
"""What a worker does, to its end: given its end of the control socket, the board's descriptor and its place."""


class Nursery:
    """Forks workers. Order of calls: `start` before any thread exists, `fork` any number of times, `close`.

    Owner: the supervisor; one thread at a time. When the supervisor goes, however that happens, the nursery goes.
    """

    def __init__(self, prepare: Callable[[], Run]) -> None:
        """Store what imports all that workers need and returns what they do; it is called in the nursery."""
        self._prepare = prepare
        self._end: socket.socket | None = None

    def start(self) -> None:
        """Fork the nursery off."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            ours.close()
            _never_return(partial(_tend, theirs, self._prepare))
        theirs.close()
        self._end = ours

    def fork(self, place: int, board: int) -> socket.socket:
        """Start a worker and return this end of its control socket.

        Raises:
            ExecutionError: the nursery has gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                if self._end is None:
                    raise ConnectionError("the nursery was not started")
                socket.send_fds(self._end, [json.dumps(place).encode()], [theirs.fileno(), board])
                if not self._end.recv(_MAX_BYTES):
                    raise ConnectionError("the nursery has ended")
            except OSError as error:
                ours.close()
                raise ExecutionError(f"no worker can be forked: {error}") from error
        return ours

    def close(self) -> None:
        """Let the nursery end."""
        if self._end is not None:
            self._end.close()


def _tend(end: socket.socket, prepare: Callable[[], Run]) -> None:
    """Fork what is asked for until the supervisor has gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # These reach the whole process group or container; the supervisor alone decides how its workers end.
        signal.signal(number, signal.SIG_IGN)
    run = prepare()
    gc.collect()
    gc.freeze()  # a collection in a worker would write to the pages of everything imported, and so copy them
    while True:
        if not select.select([end], [], [], _REAP_S)[0]:
            _reap()
            continue
        data, descriptors, _, _ = socket.recv_fds(end, _MAX_BYTES, 2)
        if not data:
            return
        control, board = descriptors
        if (pid := os.fork()) == 0:
            end.close()
            _never_return(partial(run, socket.socket(fileno=control), board, int(json.loads(data))))
        os.close(control)
        os.close(board)
        _LOG.info("worker %s is process %d", data.decode(), pid)
        end.send(data)


def _reap() -> None:
    """Take leave of workers that have ended, and say how if it was not as they should."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            if os.WIFSIGNALED(status):
                _LOG.error("worker process %d was killed by signal %d", pid, os.WTERMSIG(status))
            elif code := os.waitstatus_to_exitcode(status):
                _LOG.error("worker process %d ended with status %d", pid, code)


def _never_return(main: Callable[[], None]) -> NoReturn:
    """Run a forked process to its end: nothing of what its parent was doing goes on in it."""
    status = 1
    try:
        main()
        status = 0
    except BaseException as error:
        _LOG.critical("process %d failed", os.getpid(), exc_info=error)
    finally:
        os._exit(status)
