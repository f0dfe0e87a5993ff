"""What every handler does with its call: run on the right threads, read bytes and deadline, fail with a status."""

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

_MAX_MESSAGE_BYTES = 2000
"""A status travels percent-encoded, which triples it at worst, in metadata, of which peers take 8 KiB as a rule: a
longer message would turn the call into another error altogether."""

_REFUSAL_THREADS = 2

MessageType = TypeVar("MessageType", bound=Message)


class HandlerPool(ThreadPoolExecutor):
    """Threads for calls, and some for refusals, so that what is too much is refused at once, not when its turn comes.

    gRPC's own queue has no bound, and its handlers cannot be refused but by running them; those that run here where
    `is_full` must refuse.

    Attributes:
        max_under_way: calls that may wait or be handled at once.
    """

    def __init__(self, max_workers: int, name: str, max_waiting: int, under_way: SharedCount | None = None) -> None:
        """Prepare the threads; they start when first needed.

        Args:
            max_workers: threads, and so calls handled at once.
            name: what theirs begin with.
            max_waiting: calls that may wait for a thread, of all processes as if they were one with as many threads
                as each of them has.
            under_way: the count of calls that wait or are handled, where several processes share the limit.
        """
        super().__init__(max_workers, thread_name_prefix=name)
        self._lock = threading.Lock()
        self.max_under_way = max_workers + max_waiting
        self._under_way = under_way or Tally()
        self._here = _Here()
        self._refusals = ThreadPoolExecutor(_REFUSAL_THREADS, f"{name}-refusal", initializer=self._here.refuse)

    @property
    def n_under_way(self) -> int:
        """Calls of this process that wait or are handled."""
        return self._under_way.own

    @property
    def is_full(self) -> bool:
        """Whether the call on this thread is one too many."""
        return self._here.refuses

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call and count it until it has ended; one too many goes to a thread that refuses."""

        def run() -> Any:
            try:
                return fn(*args, **kwargs)
            finally:
                with self._lock:
                    self._under_way.own -= 1

        with self._lock:
            if self._under_way.own + self._under_way.elsewhere() >= self.max_under_way:
                return self._refusals.submit(fn, *args, **kwargs)
            self._under_way.own += 1
        return super().submit(run)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads go once their calls are answered."""
        self._refusals.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


class _Here(threading.local):
    """Whether a thread is one that refuses."""

    refuses = False

    def refuse(self) -> None:
        self.refuses = True


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
    context.abort(*told(error))
    raise AssertionError("abort always raises")


def told(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return what the caller is told of an error; of an unexpected one that is nothing but INTERNAL.

    A long message, which may repeat a name or shape from the request, is cut.
    """
    if isinstance(error, WidedeepError):
        return status_of(error), cut(str(error))
    return grpc.StatusCode.INTERNAL, "internal error; the server's log has the details"


def cut(message: str, limit: int = _MAX_MESSAGE_BYTES) -> str:
    """Return a message with what is beyond so many bytes left out."""
    data = message.encode(errors="replace")
    if len(data) <= limit:
        return message
    return f"{data[:limit].decode(errors='ignore')} ... ({len(data)} bytes)"
