"""Measure what a call costs the server, front end by front end: CPU time of its process tree per call, and latency.

    python bench/front_ends.py [--rounds 5] [--seconds 2] [--callers 1 16] [--only native]

Each front end answers ModelInfer twice over: `empty`, where the handler returns the same bytes every time, which is the
least that a call can cost there, and `bundle`, where `widedeep serve` runs a tiny real bundle. All servers run all the
time and are called in turns; the callers are threads of up to four processes, whose CPU time does not count.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[1]
METHOD = "/inference.GRPCInferenceService/ModelInfer"
ANSWER = bytes(200)
"""About as long as the bundle's answer."""
PROCESSES = 4
WARM_UP_S = 0.3

SERVE = [sys.executable, "-m", "widedeep.serving.cli", "serve"]
EMPTY = [sys.executable, __file__, "--serve-empty"]
CONTENDERS = {
    "empty: grpcio, 4 threads": [*EMPTY, "grpcio", "4"],
    "empty: grpcio, 16 threads": [*EMPTY, "grpcio", "16"],
    "empty: grpcio, 64 threads": [*EMPTY, "grpcio", "64"],
    "empty: grpc.aio": [*EMPTY, "aio", "1"],
    "empty: native": [*EMPTY, "native", "1"],
    "bundle: grpcio, 4 threads": [*SERVE, "--front-end", "grpcio", "--handler-threads", "4"],
    "bundle: grpcio, 16 threads": [*SERVE, "--front-end", "grpcio", "--handler-threads", "16"],
    "bundle: grpcio, 64 threads": [*SERVE, "--front-end", "grpcio", "--handler-threads", "64"],
    "bundle: native": [*SERVE, "--front-end", "native"],
}


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of one contender.

    Attributes:
        cpu_us: CPU time of the server's process tree per call.
        calls_per_s: calls answered a second.
        p50_us: median latency.
        p99_us: 99th percentile of it.
    """

    cpu_us: float
    calls_per_s: float
    p50_us: float
    p99_us: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every contender with every number of callers and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one turn")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16], help="calls under way at once")
    parser.add_argument("--only", default="", help="contenders whose names contain this")
    parser.add_argument("--serve-empty", nargs=2, metavar=("KIND", "THREADS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve_empty:
        kind, threads = arguments.serve_empty
        {"grpcio": _serve_grpcio, "aio": _serve_aio, "native": _serve_native}[kind](int(threads))
        return 0
    # The builders of tests: a repository of one tiny bundle, and a request for it.
    sys.path.insert(0, str(ROOT / "tests"))
    from small_bundle import make_bundle
    from triton_calls import request_message

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        make_bundle(Path(folder, "animals", "1"))
        servers = {
            name: stack.enter_context(_started([*command, folder] if command[1] == "-m" else command))
            for name, command in CONTENDERS.items()
            if arguments.only in name
        }
        spawn = multiprocessing.get_context("spawn")
        processes = stack.enter_context(ProcessPoolExecutor(PROCESSES, mp_context=spawn))
        request = request_message(1).SerializeToString()
        for n_callers in arguments.callers:
            callers = Callers(processes, request, n_callers, arguments.seconds)
            rounds: dict[str, list[Round]] = {name: [] for name in servers}
            for _ in range(arguments.rounds):
                for name, server in servers.items():
                    rounds[name].append(callers.call(*server))
            print(f"\n1 row x {n_callers}, medians of {arguments.rounds} rounds\n{_table(rounds)}", flush=True)
    return 0


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Run a server; yields its process id and address."""
    environment = {**os.environ, "WIDEDEEP_HOST": "127.0.0.1", "WIDEDEEP_PORT": "0", "WIDEDEEP_DRAIN_WAIT_S": "0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            for line in process.stdout or ():
                if match := re.match(r"listening on (\S+)", line.decode()):
                    yield process.pid, match[1]
                    break
            else:
                sys.exit(f"{' '.join(command)} did not start")
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class Callers:
    """Some callers at once, who send one request over and over for some seconds."""

    processes: ProcessPoolExecutor
    request: bytes
    number: int
    seconds: float

    def call(self, pid: int, address: str) -> Round:
        """Call the server that is that process."""
        n_processes = min(self.number, PROCESSES)
        start = time.time() + WARM_UP_S
        shares = [self.number // n_processes + (i < self.number % n_processes) for i in range(n_processes)]
        running = [
            self.processes.submit(_call, address, self.request, n_threads=share, start=start, seconds=self.seconds)
            for share in shares
        ]
        time.sleep(max(0.0, start - time.time()))
        before = _cpu_s(pid)
        time.sleep(max(0.0, start + self.seconds - time.time()))
        cpu_s = _cpu_s(pid) - before
        latencies = sorted(latency for process in running for latency in process.result())
        p50, p99 = (latencies[int(len(latencies) * q)] for q in (0.5, 0.99))
        return Round(1e6 * cpu_s / len(latencies), len(latencies) / self.seconds, 1e6 * p50, 1e6 * p99)


def _call(address: str, request: bytes, *, n_threads: int, start: float, seconds: float) -> list[float]:
    """Call until the end; returns the latencies of the calls after the start."""
    latencies: list[float] = []
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(METHOD)

        def run() -> None:
            while (sent := time.time()) < start + seconds:
                call(request)
                if sent >= start:
                    latencies.append(time.time() - sent)

        threads = [threading.Thread(target=run) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return latencies


def _cpu_s(pid: int) -> float:
    """Return the CPU time that a process and its descendants have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    return own + sum(map(_cpu_s, children))


def _table(rounds: dict[str, list[Round]]) -> str:
    lines = [["", "CPU us/call", "from", "to", "calls/s", "p50 us", "p99 us"]]
    for name, turns in rounds.items():
        costs = [turn.cpu_us for turn in turns]
        others = zip(*((turn.calls_per_s, turn.p50_us, turn.p99_us) for turn in turns), strict=True)
        figures = [statistics.median(costs), min(costs), max(costs), *map(statistics.median, others)]
        lines.append([name, *(f"{figure:,.0f}" for figure in figures)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join(map("  ".join, rows))


class _Empty(grpc.GenericRpcHandler):
    """Answers every call with the same bytes."""

    def __init__(self, behavior: Callable[..., object]) -> None:
        self._handler = grpc.unary_unary_rpc_method_handler(behavior)

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._handler


def _serve_grpcio(n_threads: int) -> None:
    server = grpc.server(ThreadPoolExecutor(n_threads))
    server.add_generic_rpc_handlers((_Empty(lambda *_: ANSWER),))
    _announce(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def _serve_aio(_: int) -> None:
    async def answer(*_: object) -> bytes:
        return ANSWER

    async def serve() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Empty(answer),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        _announce(port)
        await server.wait_for_termination()

    asyncio.run(serve())


def _serve_native(_: int) -> None:
    from pygrpc_native import NativeGrpcFront

    front = NativeGrpcFront("127.0.0.1:0", [(METHOD, False)], call_details=True, metrics=True)
    front.start()
    _announce(front.bound_port)
    while (events := front.recv_batch_details(64)) is not None:
        for event in events:
            front.respond(event[1], ANSWER)


def _announce(port: int) -> None:
    print(f"listening on 127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
