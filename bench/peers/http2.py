"""gRPC over HTTP/2, one prepared message again and again: a request is its frames with another stream number.

Keeps to the server's windows, limits and settings (RFC 9113). Unary calls, no TLS, no push, no padding.
"""

import struct
from collections import deque

import hpack

from .wires import LOST, STATUSES, Done, Socket

_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_MOST_WINDOW = (1 << 31) - 1
_REFUSED_STREAM = 7


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


class GrpcWire(Socket):
    """HTTP/2 with many calls of one gRPC method at once."""

    def __init__(self, host: str, port: int, path: str, message: bytes, done: Done) -> None:
        super().__init__(host, port, done)
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", f"{host}:{port}"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "widedeep-bench"),
        ]
        # The first call puts the headers into the server's table; later ones only name the entries, as any client does.
        encoder = hpack.Encoder()
        self._ends = False
        self._first = encoder.encode(headers, huffman=False)
        self._later = encoder.encode(headers, huffman=False)
        self._body = b"\0" + struct.pack(">I", len(message)) + message
        self._next = 1
        self._tokens: dict[int, int] = {}
        self._windows: dict[int, int] = {}
        self._waiting: deque[tuple[int, int]] = deque()  # (stream, bytes of the body sent)
        self._window, self._initial, self._most_frame, self._most_streams = 65535, 65535, 16384, 1 << 30
        self._in = b""
        self._block = b""
        self._credit = 0
        self._known: dict[bytes, str] = {}
        # No dynamic table towards us: equal header blocks are then equal bytes, decoded once.
        settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, _MOST_WINDOW)
        self._out.append(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings))
        self._out.append(_frame(_WINDOW, 0, 0, struct.pack(">I", _MOST_WINDOW - 65535)))
        self.flush()

    def can_start(self) -> bool:
        """Say whether the server's limit of streams allows another call and the connection lives."""
        return not self._closed and self.under_way < self._most_streams

    def start(self, token: int) -> None:
        """Begin a call; what the server's windows do not admit yet follows as they open."""
        stream, self._next = self._next, self._next + 2
        self._tokens[stream] = token
        self.under_way += 1
        self._out.append(_frame(_HEADERS, _END_HEADERS, stream, self._first if stream == 1 else self._later))
        self._windows[stream] = self._initial
        self._waiting.append((stream, 0))

    def flush(self) -> bool:
        """Send what waits, as far as the server's windows and the socket take it."""
        self._pump()
        while self._out:
            if not super().flush():
                return False
            self._pump()
        return True

    def receive(self) -> None:
        """Read frames."""
        data = self._in + self._read() if self._in else self._read()
        place, end = 0, len(data)
        while end - place >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", data, place)
            stop = place + 9 + (high << 16 | low)
            if stop > end:
                break
            if kind == _DATA:
                self._credit += stop - place - 9
            else:
                self._handle(kind, flags, stream & _MOST_WINDOW, data[place + 9 : stop])
            place = stop
        self._in = data[place:]
        if self._credit > 1 << 28:
            self._out.append(_frame(_WINDOW, 0, 0, struct.pack(">I", self._credit)))
            self._credit = 0

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in {_HEADERS, _CONTINUATION}:
            self._block = self._block + payload if kind == _CONTINUATION else payload
            if kind == _HEADERS:
                self._ends = bool(flags & _END_STREAM)
            if flags & _END_HEADERS and self._ends:
                self._end(stream, self._status(self._block))
        elif kind == _WINDOW:
            (more,) = struct.unpack(">I", payload)
            if stream == 0:
                self._window += more
            elif stream in self._windows:
                self._windows[stream] += more
        elif kind == _PING and not flags & _ACK:
            self._out.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._apply(payload)
            self._out.append(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _RST:
            (code,) = struct.unpack(">I", payload)
            self._end(stream, "RESOURCE_EXHAUSTED" if code == _REFUSED_STREAM else f"RST_{code}")
        elif kind == _GOAWAY:
            self._closed = True

    def _apply(self, payload: bytes) -> None:
        for i in range(0, len(payload), 6):
            key, value = struct.unpack_from(">HI", payload, i)
            if key == 3:
                self._most_streams = value
            elif key == 4:
                for stream in self._windows:
                    self._windows[stream] += value - self._initial
                self._initial = value
            elif key == 5:
                self._most_frame = value

    def _status(self, block: bytes) -> str:
        known = self._known.get(block)
        if known is None:
            fields = {str(name): str(value) for name, value in hpack.Decoder().decode(block)}
            status = fields.get("grpc-status", "2")
            known = self._known[block] = STATUSES.get(status, f"STATUS_{status}")
        return known

    def _pump(self) -> None:
        """Turn waiting bodies into frames as far as the windows go."""
        body, whole = self._body, len(self._body)
        for _ in range(len(self._waiting)):
            if self._window <= 0 or len(self._out) > 64:
                return
            stream, sent = self._waiting.popleft()
            if stream not in self._tokens:
                continue
            room = min(self._window, self._windows[stream], whole - sent)
            self._window -= room
            self._windows[stream] -= room
            while room > 0:
                size = min(room, self._most_frame)
                last = sent + size == whole
                self._out.append(_frame(_DATA, _END_STREAM if last else 0, stream, body[sent : sent + size]))
                sent, room = sent + size, room - size
            if sent < whole:
                self._waiting.append((stream, sent))

    def _end(self, stream: int, status: str) -> None:
        token = self._tokens.pop(stream, None)
        self._windows.pop(stream, None)
        if token is not None:
            self.under_way -= 1
            self._done(token, status)

    def _lose(self) -> None:
        self._closed = True
        self._out.clear()
        self._waiting.clear()
        for stream in list(self._tokens):
            self._end(stream, LOST)
