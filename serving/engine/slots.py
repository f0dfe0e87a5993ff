"""The right to compute: as many slots as cores, handed on in the order in which they were asked for."""

import threading
from collections import deque


class Slots:
    """A number of slots. Every method may be called from any thread."""

    def __init__(self, n: int) -> None:
        """Start with all of them free."""
        self._lock = threading.Lock()
        self._free = n
        self._waiters: deque[threading.Lock] = deque()

    @property
    def free(self) -> int:
        """Slots that nobody has."""
        return self._free

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for one."""
        return bool(self._waiters)

    def take(self) -> None:
        """Take a slot, after those who asked before."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            waiter = threading.Lock()
            waiter.acquire()
            self._waiters.append(waiter)
        try:
            waiter.acquire()
        except BaseException:  # KeyboardInterrupt: nobody is here to take what comes
            with self._lock:
                is_handed_over = waiter not in self._waiters
                if not is_handed_over:
                    self._waiters.remove(waiter)
            if is_handed_over:
                self.give_back()
            raise

    def try_take(self, n: int = 1) -> bool:
        """Take `n` slots if so many are free; return whether they were."""
        with self._lock:
            if self._free < n:
                return False
            self._free -= n
            return True

    def give_back(self, n: int = 1) -> None:
        """Give slots back: each to who has waited longest, if anybody does."""
        with self._lock:
            for _ in range(n):
                if self._waiters:
                    self._waiters.popleft().release()
                else:
                    self._free += 1
