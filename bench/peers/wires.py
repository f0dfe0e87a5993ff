"""Connections that send one prepared request again and again, as cheaply as Python can; HTTP/1.1 here, gRPC in `http2`.

On a machine of few cores the client takes its share of them, so nothing is encoded that can be encoded once, and a
response is read no further than its status. Not a general client.
"""

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

Done = Callable[[int, str], None]
"""Called with the token of a call and its status: `OK`, or what the server said instead."""

_MOST_SEND = 1 << 17

LOST = "LOST"
"""The status of calls whose connection broke."""

STATUSES = {
    "0": "OK",
    "1": "CANCELLED",
    "2": "UNKNOWN",
    "3": "INVALID_ARGUMENT",
    "4": "DEADLINE_EXCEEDED",
    "5": "NOT_FOUND",
    "8": "RESOURCE_EXHAUSTED",
    "12": "UNIMPLEMENTED",
    "13": "INTERNAL",
    "14": "UNAVAILABLE",
    "429": "RESOURCE_EXHAUSTED",
    "503": "RESOURCE_EXHAUSTED",
    "200": "OK",
}
"""gRPC's numbers, and HTTP's that mean the same here: too busy."""


class Wire(Protocol):
    """One connection; used by one thread."""

    socket: socket.socket
    under_way: int
    blocked: bool
    """Whether the last `flush` left something; kept by the caller."""

    def can_start(self) -> bool:
        """Say whether another call fits now."""

    def start(self, token: int) -> None:
        """Begin a call; it goes out with the next `flush`."""

    def receive(self) -> None:
        """Read what has come and report the calls that it ends; to be called when the socket is readable."""

    def flush(self) -> bool:
        """Send what waits; returns whether all of it went."""


class Socket:
    """A non-blocking TCP connection and what could not be sent yet."""

    def __init__(self, host: str, port: int, done: Done) -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.under_way = 0
        self.blocked = False
        self._done = done
        self._out: deque[bytes | memoryview] = deque()
        self._closed = False

    def flush(self) -> bool:
        """Send what waits; returns whether all of it went."""
        try:
            while self._out:
                part = self._joined() if len(self._out) > 1 else self._out.popleft()
                self._out.appendleft(part)
                sent = self.socket.send(part)
                self._out.popleft()
                if sent < len(part):
                    self._out.appendleft(memoryview(part)[sent:])
        except BlockingIOError:
            return False
        except OSError:
            self._lose()
        return True

    def _joined(self) -> bytes | memoryview:
        """Take the parts that one call of the system may send; what it costs is by the call."""
        parts = [self._out.popleft()]
        size = len(parts[0])
        while self._out and size + len(self._out[0]) <= _MOST_SEND:
            parts.append(self._out.popleft())
            size += len(parts[-1])
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def _read(self) -> bytes:
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno not in {errno.ECONNRESET, errno.EPIPE}:
                raise
            data = b""
        if not data:
            self._lose()
        return data

    def _lose(self) -> None:
        raise NotImplementedError


class HttpWire(Socket):
    """HTTP/1.1 with keep-alive, one call at a time."""

    def __init__(self, host: str, port: int, path: str, body: bytes, done: Done) -> None:
        super().__init__(host, port, done)
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nAccept: */*\r\n"
        self._request = head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._token = -1
        self._in = b""

    def can_start(self) -> bool:
        """Say whether the connection is idle."""
        return not self._closed and self.under_way == 0

    def start(self, token: int) -> None:
        """Begin a call."""
        self._token, self.under_way = token, 1
        self._out.append(self._request)

    def receive(self) -> None:
        """Read a response, whose length is given or whose chunks end it."""
        self._in += self._read()
        head, separator, body = self._in.partition(b"\r\n\r\n")
        if not separator:
            return
        fields = head.lower()
        place = fields.find(b"content-length:")
        if place >= 0:
            whole = len(body) >= int(fields[place + 15 :].split(b"\r\n", 1)[0])
        else:
            whole = body.endswith(b"0\r\n\r\n")
        if whole:
            self._in = b""
            code = head[9:12].decode()
            self._end(STATUSES.get(code, f"HTTP_{code}"))
            if b"connection: close" in fields:
                self._closed = True

    def _end(self, status: str) -> None:
        if self.under_way:
            self.under_way = 0
            self._done(self._token, status)

    def _lose(self) -> None:
        self._closed = True
        self._out.clear()
        self._end(LOST)
