"""The rounds: every contender is started in turn, checked, measured under every load and stopped, again and again."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from widedeep.serving.settings import ServeSettings

from . import analyzer, bundles, loads, machine
from .contenders import Contender, Place, Skipped
from .loads import CAPACITY, WARM_UP, Load
from .processes import StartError, free_port
from .results import Record
from .served import WARM_S, Served
from .venvs import InstallError, python_of

HERE = Path(__file__).resolve().parent
_WARM_UP_S = 1.0
_MOST_FILL_S = 4.0
QUEUE_CALLS = int(ServeSettings.model_fields["max_queue_calls"].default)
"""Calls that may wait in widedeep by default; the window of an overload begins when so many are in excess."""
MEMBER_COUNTS = (50, 100, 200)
MEMBER_ROWS = (1, 16, 64, 256)
DIGITS = "digits"


@dataclass(slots=True)
class Bench:
    """One run of the benchmark.

    Attributes:
        scratch: folder for bundles, environments and logs.
        window_s: length of each measurement.
        run: names the run in the records.
        clients: `perf_analyzer`, `caller`, or both.
        keep: called with the records of each server that has been measured.
    """

    scratch: Path
    window_s: float
    run: str
    clients: Sequence[str]
    keep: Callable[[Sequence[Record]], None]
    skipped: Skipped = field(default_factory=Skipped)
    _plans: dict[tuple[str, int], Any] = field(default_factory=dict)

    def measure(
        self, workloads: Sequence[str], contenders: Sequence[Contender], wanted: Sequence[Load], n_rounds: int
    ) -> None:
        """Measure all, round by round."""
        for workload in workloads:
            repository = bundles.prepare(self.scratch / "bundles", workload)
            for turn in range(n_rounds):
                for contender in contenders:
                    if contender.name in self.skipped.reasons:
                        continue
                    started = time.monotonic()
                    if records := self._tried(contender, partial(self._turn, repository, contender, wanted, turn)):
                        self.keep(records)
                        spent = time.monotonic() - started
                        print(f"{workload} round {turn + 1}/{n_rounds} {contender.name} {spent:.0f} s", flush=True)

    def measure_starts(self, contenders: Sequence[Contender], n_rounds: int) -> None:
        """Measure how soon our servers are ready with the demo's bundle, and their memory before and after load."""
        repository = bundles.prepare(self.scratch / "bundles", DIGITS)
        for turn in range(n_rounds):
            for contender in contenders:
                if contender.name not in self.skipped.reasons:
                    self.keep(self._tried(contender, partial(self._start_turn, repository, contender, turn)))

    def measure_members(self, n_rounds: int) -> None:
        """Measure what Python adds to each of many members."""
        for turn in range(n_rounds):
            for count in MEMBER_COUNTS:
                name = f"many{count}"
                bundle = bundles.bundle_in(bundles.prepare(self.scratch / "bundles", name))
                command = [sys.executable, str(HERE / "members.py"), str(bundle), *map(str, MEMBER_ROWS)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    self.skipped.add("members", done.stderr.strip().splitlines()[-1])
                    return
                self.keep(
                    [
                        Record(name, f"members{int(values['rows'])}", "widedeep", "", turn, values, self.run)
                        for values in json.loads(done.stdout)
                    ]
                )
        print("cost by members done", flush=True)

    def _tried(self, contender: Contender, turn: Callable[[], list[Record]]) -> list[Record]:
        """Return the records of a turn; after two failures none, and the contender is skipped from then on."""
        why = ""
        for _ in range(2):
            try:
                return turn()
            except InstallError as error:
                why = str(error)
                break
            except StartError as error:
                why = str(error)
        self.skipped.add(contender.name, why)
        return []

    def _turn(self, repository: Path, contender: Contender, wanted: Sequence[Load], turn: int) -> list[Record]:
        def record(load: str, client: str, values: Mapping[str, float]) -> Record:
            return Record(repository.name, load, contender.name, client, turn, values, self.run)

        if contender.launch is None:
            return [record(load.name, "", self._bare(repository, load)) for load in wanted if load.concurrency]
        inputs, _ = bundles.samples(repository)
        by_analyzer = contender.analyzer and "perf_analyzer" in self.clients
        with self._served(repository, contender) as served:
            memory = {"idle_mb": served.process.pss_mb()}
            served.call(WARM_UP, inputs, _WARM_UP_S)
            capacity = 0.0
            records = [
                record(load.name, "perf_analyzer", values)
                for load in wanted
                if load.concurrency and by_analyzer and (values := self._analyzed(served, load, inputs))
            ]
            for load in wanted if "caller" in self.clients else ():
                if load.concurrency and (load == CAPACITY or not contender.analyzer or contender.is_ours):
                    values = served.call(load, inputs, self.window_s)
                    capacity = values["rows_per_s"] if load == CAPACITY else capacity
                    records.append(record(load.name, "caller", values))
            for load in wanted:
                if load.share and contender.answers and capacity:
                    warm_s = _fill_s(capacity, load.share)
                    values = served.call(load, inputs, self.window_s, capacity=capacity, seed=turn, warm_s=warm_s)
                    records.append(record(load.name, "caller", {**values, "capacity": capacity}))
            memory["loaded_mb"] = served.process.pss_mb()
            records.append(record("memory", "", memory))
        return records

    def _analyzed(self, served: Served, load: Load, inputs: loads.Arrays) -> dict[str, float]:
        """Return perf_analyzer's figures; nothing if it twice found its windows too unlike, as on a busy machine."""
        for _ in range(2):
            try:
                return served.analyze(load, inputs, self.window_s)
            except analyzer.AnalyzerError as error:
                print(f"{load.title}: {error}", flush=True)
        return {}

    def _start_turn(self, repository: Path, contender: Contender, turn: int) -> list[Record]:
        inputs, _ = bundles.samples(repository)
        with self._served(repository, contender) as served:
            values = {"ready_s": served.ready_s, "idle_mb": served.process.pss_mb()}
            served.call(CAPACITY, inputs, self.window_s)
            values["loaded_mb"] = served.process.pss_mb()
        return [Record(repository.name, "start", contender.name, "", turn, values, self.run)]

    def _bare(self, repository: Path, load: Load) -> dict[str, float]:
        rows = load.rows * load.concurrency
        task = {
            "bundle": str(bundles.bundle_in(repository)),
            "fused": str(repository / bundles.FUSED_FILE),
            "rows": rows,
            "cores": machine.cores(),
            "window_s": self.window_s,
            "plan": self._plans.get((repository.name, rows)),
        }
        command = [sys.executable, str(HERE / "bare.py"), json.dumps(task)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartError(done.stderr.strip().splitlines()[-1])
        answer = json.loads(done.stdout)
        self._plans[repository.name, rows] = answer["plan"]
        figures: dict[str, float] = answer["figures"]
        return {**figures, "cpu_us_per_call": figures["cpu_us_per_row"] * load.rows}

    def _served(self, repository: Path, contender: Contender) -> Served:
        python = python_of(self.scratch / "venvs" / contender.name, contender.packages)
        folder = self.scratch / "servers" / contender.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        bundle = bundles.bundle_in(repository)
        place = Place(repository.resolve(), bundle.resolve(), folder.resolve(), free_port(), machine.cores(), python)
        assert contender.launch is not None  # noqa: S101 - a server
        return Served(contender, place, contender.launch(place), folder / "messages")


def _fill_s(capacity: float, share: float) -> float:
    """Return how long an open load must go on before a queue of `QUEUE_CALLS` is surely full, within bounds."""
    return min(_MOST_FILL_S, WARM_S + 1.2 * QUEUE_CALLS / (capacity * (share - 1))) if share > 1 else WARM_S
