"""How far a push or pull is, for a person at a terminal."""

import sys
import threading
import time
from typing import TextIO

_PERIOD_S = 0.5
KIB = 1 << 10
MIB = 1 << 20


class Progress:
    """Counts bytes, and shows them where somebody looks. `add` may be called from any thread.

    Order of calls: `begin`, any number of `add`, `end`; then again.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Show progress on `stream`; nowhere without one."""
        self._stream = stream
        self._lock = threading.Lock()
        self._what = ""
        self._total = self._done = 0
        self._began = self._shown = 0.0

    @classmethod
    def on_terminal(cls) -> "Progress":
        """Return progress that is shown on stderr if that is a terminal."""
        return cls(sys.stderr if sys.stderr.isatty() else None)

    def begin(self, what: str, n_bytes: int) -> None:
        """Start to count for something of this size."""
        self._what, self._total, self._done = what, n_bytes, 0
        self._began = self._shown = time.monotonic()

    def add(self, n_bytes: int) -> None:
        """Count what was moved."""
        with self._lock:
            self._done += n_bytes
            now = time.monotonic()
            if self._stream is None or now - self._shown < _PERIOD_S:
                return
            self._shown = now
            rate = self._done / MIB / (now - self._began)
            done, total = self._done / MIB, self._total / MIB
            self._stream.write(f"\r{self._what}: {done:.0f} of {total:.0f} MiB, {rate:.0f} MiB/s\x1b[K")
            self._stream.flush()

    def end(self) -> int:
        """Clear what is shown; returns the bytes counted."""
        if self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        return self._done
