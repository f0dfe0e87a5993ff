"""What a process with threads and children must know of signals."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_S = 0.5
"""How long a signal may go unnoticed that another thread than the main one was given: its handler runs in the main one,
which must not sleep for longer."""


@contextmanager
def blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Block signals, also for processes that are started meanwhile: each has to unblock them once it can take them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
