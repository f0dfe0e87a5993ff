"""The folder in which a search keeps what it has found, so that a run that was cut off can be gone on with.

search.sqlite    the studies, one a kind
candidates/      what trials gave, see `candidates`
    members/         those of them that are exported
setting.pickle   this run's data for its workers; written anew by every run and never read by another
worker-*.log     what training libraries print
lock             held by the run that uses the folder
owner            fingerprint of the data and rules that a folder named by --work is of
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ...serving.contract.tensors import Array
from ..search.study import Study
from ..zoo.kind import Kind
from .dataset import Dataset
from .options import Options, TrainError

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Workplace:
    """Places of a search's files."""

    folder: Path

    @property
    def setting(self) -> Path:
        """File of what the workers share."""
        return self.folder / "setting.pickle"

    def log(self, number: int) -> Path:
        """Return the file for what a worker prints."""
        return self.folder / f"worker-{number}.log"

    def study(self, kind: Kind, data: Dataset, options: Options) -> Study:
        """Open the study of a kind, or begin it with the kind's portfolio."""
        return Study.open(
            self.folder / "search.sqlite",
            kind.name,
            kind.space(data.problem),
            sampler=options.sampler,
            objectives=("loss", "latency") if options.searches_latency else ("loss",),
            first=kind.portfolio(data.problem),
            pruner=options.pruner,
            seed=options.seed,
        )


@contextmanager
def workplace(data: Dataset, kinds: Sequence[Kind], options: Options) -> Iterator[Workplace]:
    """Yield the folder for a search over this data with these options, locked; it goes at a good end unless named.

    Raises:
        TrainError: another run uses it, or it holds what was found on other data or by other rules.
    """
    folder = options.work or _cache() / fingerprint(data, kinds, options)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainError(
                f"another run is at work in {folder}; wait for it, or name another folder: --work"
            ) from None
        if options.work is not None:
            _claim(folder, fingerprint(data, (), options))  # other kinds have studies of their own
        place = Workplace(folder)
        try:
            yield place
        finally:
            place.setting.unlink(missing_ok=True)  # a copy of the data
        if options.work is None:
            shutil.rmtree(folder)


def _claim(folder: Path, owner: str) -> None:
    """Keep in a folder whose it is: candidates of other rows, or dealt otherwise, would be judged on wrong scores."""
    file = folder / "owner"
    if not file.exists():
        written = folder / ".owner"
        written.write_text(owner)
        written.replace(file)
    elif file.read_text() != owner:
        raise TrainError(
            f"{folder} holds a search on other data, or with another test part, folds, seed, sampler or the like; "
            f"name another folder: --work"
        )


def fingerprint(data: Dataset, kinds: Sequence[Kind], options: Options) -> str:
    """Return what two runs must share for one to go on with what the other has found: data and rules, not limits."""
    spaces = {kind.name: repr((kind.space(data.problem), kind.portfolio(data.problem))) for kind in kinds}
    rules = {
        "task": data.problem.task,
        "classes": list(data.classes),
        "test_fraction": options.test_fraction,
        "n_folds": options.n_folds,
        "keep": options.keep,
        "sampler": options.sampler,
        "searches_latency": options.searches_latency,
        "spaces": spaces,
        "widedeep": version("widedeep"),
        "batch_rows": options.batch_rows,
        "seed": options.seed,
    }
    digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
    if data.rows.table is not None:
        from pandas.util import hash_pandas_object

        digest.update(json.dumps([str(name) for name in data.rows.table.columns]).encode())
        digest.update(np.ascontiguousarray(hash_pandas_object(data.rows.table, index=False)).tobytes())
    for name, array in sorted(data.rows.arrays.items()):
        digest.update(name.encode())
        _add(digest, array)
    _add(digest, data.target)
    if data.weights is not None:
        _add(digest, data.weights)
    return digest.hexdigest()[:32]


def _add(digest: "hashlib._Hash", array: Array) -> None:
    """Add an array to a digest, a part at a time: it may be mapped from a file larger than the memory."""
    digest.update(f"{array.dtype} {array.shape}".encode())
    row_bytes = max(1, array[:1].nbytes)
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(array), step):
        digest.update(np.ascontiguousarray(array[start : start + step]).tobytes())


def _cache() -> Path:
    """Return the folder of searches in the user's cache.

    It lies in widedeep's folder there, which servers use only if it is open to nobody else.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "widedeep"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "train"
