"""A client in a process of its own: calls one method in a closed loop, or at the times of a Poisson process.

    echo '{"address": ..., ...}' | python bench/peers/caller.py

Reads a `Task` as JSON, prints an `Answer` as JSON. In the open loop a call's latency counts from the time at which it
was due, so that a client or a server that falls behind cannot hide it.
"""

import gc
import json
import math
import random
import select
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers.http2 import GrpcWire
from peers.wires import HttpWire, Wire

_CALLS_A_CONNECTION = 6
"""As perf_analyzer's client library does."""
_OPEN_CONNECTIONS = 8
_MOST_HTTP_CONNECTIONS = 512
_DRAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Task:
    """What to call and how.

    Attributes:
        address: host:port.
        wire: `grpc` or `http`.
        path: the method, or the URL's path.
        body: file with the request message; JSON for HTTP.
        concurrency: calls under way at once in the closed loop; 0 for the open loop.
        rate: calls a second in the open loop.
        seed: of the Poisson process.
        start: when the window begins, in seconds of the monotonic clock; calls before it warm up.
        window_s: length of the window.
    """

    address: str
    wire: str
    path: str
    body: str
    start: float
    window_s: float
    concurrency: int = 0
    rate: float = 0.0
    seed: int = 0


@dataclass(slots=True)
class Answer:
    """What came of the calls of the window.

    Attributes:
        completed: calls answered OK within the window, whenever they began.
        statuses: status -> calls that began in the window.
        latencies_us: percentile -> microseconds of the accepted calls that began in the window.
        refused_us: the same of refused calls.
        unsent: calls that were due in the window but never sent, for want of a connection.
        cpu_s: processor time of this process over the window.
    """

    completed: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    latencies_us: dict[str, float] = field(default_factory=dict)
    refused_us: dict[str, float] = field(default_factory=dict)
    unsent: int = 0
    cpu_s: float = 0.0


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and the largest of values, by the nearest rank; nothing of none."""
    ordered = sorted(values)
    if not ordered:
        return {}
    ranks = {f"p{p}": ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)] for p in (50, 90, 99)}
    return {**ranks, "max": ordered[-1]}


class Caller:
    """Runs one task; one thread, used once."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._wires: list[Wire] = []
        self._by_file: dict[int, Wire] = {}
        self._epoll = select.epoll()
        self._dirty: set[Wire] = set()
        self._begun: dict[int, float] = {}
        self._tokens = 0
        self._stop = task.start + task.window_s
        self._answer = Answer()
        self._statuses: Counter[str] = Counter()
        self._accepted: list[float] = []
        self._refused: list[float] = []
        self._ended = 0

    def run(self) -> Answer:
        """Call until the window ends, wait for what is under way, and return what came of it."""
        task = self._task
        wanted = -(-task.concurrency // _CALLS_A_CONNECTION) if task.concurrency else _OPEN_CONNECTIONS
        for _ in range(max(wanted, task.concurrency) if task.wire == "http" else wanted):
            self._connect()
        if task.concurrency:
            self._closed_loop()
        else:
            self._open_loop()
        deadline = time.monotonic() + _DRAIN_S
        while self._begun and time.monotonic() < deadline:
            self._poll(0.05)
        late = sum(1 for begun in self._begun.values() if task.start <= begun < self._stop)
        if late:
            self._statuses["UNANSWERED"] += late
        self._answer.statuses = dict(self._statuses)
        self._answer.latencies_us = percentiles(self._accepted)
        self._answer.refused_us = percentiles(self._refused)
        return self._answer

    def _closed_loop(self) -> None:
        busy = False
        before = time.process_time()
        while (now := time.monotonic()) < self._stop:
            if not busy and now >= self._task.start:
                busy, before = True, time.process_time()
            while len(self._begun) < self._task.concurrency:
                if (wire := self._free()) is None:
                    break
                self._start(wire, time.monotonic())
            self._poll(0.01)
        self._answer.cpu_s = time.process_time() - before

    def _open_loop(self) -> None:
        rng = random.Random(self._task.seed)  # noqa: S311 - a schedule, no secret
        rate = self._task.rate
        due: deque[float] = deque()
        next_due = time.monotonic() + rng.expovariate(rate)
        busy = False
        before = time.process_time()
        while (now := time.monotonic()) < self._stop:
            if not busy and now >= self._task.start:
                busy, before = True, time.process_time()
            while next_due <= now:
                due.append(next_due)
                next_due += rng.expovariate(rate)
            while due and (wire := self._free()) is not None:
                self._start(wire, due.popleft())
            self._poll(max(0.0, min(next_due - time.monotonic(), 0.01)))
        self._answer.cpu_s = time.process_time() - before
        self._answer.unsent = sum(1 for at in due if at >= self._task.start)

    def _free(self) -> Wire | None:
        """Return the connection with the fewest calls that takes another one."""
        if self._task.wire == "grpc":
            wire = min(self._wires, key=lambda w: w.under_way if w.can_start() else 1 << 30)
            return wire if wire.can_start() else None
        while self._wires:
            wire = self._wires.pop()
            if wire.can_start():
                return wire
            self._forget(wire)
        return self._connect(kept=False) if len(self._by_file) < _MOST_HTTP_CONNECTIONS else None

    def _connect(self, *, kept: bool = True) -> Wire:
        task = self._task
        host, _, port = task.address.rpartition(":")
        body = Path(task.body).read_bytes()
        if task.wire == "grpc":
            wire: Wire = GrpcWire(host, int(port), task.path, body, self._done)
        else:
            wire = HttpWire(host, int(port), task.path, body, self._done)
        if kept:
            self._wires.append(wire)
        self._by_file[wire.socket.fileno()] = wire
        self._epoll.register(wire.socket.fileno(), select.EPOLLIN)
        return wire

    def _forget(self, wire: Wire) -> None:
        self._by_file.pop(wire.socket.fileno(), None)
        self._dirty.discard(wire)
        wire.socket.close()

    def _start(self, wire: Wire, begun: float) -> None:
        token, self._tokens = self._tokens, self._tokens + 1
        self._begun[token] = begun
        wire.start(token)
        self._dirty.add(wire)

    def _flush(self, wire: Wire) -> None:
        blocked = not wire.flush()
        if blocked != wire.blocked:
            wire.blocked = blocked
            self._epoll.modify(wire.socket.fileno(), select.EPOLLIN | (select.EPOLLOUT if blocked else 0))

    def _poll(self, wait_s: float) -> None:
        """Send what has been begun, all of a connection at once, and take what comes within a time."""
        for started in self._dirty:
            self._flush(started)
        self._dirty.clear()
        # epoll counts in milliseconds, select in microseconds.
        if 0 < wait_s < 0.002:
            select.select([self._epoll], [], [], wait_s)
            wait_s = 0
        for number, _ in self._epoll.poll(wait_s):
            if (wire := self._by_file.get(number)) is None:
                continue
            was_busy = wire.under_way
            wire.receive()
            if self._task.wire == "http" and was_busy and not wire.under_way:
                self._wires.append(wire)
            self._dirty.add(wire)

    def _done(self, token: int, status: str) -> None:
        now, begun = time.monotonic(), self._begun.pop(token)
        if status == "OK" and self._task.start <= now < self._stop:
            self._answer.completed += 1
        if self._task.start <= begun < self._stop:
            self._statuses[status] += 1
            if status == "OK":
                self._accepted.append((now - begun) * 1e6)
            elif status == "RESOURCE_EXHAUSTED":
                self._refused.append((now - begun) * 1e6)


def main() -> None:
    """Run the task on standard input."""
    task = Task(**json.load(sys.stdin))
    gc.disable()
    print(json.dumps(asdict(Caller(task).run())))


if __name__ == "__main__":
    main()
