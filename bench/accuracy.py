"""How accurate is `widedeep train` beside what a user would pick instead? On real data, in the same time, on one core.

    python bench/accuracy.py prepare                    # unpack the data sets, install AutoGluon: once
    python bench/accuracy.py run --limit 60 --cores 0,1
    python bench/accuracy.py report                     # write docs/accuracy.md

Every system trains on the same 75 % of a data set and predicts the other 25 %, in a process of its own that is pinned
to one core. Sets are taken one after another and on each all systems in turn, as many at once as there are cores given.
What is finished is kept and not run again: a run that was stopped goes on with the same command. A run that got less
than its core, because something else ran there, shows by processor time below wall time; `--again-below 0.9` repeats
those.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from accuracy_jobs import BEST_MEMBER, ENSEMBLE, TEST_SHARE, Job, JobError, as_target, loss, row_losses, run
from accuracy_report import write_report
from accuracy_results import Results
from accuracy_sets import SETS, DataSet, install
from peers.machine import facts
from peers.venvs import python_of
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "bench" / "accuracy"
VENV = ROOT / "build" / "bench" / "venvs" / "autogluon"
AUTOGLUON = ("autogluon.tabular[catboost,fastai,lightgbm,tabm,xgboost]==1.6.3",)
SYSTEMS = ("widedeep", "autogluon_medium", "autogluon_best", "stacking", "voting")


@dataclass(frozen=True, slots=True)
class Split:
    """A data set cut into training and test rows, in files.

    Attributes:
        folder: holds `train.parquet`, and `test.parquet` without the target.
        classes: labels, sorted; empty for a regression.
        target: of the test rows, as `as_target` gives it.
        facts: rows, columns and missing values, for the report.
    """

    data: DataSet
    seed: int
    folder: Path
    classes: tuple[str, ...]
    target: np.ndarray
    facts: dict[str, int]

    @property
    def key(self) -> str:
        """The set's name and the seed."""
        return f"{self.data.name}-{self.seed}"


def split(data: DataSet, seed: int, packages: Path, folder: Path) -> Split:
    """Cut a set, the classes alike in both parts, and write the files."""
    table, is_classes = data.load(packages), data.task != "regression"
    if is_classes:  # as words, so that every system takes them for classes
        table[data.target] = table[data.target].astype(str)
    strata = table[data.target] if is_classes else None
    train, test = train_test_split(table, test_size=TEST_SHARE, stratify=strata, random_state=seed)
    classes = tuple(sorted(table[data.target].unique())) if is_classes else ()
    columns = table.drop(columns=data.target)
    shape = {
        "n_train": len(train),
        "n_test": len(test),
        "n_numbers": columns.select_dtypes(include="number").shape[1],
        "n_words": columns.select_dtypes(exclude="number").shape[1],
        "n_missing": int(columns.isna().to_numpy().sum()),
        "n_classes": len(classes),
    }
    place = folder / f"{data.name}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    train.reset_index(drop=True).to_parquet(place / "train.parquet")
    test.drop(columns=data.target).reset_index(drop=True).to_parquet(place / "test.parquet")
    return Split(data, seed, place, classes, as_target(test[data.target], classes), shape)


def measure(part: Split, system: str, core: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run one system on one split and return its line of the results; with "error" where it failed."""
    line: dict[str, Any] = {"set": part.data.name, "split": part.seed, "system": system, "task": part.data.task}
    line |= {"limit_s": options.limit, "core": core, "began": time.strftime("%Y-%m-%d %H:%M:%S")}
    flags = tuple(options.flags.split()) if system == "widedeep" else ()
    files = (part.folder / "train.parquet", part.folder / "test.parquet", part.folder / system)
    job = Job(system, part.data.task, part.data.target, part.classes, *files, options.limit, core, part.seed, flags)
    python = options.autogluon / "bin" / "python" if system.startswith("autogluon") else Path(sys.executable)
    try:
        scores, measured = run(job, python)
    except JobError as error:
        return line | {"error": str(error)}
    rows = {name: row_losses(each, part.target) for name, each in scores.items()}
    options.results.keep_rows(part.key, system, rows[ENSEMBLE])
    if BEST_MEMBER in rows:
        options.results.keep_rows(part.key, f"{system}_best_member", rows[BEST_MEMBER])
    losses = {name: loss(each, part.data.task) for name, each in rows.items()}
    return line | part.facts | {"loss": losses.pop(ENSEMBLE), "parts": losses} | measured


def jobs(options: argparse.Namespace) -> Iterator[tuple[Split, str]]:
    """Yield what is to be done, set by set; the system that begins changes from set to set."""
    for seed in range(options.splits):
        for i, name in enumerate(options.sets):
            systems = [options.systems[(i + j) % len(options.systems)] for j in range(len(options.systems))]
            left = [each for each in systems if not options.results.has(name, seed, each, options.again_below)]
            if left:
                part = split(SETS[name], seed, options.folder / "packages", options.folder / "work")
                yield from ((part, system) for system in left)


def run_all(options: argparse.Namespace) -> None:
    """Do every job that is not done, one at a time on each core."""
    waiting, lock = jobs(options), threading.Lock()
    cores: SimpleQueue[int] = SimpleQueue()
    for core in options.cores:
        cores.put(core)

    def work() -> None:
        core = cores.get()
        while True:
            with lock:
                job = next(waiting, None)
            if job is None:
                return
            line = measure(*job, core, options)
            with lock:
                options.results.add(line)
                print(_said(line), flush=True)

    with ThreadPoolExecutor(len(options.cores)) as threads:
        for done in [threads.submit(work) for _ in options.cores]:
            done.result()


def _said(line: dict[str, Any]) -> str:
    what = f"{time.strftime('%H:%M:%S')} {line['set']:15s}{line['split']} {line['system']:17s}"
    if "error" in line:
        return f"{what} failed: {line['error']}"
    us = line["us_per_row"]
    return (
        f"{what} loss {line['loss']:.5g}, {line['fit_s']:.0f} s ({line['fit_cpu_s'] / line['fit_s']:.0%} of its core), "
        f"{us['big']['cpu']:.1f} us of CPU a row, {us['small']['cpu']:.0f} in batches of 32, {line['peak_mib']:.0f} MiB"
    )


def prepare(options: argparse.Namespace) -> None:
    """Unpack the data sets and install AutoGluon."""
    install(options.folder / "packages")
    python_of(options.autogluon, AUTOGLUON)


def _names(known: Sequence[str]) -> Any:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen).difference(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return chosen

    return names


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "run", "report"))
    parser.add_argument("--sets", type=_names(tuple(SETS)), default=list(SETS), help="names, by commas (default: all)")
    parser.add_argument(
        "--systems", type=_names(SYSTEMS), default=list(SYSTEMS), help="names, by commas (default: all)"
    )
    parser.add_argument("--splits", type=int, default=1, help="outer splits of every set (default: 1)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds to train in (default: 60)")
    parser.add_argument(
        "--cores",
        type=lambda text: [int(core) for core in text.split(",")],
        default=[0],
        help="numbers of the cores to use, by commas (default: 0)",
    )
    parser.add_argument("--again-below", type=float, default=0.0, help="repeat what got less than this of its core")
    parser.add_argument("--flags", default="", help="further flags of widedeep train, as one argument")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder for data sets and results")
    parser.add_argument("--autogluon", type=Path, default=VENV, help="AutoGluon's environment")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "accuracy.md", help="where the report goes")
    options = parser.parse_args()
    options.results = Results(options.folder)
    if options.what == "prepare":
        prepare(options)
    elif options.what == "run":
        with options.results.claimed():
            options.results.note_machine(
                facts(("widedeep", "onnxruntime", "scikit-learn", "xgboost", "lightgbm", "keras"))
            )
            run_all(options)
    else:
        write_report(options.results, options.output)
        print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
