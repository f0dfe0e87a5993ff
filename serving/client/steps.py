"""The client's side of the protocol without any I/O: generators that say what to do next.

`Conversation` yields a `Call` and is sent the response, or has the call's error thrown in; or yields a `Wait`. What it
returns is the result. `synchronous` and `asynchronous` drive it over gRPC; tests drive it by hand.

    predict:  learn the inputs (kept) -> bind the data -> calls of as many rows as fit a message -> joined prediction

UNAVAILABLE is tried again after a wait, as long as the deadline allows. When the data does not fit the inputs as they
were learned, or the server refuses them, the inputs are learned anew: the model may have been replaced. Requests name
the bundle that they were made for, so that a successor whose inputs only look the same refuses them too. A
conversation that is tied to one bundle ends where another is served.
"""

import itertools
import math
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from ..contract.errors import BundleError, DeadlineExceeded, InvalidInput, NotReady
from ..contract.tensors import Array
from ..protocol import messages as m
from ..protocol.calls import decode_response, encode_request
from ..protocol.service import DIGEST_PROPERTY, METHODS, OTHER_BUNDLE, Method
from .backoff import Backoff
from .model import ModelInfo, read_metadata
from .prediction import Prediction, joined
from .tables import Data, bind

T = TypeVar("T")

_KEEP_SHARE = 0.5
"""How often what was learned is kept for another call when servers side by side have different bundles."""
_ENVELOPE_BYTES = 4096
"""Room in a message for everything but tensor contents."""


@dataclass(frozen=True, slots=True)
class Call:
    """Send a request; `timeout_s` is None where there is no limit."""

    method: Method
    request: Message
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass."""

    seconds: float


Steps = Generator[Call | Wait, Any, T]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may go into one call.

    Attributes:
        max_rows: rows of one call.
        max_message_bytes: size of one message, either way.
    """

    max_rows: int
    max_message_bytes: int


class Conversation:
    """What one client says to one model. Any number of its generators may be under way at once, in any threads."""

    def __init__(
        self,
        model: str,
        version: str,
        *,
        limits: Limits,
        backoff: Backoff,
        clock: Callable[[], float],
        random: Callable[[], float],
        digest: str = "",
    ) -> None:
        """Store the parts.

        Args:
            model: name of the model.
            version: its version, "" for the newest.
            limits: of one call.
            backoff: waits between attempts.
            clock: seconds, monotonic.
            random: draws from [0, 1).
            digest: of the only bundle that may answer, "" for any.
        """
        self._model = model
        self._version = version
        self._limits = limits
        self._backoff = backoff
        self._clock = clock
        self._random = random
        self._digest = digest
        self._info: ModelInfo | None = None

    def metadata(self, timeout_s: float) -> Steps[ModelInfo]:
        """Ask for the model's metadata."""
        return (yield from self._learn(self._clock() + timeout_s))

    def is_ready(self, timeout_s: float) -> Steps[bool]:
        """Ask once whether the model is ready; a server that cannot be reached is not."""
        request = m.ModelReadyRequest(name=self._model, version=self._version)
        try:
            response = yield _call("ModelReady", request, timeout_s)
        except (NotReady, DeadlineExceeded):
            return False
        return bool(response.ready)

    def predict(
        self, data: Data, outputs: Collection[str] | None, timeout_s: float, request_id: str
    ) -> Steps[Prediction]:
        """Ask for the outputs of some rows, all within `timeout_s`."""
        deadline_s = self._clock() + timeout_s
        info = self._info or (yield from self._learn(deadline_s))
        for attempt in itertools.count():
            try:
                return (yield from self._ask(info, data, outputs, deadline_s, request_id))
            except InvalidInput as error:
                is_other = str(error).startswith(OTHER_BUNDLE)
                if attempt and is_other:
                    # Servers behind one name have different bundles while they are replaced. A draw decides whether to
                    # learn anew: where calls take turns, one server might be asked and another one called for ever.
                    wait_s = self._backoff.wait_s(attempt - 1, self._random())
                    if wait_s >= deadline_s - self._clock():
                        raise
                    yield Wait(wait_s)
                    if self._random() < _KEEP_SHARE:
                        continue
                known = info
                info = yield from self._learn(deadline_s)
                if info == known and not is_other:
                    raise
        raise AssertionError("unreachable: the count is endless")

    def _learn(self, deadline_s: float) -> Steps[ModelInfo]:
        request = m.ModelMetadataRequest(name=self._model, version=self._version)
        response = yield from self._attempt("ModelMetadata", request, deadline_s)
        info = read_metadata(response)
        if self._digest not in {"", info.digest}:
            raise BundleError(
                f"model {self._model!r}: expected the bundle of digest {self._digest!r}, served is {info.digest!r}"
            )
        self._info = info
        return info

    def _ask(
        self, info: ModelInfo, data: Data, outputs: Collection[str] | None, deadline_s: float, request_id: str
    ) -> Steps[Prediction]:
        """Ask for all rows; one bundle answers them all."""
        inputs, n_rows = bind(info.inputs, data)
        size = self._rows_per_call(info, inputs, n_rows, outputs)
        parts: list[Prediction] = []
        start = 0
        while start < n_rows:
            rows = {name: array[start : start + size] for name, array in inputs.items()}
            # Without a digest, the version that answered first is what holds the parts together.
            version = self._version or (parts[0].version if parts and not info.digest else "")
            request = encode_request(
                self._model, rows, list(outputs or ()), model_version=version, request_id=request_id
            )
            if info.digest:
                request.parameters[DIGEST_PROPERTY].string_param = info.digest
            if size > 1 and request.ByteSize() > self._limits.max_message_bytes:
                size = -(-size // 2)  # text is longer than estimated
                continue
            response = yield from self._attempt("ModelInfer", request, deadline_s)
            parts.append(Prediction(decode_response(response), response.model_name, response.model_version, request_id))
            start += size
        return joined(parts)

    def _rows_per_call(
        self, info: ModelInfo, inputs: Mapping[str, Array], n_rows: int, outputs: Collection[str] | None
    ) -> int:
        room = self._limits.max_message_bytes - _ENVELOPE_BYTES
        row_bytes = max(sum(array.nbytes for array in inputs.values()) / n_rows, info.row_bytes(outputs), 1)
        return max(1, min(self._limits.max_rows, n_rows, int(room // row_bytes)))

    def _attempt(self, method: str, request: Message, deadline_s: float) -> Steps[Any]:
        """Call until the server is there to answer.

        Raises:
            NotReady: it was not, and the deadline leaves no time for another attempt.
            DeadlineExceeded: the deadline passed.
        """
        for attempt in itertools.count():
            left_s = deadline_s - self._clock()
            if left_s <= 0:
                raise DeadlineExceeded(f"the deadline passed before {method} could be called")
            try:
                return (yield _call(method, request, left_s))
            except NotReady as error:
                wait_s = self._backoff.wait_s(attempt, self._random())
                if wait_s >= deadline_s - self._clock():
                    error.add_note(f"given up after {attempt + 1} attempts: no time is left for another")
                    raise
            yield Wait(wait_s)
        raise AssertionError("unreachable: the count is endless")


def _call(method: str, request: Message, timeout_s: float) -> Call:
    return Call(METHODS[method], request, timeout_s if math.isfinite(timeout_s) else None)
