"""Processes that train: the driver's handle on one, and what runs in it.

Training libraries keep threads, memory and state that outlive a fit, and some of them cannot be interrupted; a process
can be ended at any moment. The driver alone reads and writes studies, so that a worker may die without harm to them.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from ..zoo.catalogue import kinds
from ..zoo.kind import Kind
from .attempt import Pruned, Setting, attempt, export
from .candidates import read_candidate
from .messages import Ended, Export, Failed, Order, Question, Told

_ORPHAN_CHECK_S = 1.0


class Worker:
    """A process that runs one trial after the other. Owner: the driver, from one thread; `end` it in any case.

    Attributes:
        connection: for `multiprocessing.connection.wait`; readable when the worker has said something or died.
    """

    def __init__(self, setting_file: Path, log: Path, n_threads: int) -> None:
        """Start the process, which reads the setting that `write_setting` wrote and says more only when asked."""
        ours, theirs = socket.socketpair()
        with theirs, log.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", __name__, str(theirs.fileno()), str(setting_file)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is the driver's to handle
                env={**os.environ, **_threads(n_threads)},
            )
        self.connection = Connection(ours.detach())

    def send(self, message: Order | Export | bool) -> None:
        """Send an order or an answer; what cannot be delivered shows as a dead worker."""
        with suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Told | Question | Ended | Failed | None:
        """Return the next message, None if the process is gone."""
        try:
            message: Told | Question | Ended | Failed = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        return message

    def died_of(self) -> str:
        """Return how the process ended, in words."""
        code = self._process.wait()
        return f"its process died of {signal.Signals(-code).name}" if code < 0 else f"its process exited with {code}"

    def end(self) -> None:
        """End the process and everything that it started, at once."""
        self.connection.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def write_setting(file: Path, setting: Setting) -> None:
    """Write what all workers of this run share; of this user alone, since it is read back as code would be."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        pickle.dump(setting, stream, protocol=pickle.HIGHEST_PROTOCOL)


class _Gone(Exception):
    """The driver is gone or wants nothing more."""


class _Driver:
    """The driver, as a worker sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def step(self, step: int, loss: float) -> None:
        """Tell a step.

        Raises:
            Pruned: the driver ends the trial.
        """
        if not self._answer(Told(step, float(loss))):
            raise Pruned

    def is_wanted(self, loss: float) -> bool:
        """Ask whether to go on to the export."""
        return bool(self._answer(Question(loss)))

    def order(self) -> Order | Export:
        """Wait for the next order."""
        return cast(Order | Export, self._receive())

    def send(self, message: Told | Question | Ended | Failed) -> None:
        """Send a message."""
        try:
            self._connection.send(message)
        except OSError as error:
            raise _Gone from error

    def _answer(self, message: Told | Question) -> object:
        self.send(message)
        return self._receive()

    def _receive(self) -> object:
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise _Gone from error


def _outcome(order: Order | Export, kind: Kind, setting: Setting, driver: _Driver) -> Ended | Failed:
    try:
        if isinstance(order, Order):
            candidate = attempt(order, kind, setting, driver)
        else:
            candidate = export(read_candidate(setting.work, order.name), kind, setting, order.stop_at)
    except Pruned:
        return Failed("pruned", pruned=True)
    except _Gone:
        raise
    except Exception as error:  # a model that cannot be trained or exported is one trial less
        traceback.print_exc()
        return Failed(f"{type(error).__name__}: {error}")
    return Ended(candidate.about.loss, candidate.about.name)


def _threads(n_threads: int) -> dict[str, str]:
    """Return the variables that bound the threads of the libraries."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {name: str(n_threads) for name in names} | {"TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def _leave_with(parent: int) -> None:
    """End this process once its driver is gone: a training would go on for nobody."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Run a worker."""
    descriptor, setting_file = int(sys.argv[1]), Path(sys.argv[2])
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    warnings.simplefilter("ignore")  # nobody reads the libraries' advice here; their errors are kept
    setting: Setting = pickle.loads(setting_file.read_bytes())  # noqa: S301 - this run's driver has just written it
    known = {kind.name: kind for kind in kinds()}
    driver = _Driver(Connection(descriptor))
    with suppress(_Gone):
        while True:
            order = driver.order()
            driver.send(_outcome(order, known[order.kind], setting, driver))


if __name__ == "__main__":
    main()
