"""A call beside its message: the id it goes by in logs and answers, and what came along with it.

The id is the request's own (`id` of the message), else that of the caller's `x-request-id`, else a new one. It comes
back as `x-request-id` in the trailing metadata of every answer and error, so it is spelled in characters that may stand
there, and cut to a length that does no harm.
"""

import random
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from .stages import Stages

REQUEST_ID = "x-request-id"
_MAX_CHARACTERS = 128
_LEGIBLE = re.compile(rf"[!-~]{{1,{_MAX_CHARACTERS}}}")
_SAFE = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}~"

Metadata = Sequence[tuple[str, str | bytes]]


class Call:
    """One call, or one request of a stream. It belongs to one thread at a time.

    Attributes:
        method: its name, without the service's.
        metadata: what came with it.
        started_s: when it came, on the clock of `time.monotonic`.
        stages: where its stages are noted; None unless it is sampled.
        reached_model: whether it found its model, which counts it from there on.
    """

    __slots__ = ("_id", "metadata", "method", "reached_model", "stages", "started_s")

    def __init__(self, method: str, metadata: Metadata, given: str = "") -> None:
        """Begin a call.

        Args:
            method: its name.
            metadata: what came with it.
            given: the id that its message gives; `identify` may do that later.
        """
        self.method = method
        self.metadata = metadata
        self.started_s = time.monotonic()
        self.stages: Stages | None = None
        self.reached_model = False
        self._id = spelled(given) if given else ""

    def identify(self, given: str) -> None:
        """Take the id of the message, if it gives one."""
        if given:
            self._id = spelled(given)

    @property
    def id(self) -> str:
        """The id that the call goes by."""
        if not self._id:
            self._id = self._sent() or f"{random.getrandbits(64):016x}"
        return self._id

    @property
    def trailer(self) -> tuple[tuple[str, str], ...]:
        """The metadata to end the call with."""
        return ((REQUEST_ID, self.id),)

    def _sent(self) -> str:
        for key, value in self.metadata:
            if key == REQUEST_ID and isinstance(value, str):
                return spelled(value)
        return ""


def spelled(given: str) -> str:
    """Return an id in at most 128 visible characters of ASCII, others percent-encoded."""
    if _LEGIBLE.fullmatch(given):
        return given
    return quote(given[:_MAX_CHARACTERS], safe=_SAFE, errors="replace")[:_MAX_CHARACTERS]
