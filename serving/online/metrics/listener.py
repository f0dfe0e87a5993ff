"""A small HTTP/1.1 server for what is read only: one request a connection, everything about it bounded.

One thread reads all connections as their bytes come, so a client that sends slowly, or not at all, holds neither a
thread nor anybody up; it is cut off after `READ_S`, or before that when it is the longest to dawdle of as many as may
be open. A complete request is answered on one of a few threads.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

from ...contract.errors import ConfigurationError

_LOG = logging.getLogger(__name__)

READ_S = 5.0
"""How long a request may take to come."""
WRITE_S = 10.0
"""How long an answer may take to go."""
_LINGER_S = 0.5
"""How long to wait for the client to close: closing on bytes unread would take the answer back."""
_PAUSE_S = 1.0
"""How long to wait when no connection can be taken."""
_MAX_HEAD_BYTES = 8192
_MAX_OPEN = 256
"""Connections open at once."""
_MAX_WAITING = 32
"""Requests that may wait for a thread; several scrapers and pages are far below it."""
_THREADS = 4
_WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - to recognise them


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request; names of headers are in lower case. A body is not read."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; the listener adds what belongs to the connection."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def plain(status: HTTPStatus, **headers: str) -> Response:
    """Return a response that says no more than its status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, f"{status.value} {status.phrase}\n".encode(), headers=named)


class Listener:
    """Answers requests. Order of calls: `start`, then `stop`, from any one thread. Owner: the server.

    Attributes:
        port: where it listens, once started.
    """

    def __init__(self, respond: Callable[[Request], Response]) -> None:
        """Store what answers a request; it is called on several threads at once."""
        self._respond = respond
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="widedeep-http", daemon=True)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="widedeep-http")
        self._reading: dict[asyncio.Task[None], None] = {}
        self._open: dict[asyncio.Task[None], socket.socket] = {}
        self._listening: list[socket.socket] = []
        self._n_answering = 0
        self.port = 0

    def start(self, host: str, port: int) -> None:
        """Listen.

        Args:
            host: a name or address; as for gRPC, a wildcard is for both families.
            port: 0 picks a free one.

        Raises:
            ConfigurationError: they are not to be had.
        """
        sockets = _bound(host, port)
        self.port = int(sockets[0].getsockname()[1])
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(sockets), self._loop).result()

    def stop(self) -> None:
        """Close the port and every connection; what is being answered is given a moment."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._pool.shutdown(wait=False)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _begin(self, sockets: list[socket.socket]) -> None:
        self._listening = sockets
        for each in sockets:
            each.setblocking(False)
            self._loop.add_reader(each, self._take, each)

    async def _end(self) -> None:
        for each in self._listening:
            self._loop.remove_reader(each)
            each.close()
        for task in self._reading:
            task.cancel()
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=_LINGER_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _take(self, listening: socket.socket) -> None:
        """Take a connection that waits.

        Done here because asyncio's own server leaves a connection open that it has just taken when it is closed.
        """
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:  # out of file descriptors, as a rule
            _LOG.warning("connections cannot be taken: %s", error)
            self._loop.remove_reader(listening)
            self._loop.call_later(_PAUSE_S, self._retry, listening)
            return
        if len(self._open) >= _MAX_OPEN and not self._make_room():
            connection.close()
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._serve(connection))
        self._open[task] = connection
        self._reading[task] = None
        task.add_done_callback(self._close)

    def _retry(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._take, listening)

    def _make_room(self) -> bool:
        """Cut off the client that has dawdled longest; return whether there was one."""
        if (victim := next(iter(self._reading), None)) is None:
            return False
        del self._reading[victim]
        return victim.cancel()

    def _close(self, task: "asyncio.Task[None]") -> None:
        """Close a connection, also one whose task was cancelled before it began."""
        self._reading.pop(task, None)
        self._open.pop(task).close()

    async def _serve(self, connection: socket.socket) -> None:
        """Answer one connection's request."""
        reader, writer = await asyncio.open_connection(sock=connection, limit=_MAX_HEAD_BYTES)
        writer.transport.set_write_buffer_limits(0)  # so that a drained answer has left
        try:
            response, with_body = await self._response(reader)
            if response is not None:
                await _send(reader, writer, response, with_body=with_body)
        except (OSError, TimeoutError) as error:
            _LOG.debug("a connection ended early: %s", error)
        finally:
            writer.transport.abort()

    async def _response(self, reader: asyncio.StreamReader) -> tuple[Response | None, bool]:
        """Return the answer to the request that comes, and whether its body is wanted; None if none comes."""
        try:
            async with asyncio.timeout(READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return plain(HTTPStatus.REQUEST_TIMEOUT), True
        except asyncio.LimitOverrunError:
            return plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), True
        except asyncio.IncompleteReadError:
            return None, False
        finally:
            if (task := asyncio.current_task()) is not None:
                self._reading.pop(task, None)
        request = _parsed(head)
        if request is None:
            return plain(HTTPStatus.BAD_REQUEST), True
        return await self._answer(request), request.method != "HEAD"

    async def _answer(self, request: Request) -> Response:
        """Answer on a thread, unless too many wait for one."""
        if self._n_answering >= _MAX_WAITING:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, Retry_After="1")
        self._n_answering += 1
        try:
            return await self._loop.run_in_executor(self._pool, self._respond, request)
        except Exception:
            _LOG.exception("%s %s failed", request.method, request.path)
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        finally:
            self._n_answering -= 1


async def _send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, response: Response, *, with_body: bool
) -> None:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Date": formatdate(usegmt=True),
        "Connection": "close",
        **response.headers,
    }
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}", *map(": ".join, headers.items())]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    async with asyncio.timeout(WRITE_S):
        writer.write(head + response.body if with_body else head)
        await writer.drain()
    writer.write_eof()
    async with asyncio.timeout(_LINGER_S):
        while await reader.read(_MAX_HEAD_BYTES):
            pass


def _parsed(head: bytes) -> Request | None:
    """Return the request that these lines spell, or None if they spell none.

    Source: RFC 9112, sections 3 and 5; of its forms of targets only the one with a path is of use here.
    """
    first, *lines = head.decode("latin-1")[: -len("\r\n\r\n")].split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[1].startswith("/") or words[2] not in {"HTTP/1.0", "HTTP/1.1"}:
        return None
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return None
        headers[name.lower()] = value.strip()
    return Request(words[0], words[1].partition("?")[0], headers)


def _bound(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen, one for each address of the host."""
    bound: list[socket.socket] = []
    try:
        if host in _WILDCARDS and socket.has_dualstack_ipv6():
            return [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)]
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found):
            port = bound[0].getsockname()[1] if bound else port
            bound.append(socket.create_server((address, port), family=family))
    except OSError as error:
        for each in bound:
            each.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise ConfigurationError(
            f"cannot serve metrics and health on {where}: is the port in use? ({error}) Set metrics_host and "
            "metrics_port to what is free here, or metrics to false"
        ) from error
    return bound
