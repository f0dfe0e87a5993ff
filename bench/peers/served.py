"""One contender that runs: started, checked against golden rows, measured by either client, stopped."""

import json
import math
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from . import analyzer, bundles, loads
from .caller import Task
from .contenders import Contender, Launch, Place
from .loads import Load
from .processes import ServerProcess, StartError

HERE = Path(__file__).resolve().parent
WARM_S = 0.5
_START_S = 90.0
_LEAD_S = 0.4
"""A client's process takes so long to come up."""
_TOLERANCE = 1e-4


class Served:
    """A contender that runs, as a context: entered once it answers rightly, stopped when left."""

    def __init__(self, contender: Contender, place: Place, launch: Launch, folder: Path) -> None:
        self._contender = contender
        self._place = place
        self._launch = launch
        self._folder = folder
        folder.mkdir(parents=True)
        self.address = f"127.0.0.1:{place.port}"
        self.ready_s = math.nan
        self.process: ServerProcess

    def __enter__(self) -> "Served":
        """Start it and wait for a right answer.

        Raises:
            StartError: it does not start or answers something else than the golden rows' probabilities.
        """
        launch = self._launch
        log = self._folder.parent / "log"
        self.process = ServerProcess(launch.command, cwd=launch.cwd, env=launch.env, log=log)
        try:
            self.process.wait_listening(self._place.port, _START_S)
            self._wait_right()
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.process.stop()
        if self._launch.leftover:
            shutil.rmtree(self._launch.leftover, ignore_errors=True)

    def _wait_right(self) -> None:
        inputs, outputs = bundles.samples(self._place.repository)
        row = loads.first_rows(inputs, 1)
        deadline = time.monotonic() + _START_S
        error: Exception | None = None
        while time.monotonic() < deadline:
            try:
                answer = self._ask(row)
                self.ready_s = time.monotonic() - self.process.started
                break
            except Exception as failed:  # whatever a server says before it is ready
                error = failed
                time.sleep(0.02)
        else:
            raise StartError(f"gives no answer: {error}; {self.process.log_end()}")
        if self._contender.answers:
            for n_rows in (1, 8):
                answer = self._ask(loads.first_rows(inputs, n_rows))
                expected = loads.first_rows(outputs, n_rows)["probabilities"]
                if answer.shape != expected.shape or not np.allclose(answer, expected, atol=_TOLERANCE):
                    raise StartError(f"answers {answer.tolist()} where {expected.tolist()} is right")

    def _message(self, inputs: loads.Arrays) -> bytes:
        return loads.grpc_message(self._place.model, inputs) if self._contender.wire == "grpc" else self._json(inputs)

    def _json(self, inputs: loads.Arrays) -> bytes:
        message = loads.json_message(inputs)
        return b'{"requests":[' + message + b"]}" if self._contender.name.startswith("bentoml") else message

    def _ask(self, inputs: loads.Arrays) -> np.ndarray:
        message = self._message(inputs)
        if self._contender.wire == "http":
            url = f"http://{self.address}{self._contender.path}"
            request = urllib.request.Request(url, message, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - ours
                return loads.json_probabilities(response.read())
        import grpc

        with grpc.insecure_channel(self.address) as channel:
            call: Callable[..., bytes] = channel.unary_unary(self._contender.path)
            return loads.grpc_probabilities(call(message, timeout=10))

    def analyze(self, load: Load, inputs: loads.Arrays, window_s: float) -> dict[str, float]:
        """Measure a closed load with perf_analyzer; it wants three windows, which together last `window_s`."""
        data = self._folder / "rows.json"
        if not data.exists():
            loads.analyzer_data(data, inputs)
        command = analyzer.command(self.address, self._place.model, rows=load.rows, concurrency=load.concurrency)
        command += ["-p", str(max(1, round(window_s * 1000 / 3))), "-s", "999", "-r", "10", "--input-data", str(data)]
        client = subprocess.Popen(
            command, env=analyzer.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        time.sleep(_LEAD_S + 0.15 * window_s)
        before = time.monotonic(), self.process.cpu_s()
        time.sleep(0.7 * window_s)
        after = time.monotonic(), self.process.cpu_s()
        report, _ = client.communicate()
        figures = analyzer.client_figures(report)
        cores_busy = (after[1] - before[1]) / (after[0] - before[0])
        return {**figures, "cores_busy": cores_busy, **_per_call(cores_busy, figures["rows_per_s"], load)}

    def call(
        self,
        load: Load,
        inputs: loads.Arrays,
        window_s: float,
        *,
        capacity: float = 0.0,
        seed: int = 0,
        warm_s: float = WARM_S,
    ) -> dict[str, float]:
        """Measure a load with our own client; `capacity` and `seed` are for open loads."""
        body = self._folder / f"{load.rows}.message"
        if not body.exists():
            body.write_bytes(self._message(loads.first_rows(inputs, load.rows)))
        start = time.monotonic() + _LEAD_S + warm_s
        contender = self._contender
        task = Task(
            address=self.address,
            wire=contender.wire,
            path=contender.path,
            body=str(body),
            start=start,
            window_s=window_s,
            concurrency=load.concurrency,
            rate=capacity * load.share,
            seed=seed,
        )
        command = [sys.executable, str(HERE / "caller.py")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as client:
            assert client.stdin is not None  # noqa: S101 - piped
            client.stdin.write(json.dumps(asdict(task)))
            client.stdin.close()
            client.stdin = None
            time.sleep(max(0.0, start - time.monotonic()))
            before = time.monotonic(), self.process.cpu_s()
            time.sleep(max(0.0, start + window_s - time.monotonic()))
            after = time.monotonic(), self.process.cpu_s()
            said, complaints = client.communicate()
        if client.returncode:
            raise StartError(f"the client failed under {load.title}: {complaints.strip().splitlines()[-1]}")
        return _figures(json.loads(said), load, window_s, (after[1] - before[1]) / (after[0] - before[0]))


def _figures(answer: Mapping[str, Any], load: Load, window_s: float, cores_busy: float) -> dict[str, float]:
    statuses: Mapping[str, int] = answer["statuses"]
    calls = max(1, sum(statuses.values()))
    rows_per_s = answer["completed"] * load.rows / window_s
    refused = statuses.get("RESOURCE_EXHAUSTED", 0)
    accepted = statuses.get("OK", 0)
    return {
        "rows_per_s": rows_per_s,
        **{f"{name}_us": value for name, value in answer["latencies_us"].items()},
        **{f"refused_{name}_us": value for name, value in answer["refused_us"].items()},
        "refused_share": refused / calls,
        "failed": (calls - refused - accepted if statuses else 0) + answer["unsent"],
        "cores_busy": cores_busy,
        "client_cpu_us_per_call": answer["cpu_s"] / calls * 1e6,
        **_per_call(cores_busy, rows_per_s, load),
    }


def _per_call(cores_busy: float, rows_per_s: float, load: Load) -> dict[str, float]:
    if not rows_per_s:
        return {}
    return {
        "cpu_us_per_call": cores_busy / rows_per_s * load.rows * 1e6,
        "cpu_us_per_row": cores_busy / rows_per_s * 1e6,
    }
