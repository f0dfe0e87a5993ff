"""What is measured of batch scoring: the same file by `widedeep score` and by loops written by hand, and memory.

Every part yields records; a round runs all contenders once, each round in another order. A run's start-up is the time
of the same command on a file of few rows.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import batch_bare
import batch_inputs
import batch_native
import numpy as np
import pyarrow.dataset as ds
from batch_cases import Case
from batch_runs import Cost, RunError, run
from peers import bundles
from peers.results import Record

HERE = Path(__file__).resolve().parent
FEW_ROWS = 64

RATE_ROWS = {"seed": 80_000, "wide": 1_200_000, "columns": 1_200_000, "digits": 400_000, "tiny": 1_200_000}
"""Rows of the files for rates: some 10 s of two cores."""
_FEWER = {
    ("seed", "loop"): 8,
    ("seed", "cores"): 20,
    ("seed", "native"): 8,
    ("digits", "loop"): 8,
}
"""Contenders so slow at a workload that they get a file of so many times fewer rows."""

_TRAINED = {"columns": "wide"}
"""Workloads whose models are those of another one."""

ENGINES = ("local", "ray", "spark")
EVALUATIONS: Mapping[str, Sequence[str]] = {
    "plain": (),
    "evaluate": ("--evaluate", "truth"),
    "slices": ("--evaluate", "truth", "--slice", "truth"),
}


class Jobs:
    """Runs commands over files in a scratch folder. One thread.

    Attributes:
        scratch: holds bundles, models, files and outputs.
    """

    def __init__(self, scratch: Path, run_name: str, keep: Callable[[Sequence[Record]], None]) -> None:
        self.scratch = scratch
        self._folder = scratch / "batch"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = run_name
        self._keep = keep

    def bundle(self, workload: str) -> Path:
        """Return a workload's bundle, made if it is not there."""
        return bundles.bundle_in(bundles.prepare(self.scratch / "bundles", workload))

    def rates(self, workload: str, rounds: int, contenders: Sequence[str], n_rows: int) -> None:
        """Measure the loops beside `widedeep score` on one file."""
        commands = self._loops(workload, contenders)
        self._measure("rate", workload, commands, rounds, n_rows)

    def engines(self, workload: str, rounds: int, n_rows: int) -> None:
        """Measure the engines on the same job."""
        commands = {engine: self._score(workload, "--engine", engine) for engine in ENGINES}
        self._measure("engines", workload, commands, rounds, n_rows)

    def evaluation(self, workload: str, rounds: int, n_rows: int) -> None:
        """Measure what `--evaluate` costs."""
        commands = {name: self._score(workload, *flags) for name, flags in EVALUATIONS.items()}
        self._measure("evaluation", workload, commands, rounds, n_rows)

    def memory(self, case: Case) -> None:
        """Measure the most memory of scoring a file."""
        path = self._folder / f"memory{case.suffix}"
        self._clear(path)
        size_mb = case.write(self.bundle(case.workload), path) / 1e6
        cost = self._timed(f"memory {case.name}", self._score(case.workload), path)
        self._clear(path)
        values = {"n_rows": case.n_rows, "input_mb": size_mb, "peak_mb": cost.peak_mb, "others": cost.others}
        values["rows_per_s"] = case.n_rows / cost.wall_s
        self._keep([Record(case.workload, "memory", case.name, "", 0, values, self._run)])

    def file(self, workload: str, n_rows: int) -> Path:
        """Return a Parquet file of so many rows, made if it is not there."""
        path = self._folder / f"{workload}-{n_rows}.parquet"
        if not path.exists():
            part = path.with_suffix(".part")
            batch_inputs.write_parquet(batch_inputs.tables(self.bundle(workload), n_rows), part)
            part.replace(path)
        return path

    def _measure(self, what: str, workload: str, commands: Mapping[str, "Command"], rounds: int, n_rows: int) -> None:
        few = self.file(workload, FEW_ROWS)
        sizes = {name: n_rows // _FEWER.get((workload, name), 1) for name in commands}
        many = {name: self.file(workload, size) for name, size in sizes.items()}
        answers = {}
        for name, command in list(commands.items()):
            try:
                self._timed(f"{what} {workload} {name}", command, few)
            except RunError as error:
                print(f"left out: {error}", flush=True)
                commands = {key: value for key, value in commands.items() if key != name}
                continue
            answers[name] = probabilities(self._output)
        if (self._models_folder(workload) / "deep.keras").exists():
            answers.pop("native", None)  # a net that was trained again starts from other weights
        check_equal(answers)
        for turn in range(rounds):
            names = list(commands)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                title = f"{what} {workload} {name} round {turn + 1}"
                start = self._timed(title, commands[name], few)
                cost = self._timed(title, commands[name], many[name])
                self._keep([Record(workload, what, name, "", turn, rate(sizes[name], start, cost), self._run)])

    @property
    def _output(self) -> Path:
        return self._folder / "output"

    def _timed(self, title: str, command: "Command", path: Path) -> Cost:
        self._clear(self._output)
        cost = run(command(path, self._output), self._folder / "log")
        print(
            f"{title}: {cost.wall_s:.2f} s, CPU {cost.cpu_s:.2f} s, {cost.peak_mb:.0f} MB, others {cost.others:.2f}",
            flush=True,
        )
        return cost

    def _score(self, workload: str, *flags: str) -> "Command":
        return lambda path, output: [
            *(sys.executable, "-m", "widedeep.serving.cli", "score", str(self.bundle(workload)), str(path)),
            *(str(output), "--keep", "id", "--quiet", *flags),
        ]

    def _loops(self, workload: str, contenders: Sequence[str]) -> dict[str, "Command"]:
        bundle = self.bundle(workload)
        commands = {"widedeep": self._score(workload)}
        bare = [sys.executable, str(HERE / "batch_bare.py")]
        commands["loop"] = lambda path, output: [*bare, "loop", str(bundle), str(path), str(output)]
        commands["cores"] = lambda path, output: [*bare, "cores", str(bundle), str(path), str(output)]
        if "tuned" in contenders:
            inputs, _ = bundles.samples(self.scratch / "bundles" / workload)
            rows = json.dumps(batch_bare.fastest_rows(bundle, inputs))
            print(f"{workload}: rows of a run at which each graph is fastest: {rows}", flush=True)
            commands["tuned"] = lambda path, output: [*commands["cores"](path, output), "--member-rows", rows]
        if "native" in contenders and _TRAINED.get(workload, workload) in bundles.TRAININGS:
            native = [sys.executable, str(HERE / "batch_native.py"), str(bundle), str(self._models(workload))]
            commands["native"] = lambda path, output: [*native, str(path), str(output)]
        return {name: command for name, command in commands.items() if name in contenders}

    def _models(self, workload: str) -> Path:
        """Return a folder with a workload's models, trained if they are not there."""
        folder = self._models_folder(workload)
        if not (folder / "complete.json").exists():
            self._clear(folder)
            batch_native.save(bundles.TRAININGS[_TRAINED.get(workload, workload)]().models(), folder)
        return folder

    def _models_folder(self, workload: str) -> Path:
        return self.scratch / "models" / _TRAINED.get(workload, workload)

    @staticmethod
    def _clear(path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


Command = Callable[[Path, Path], list[str]]
"""From input and output to a command line."""


def rate(n_rows: int, start: Cost, cost: Cost) -> dict[str, float]:
    """Return the figures of a run over `n_rows` rows, and of the same command over few."""
    return {
        "n_rows": n_rows,
        "rows_per_s": n_rows / cost.wall_s,
        "cpu_us_per_row": cost.cpu_s / n_rows * 1e6,
        "start_s": start.wall_s,
        "steady_rows_per_s": n_rows / max(1e-9, cost.wall_s - start.wall_s),
        "steady_cpu_us_per_row": (cost.cpu_s - start.cpu_s) / n_rows * 1e6,
        "peak_mb": cost.peak_mb,
        "others": cost.others,
    }


def probabilities(output: Path) -> np.ndarray:
    """Return what a contender wrote, `(n_rows, n_classes)` in the order of `id`."""
    files = [str(path) for path in sorted(output.glob("*.parquet"))]
    table = ds.dataset(files).to_table().sort_by("id").combine_chunks()
    values = table.column("probabilities").combine_chunks().flatten().to_numpy()
    return values.reshape(table.num_rows, -1)


def check_equal(answers: Mapping[str, np.ndarray], tolerance: float = 1e-4) -> None:
    """Make sure that all contenders did the same work.

    Raises:
        SystemExit: two answers differ.
    """
    (first, expected), *others = answers.items()
    for name, actual in others:
        if actual.shape != expected.shape or not np.allclose(actual, expected, rtol=0, atol=tolerance):
            raise SystemExit(f"{name} and {first} answer differently")
