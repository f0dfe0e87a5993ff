"""Real `widedeep serve` processes of a test's own, and callers that call all the time and keep the book on failures."""

import contextlib
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
from tritonclient.grpc import InferenceServerClient
from waiting import wait_for
from widedeep.serving.contract.errors import WidedeepError

Opener = Callable[[], AbstractContextManager[Callable[[], object]]]
"""Opens a client, as something to call."""


class Command:
    """A real `widedeep serve` in a process of its own, on a free port unless one is given; `kill` comes last."""

    def __init__(
        self, path: Path, *flags: str, host: str = "127.0.0.1", port: int = 0, in_own_group: bool = False
    ) -> None:
        command = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(path), "--host", host]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=in_own_group,
        )
        self.lines: list[str] = []
        self.address = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.match(r"listening on (\S+)", line):
                self.address = match[1]
                break
        # What is logged must not fill the pipe.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.address, "".join(self.lines)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def n_answered(self) -> int:
        """How many calls of `animals` it has answered."""
        with InferenceServerClient(self.address) as client:
            return int(client.get_inference_statistics("animals").model_stats[0].inference_stats.success.count)

    def end(self) -> int:
        """Wait for it to end by itself and return its status."""
        status = self.process.wait(30)
        self._reader.join(10)
        return status

    def kill(self) -> None:
        """End it at once, if it has not ended yet."""
        self.process.kill()
        self.end()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(output)


@contextlib.contextmanager
def called(opened: Opener, n_threads: int = 6) -> Iterator[tuple[Counter[str], list[str]]]:
    """Call from threads that each have a client of their own, all the time; yields answers counted and failures."""
    stop = threading.Event()
    answers: Counter[str] = Counter()
    failures: list[str] = []

    def run() -> None:
        with opened() as call:
            while not stop.is_set():
                try:
                    call()
                    answers["OK"] += 1
                except (WidedeepError, grpc.RpcError) as error:
                    failures.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: answers["OK"] > 100)
        yield answers, failures
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
