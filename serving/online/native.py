"""The native front end: ModelInfer over HTTP/2 that is spoken in Rust, outside the interpreter lock.

The library, `pygrpc_native`, hands calls over in batches and takes each answer by its call's id, from any thread, so
that a call that waits holds no thread. Every other method it passes on to the grpcio server, which listens on a private
Unix socket.

It knows no limit on messages: one that is too large is refused only once it has been received and unpacked in full.
Behind a network where that may be abused, serve with grpcio alone.
"""

import socket
import threading
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..contract.errors import ConfigurationError
from ..engine.pool import Pool
from ..protocol.service import METHODS
from .access import Access
from .call_log import CallLog
from .dispatcher import Dispatcher
from .streams import Infer
from .tally import SharedCount

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

_IO_THREADS = 2
"""Each has room for more calls than the interpreter (measured: 15-30 us a call)."""
_MAX_STREAMS = (1 << 31) - 1
"""Calls open on one connection: any number, as with grpcio; what is too much is refused, not kept back."""
_HOLD_S = 1.0
"""How long new calls are held at most while those accepted are answered."""
_SEND_S = 1.0
"""How long answers may take to leave once the last was given."""
_FLUSH_S = 0.05
"""From the last answer's leaving to the closing of its connection. Measured: of answers of 10 MB, two in ten were cut
off without, none with 20 ms."""
_STEP_S = 0.005


def is_installed() -> bool:
    """Return whether the library can be imported here."""
    try:
        import pygrpc_native  # noqa: F401 - whether it can be imported is the question
    except ImportError:
        return False
    return True


class NativeFront:
    """Answers ModelInfer and passes every other method on.

    Order of calls: `start`, `drain`, `close`, once each and from one thread; `close` may follow any of them. Owner: the
    server.
    """

    def __init__(
        self,
        infer: Infer,
        pool: Pool,
        *,
        max_calls: int,
        max_message_bytes: int,
        count: SharedCount | None = None,
        reuse_port: bool = False,
        access: Access | None = None,
        log: CallLog | None = None,
    ) -> None:
        """Store the parts; see `Dispatcher` for most of them. `reuse_port` lets several processes have the port."""
        self._count = count
        self._reuse_port = reuse_port
        self._access = access
        self._log = log
        self._infer = infer
        self._pool = pool
        self._max_calls = max_calls
        self._max_message_bytes = max_message_bytes
        self._front: NativeGrpcFront | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._dispatcher: Dispatcher | None = None
        self._thread: threading.Thread | None = None

    def start(self, address: str, serve_rest: Callable[[str], object]) -> int:
        """Listen on an address.

        Args:
            address: host and port; port 0 picks a free one.
            serve_rest: makes the grpcio server listen on an address that it is given.

        Returns:
            The port.

        Raises:
            ConfigurationError: the address is not to be had.
        """
        self._front = front = _bound(address, reuse_port=self._reuse_port)
        try:
            self._folder = TemporaryDirectory(prefix="widedeep-")
        except OSError as error:
            raise ConfigurationError(
                f"front_end 'native' needs a temporary folder for a socket, and there is none ({error}): set TMPDIR to "
                "one, or front_end to 'grpcio'"
            ) from error
        path = f"{self._folder.name}/grpc.sock"
        serve_rest(f"unix:{path}")
        front.set_fallback(path)
        front.start()
        self._dispatcher = Dispatcher(
            front,
            self._infer,
            self._pool,
            max_calls=self._max_calls,
            max_message_bytes=self._max_message_bytes,
            count=self._count,
            access=self._access,
            log=self._log,
        )
        self._thread = threading.Thread(target=self._dispatcher.run, name="widedeep-dispatcher", daemon=True)
        self._thread.start()
        return front.bound_port

    @property
    def under_way(self) -> int:
        """Calls that have come in and are not ended."""
        return 0 if self._dispatcher is None else self._dispatcher.under_way

    def drain(self, grace_s: float) -> None:
        """Refuse new calls and return when those accepted are answered and their answers sent.

        New calls are held at first, so that callers who wait for their answers let the way become empty.

        Args:
            grace_s: how long calls may take.
        """
        if (dispatcher := self._dispatcher) is None:
            return
        deadline_s = time.monotonic() + grace_s
        dispatcher.hold()
        is_empty = _wait_for(lambda: dispatcher.is_empty, min(_HOLD_S, grace_s))
        dispatcher.release()
        if not is_empty and _wait_for(lambda: dispatcher.is_answered, deadline_s - time.monotonic()):
            _wait_for(lambda: dispatcher.is_empty, _SEND_S)

    def close(self) -> None:
        """End all calls that are left as UNAVAILABLE and let go of the port."""
        if self._front is not None:
            time.sleep(_FLUSH_S)
            self._front.close()
        if self._dispatcher is not None:
            self._dispatcher.cancel()
        if self._thread is not None:
            self._thread.join()
        if self._folder is not None:
            self._folder.cleanup()


def _bound(address: str, *, reuse_port: bool) -> "NativeGrpcFront":
    from pygrpc_native import NativeGrpcFront

    try:
        return NativeGrpcFront(
            _both_families(address),
            [(METHODS["ModelInfer"].path, False)],
            io_threads=_IO_THREADS,
            call_details=True,
            metrics=True,
            keepalive_permit_without_calls=False,
            max_concurrent_streams=_MAX_STREAMS,
            reuse_port=reuse_port,
        )
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address}: is the port in use? ({error})") from error


def _both_families(address: str) -> str:
    """Return an address that takes IPv6 too where it takes any IPv4, as grpcio's does."""
    host, _, port = address.rpartition(":")
    return f"[::]:{port}" if host == "0.0.0.0" and socket.has_dualstack_ipv6() else address  # noqa: S104 - compared


def _wait_for(condition: Callable[[], bool], at_most_s: float) -> bool:
    """Return whether a condition came true in time."""
    deadline_s = time.monotonic() + at_most_s
    while not (is_true := condition()) and time.monotonic() < deadline_s:
        time.sleep(_STEP_S)
    return is_true
