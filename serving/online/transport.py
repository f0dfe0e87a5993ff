"""What every handler does with its call: run on the right threads, read bytes and deadline, fail with a status."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from ..contract.errors import InvalidInput, WidedeepError
from ..protocol.codec import FOREVER_S
from ..protocol.statuses import status_of
from .tally import SharedCount, Tally

_LOG = logging.getLogger(__name__)

_MAX_MESSAGE_BYTES = 2000
"""A status travels percent-encoded, which triples it at worst, in metadata, of which peers take 8 KiB as a rule: a
longer message would turn the call into another error altogether."""

MessageType = TypeVar("MessageType", bound=Message)


class HandlerPool(ThreadPoolExecutor):
    """Threads for calls, which knows how many calls wait for one. gRPC's own queue has no bound."""

    def __init__(self, max_workers: int, name: str, under_way: SharedCount | None = None) -> None:
        """Prepare the threads; they start when first needed.

        Args:
            max_workers: threads, and so calls handled at once.
            name: what theirs begin with.
            under_way: the count of calls that wait or are handled, where several processes share the limit.
        """
        super().__init__(max_workers, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._n_threads = max_workers
        self._under_way = under_way or Tally()

    @property
    def waiting(self) -> int:
        """How many calls wait, of all processes as if they were one with as many threads as each of them has."""
        return max(0, self._under_way.own + self._under_way.elsewhere() - self._n_threads)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call and count it until it has ended."""

        def run() -> Any:
            try:
                return fn(*args, **kwargs)
            finally:
                with self._lock:
                    self._under_way.own -= 1

        with self._lock:
            self._under_way.own += 1
        return super().submit(run)


def on_threads(
    pool: ThreadPoolExecutor, behavior: Callable[..., Any], *, non_blocking: bool = False
) -> Callable[..., Any]:
    """Make gRPC run a handler on its own threads (the hooks that grpcio's health service uses).

    Args:
        pool: the threads.
        behavior: the handler; what is passed to it is passed on.
        non_blocking: whether it returns at once and sends its responses through a third argument, a callable that
            takes a response, or None as the end.
    """

    def wrapper(*arguments: Any) -> Any:
        return behavior(*arguments)

    wrapper.experimental_thread_pool = pool  # type: ignore[attr-defined]  # an attribute by contract with grpcio
    wrapper.experimental_non_blocking = non_blocking  # type: ignore[attr-defined]  # the same
    return wrapper


def parsed(message_class: type[MessageType], data: bytes) -> MessageType:
    """Return the message that bytes spell.

    Raises:
        InvalidInput: they spell none.
    """
    try:
        return message_class.FromString(data)
    except DecodeError:
        raise InvalidInput(f"the {len(data)} bytes received are not a {message_class.DESCRIPTOR.name}") from None


def time_left_s(context: grpc.ServicerContext) -> float | None:
    """Return seconds until the caller's deadline; grpcio says infinitely many or None for a call without one."""
    left_s = context.time_remaining()
    return None if left_s is None or left_s > FOREVER_S else left_s


def abort(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End a call with an error's status and message."""
    context.abort(*status_and_message(error))
    raise AssertionError("abort always raises")


def status_and_message(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return what the caller is told; an unexpected error is logged in full and told as nothing but INTERNAL.

    A long message, which may repeat a name or shape from the request, is cut.
    """
    if isinstance(error, WidedeepError):
        return status_of(error), _cut(str(error))
    _LOG.error("unexpected error", exc_info=error)
    return grpc.StatusCode.INTERNAL, "internal error; the server's log has the details"


def _cut(message: str) -> str:
    data = message.encode(errors="replace")
    if len(data) <= _MAX_MESSAGE_BYTES:
        return message
    return f"{data[:_MAX_MESSAGE_BYTES].decode(errors='ignore')} ... ({len(data)} bytes)"
