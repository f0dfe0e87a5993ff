"""Calls that were refused before they reached a model, by reason; those that reached one are counted there."""

import threading
from collections.abc import Callable

from ...contract.errors import NotReady, TooLarge, WidedeepError

_OF_STATUS = {
    "CANCELLED": "cancelled",
    "DEADLINE_EXCEEDED": "deadline",
    "INVALID_ARGUMENT": "invalid",
    "NOT_FOUND": "unknown_model",
    "PERMISSION_DENIED": "forbidden",
    "RESOURCE_EXHAUSTED": "overloaded",
    "UNAUTHENTICATED": "unauthenticated",
    "UNIMPLEMENTED": "unsupported",
}
REASONS = (*_OF_STATUS.values(), "draining", "not_ready", "too_large", "internal")
"""Every reason there is: a label's values must not come from requests."""


class Refusals:
    """Counts of errors. Any method may be called from any thread. Owner: the observer."""

    def __init__(self, is_ready: Callable[[], bool] = lambda: True) -> None:
        """Start at zero.

        Args:
            is_ready: whether the server accepts work: what is not ready else is a server that starts or drains.
        """
        self._is_ready = is_ready
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(REASONS, 0)

    def count(self, error: Exception) -> None:
        """Count one refused call."""
        reason = self._reason(error)
        with self._lock:
            self._counts[reason] += 1

    def counts(self) -> dict[str, int]:
        """Return how many calls were refused so far, for every reason there is."""
        with self._lock:
            return dict(self._counts)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, NotReady):
            return "not_ready" if self._is_ready() else "draining"
        if isinstance(error, TooLarge):
            return "too_large"
        return _OF_STATUS.get(error.status, "internal") if isinstance(error, WidedeepError) else "internal"
