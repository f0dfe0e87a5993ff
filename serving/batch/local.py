"""A bundle in this process as a scorer: members one by one, each in chunks of a fixed size, on one thread.

What a server chooses by the clock - chunks, threads, the fused graph - is fixed here, since a job that was cut off must
end with the same bits on any machine of the same kind: trees differ by 1.8e-7 between one and two threads, and the
fused graph rounds otherwise than the members one by one.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from ..contract.bundle import Bundle, read_bundle, read_samples
from ..contract.errors import BundleError, WidedeepError
from ..contract.tensors import Array, TensorSpec, check_rows
from ..engine.batch import Batch, Route
from ..engine.golden import differences_of
from ..engine.member import Member
from ..engine.opening import Graphs, Opener, resolve
from ..engine.outputs import all_outputs, members_for
from ..engine.plan import Run
from ..engine.pool import Pool
from ..engine.profile import timed
from ..engine.runtime import CPU, GraphOptions, trim_heap
from .scorer import Identity

WHOLE = 0
"""As `member_rows`: all rows of a chunk at once."""

_OPTIONS = GraphOptions(arena=False)

_ABOUT_AS_LITTLE = 1.05
_LONG_S = 0.3e-3


class LocalScorer:
    """A loaded bundle. Immutable; may be called from any number of threads at once, each of which computes itself.

    Attributes:
        bundle: what is loaded.
        identity: its name, version and digest.
        member_rows: member -> rows of one run of its graph at most, `WHOLE` for any number.
    """

    def __init__(self, path: Path, bundle: Bundle, members: Sequence[Member], member_rows: Mapping[str, int]) -> None:
        """Store the parts; see `load`."""
        self.bundle = bundle
        self.identity = Identity(bundle.name, version_of(path), bundle.digest)
        self.inputs = bundle.inputs
        self.outputs: tuple[TensorSpec, ...] = (*bundle.outputs, *bundle.score_outputs)
        self.defaults = tuple(spec.name for spec in bundle.outputs)
        self.classes = tuple(map(str, bundle.classes))
        self.member_rows = dict(member_rows)
        self._graphs = Graphs(tuple(members), None, {})
        self._pool = Pool(1)  # of which no worker is started: every run has one thread

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        member_rows: Mapping[str, int] | None = None,
        providers: Mapping[str, Sequence[str]] | None = None,
        digest: str = "",
    ) -> Self:
        """Load the bundle at `path` and prove that it still answers its golden rows.

        Args:
            path: the bundle's folder.
            member_rows: see the attribute; measured here by default.
            providers: member name -> execution providers; the key "" is for every member not named. CPU by default.
            digest: the bundle's digest if it must be that one.

        Raises:
            BundleError: it is another bundle, a file is missing or changed, a graph does not load or fit, or a golden
                output differs.
            ConfigurationError: a provider is not to be had.
        """
        bundle, samples = read_bundle(path), read_samples(path)
        if digest and bundle.digest != digest:
            raise BundleError(f"{path}: expected the bundle with digest {digest}, got {bundle.digest}")
        opener = Opener(path, bundle, resolve(bundle, providers or {}))
        members = [graph for i in range(len(bundle.members)) if isinstance(graph := opener.open(i, _OPTIONS), Member)]
        try:
            check_rows(bundle.inputs, samples.inputs)
            if member_rows is None:
                member_rows = {member.spec.name: _rows_of(member, samples.inputs) for member in members}
                trim_heap()
            scorer = cls(path, bundle, members, member_rows)
            actual = scorer.score(samples.inputs, all_outputs(bundle))
        except WidedeepError as error:
            raise BundleError(f"{path}: golden rows cannot be scored: {error}") from error
        differences_of(bundle, members, samples.outputs, actual)
        return scorer

    def score(self, arrays: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return output name -> `(n_rows, ...)`; see `Scorer.score`."""
        bundle = self.bundle
        n_rows = len(next(iter(arrays.values())))
        needed = members_for(bundle, outputs)
        scored = slice(None) if len(needed) == len(bundle.members) else list(needed)
        route = Route(tuple(outputs), needed, scored, is_fusable=False)
        batch = Batch(
            bundle, self._graphs, route, arrays, n_rows, pool=self._pool, observe=None, clock=time.perf_counter
        )
        for i in needed:
            step = self.member_rows.get(bundle.members[i].name, WHOLE) or n_rows
            for start in range(0, n_rows, step):
                batch.run(Run(i, start, min(start + step, n_rows)))
        answer = batch.outputs(first_row=0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Do nothing: sessions end with their last user."""


def version_of(path: Path) -> str:
    """Return the version that a bundle's folder is served under: its name where that is a whole number, else 1."""
    return path.name if path.name.isdecimal() else "1"


def _rows_of(member: Member, rows: Mapping[str, Array]) -> int:
    """Return rows of a run that cost about as little as any; an accelerator takes a chunk whole.

    Of these the fewest that keep a thread busy for long: fewer rows leave more of the cache that busy cores share (of a
    net over 64x64x3 images, as fast alone in runs of 2, 4 and 8 rows, those of 8 took 8 % more than those of 4), but
    each run takes the interpreter lock, which there is one of for all cores.
    """
    if member.provider != CPU:
        return WHOLE
    seconds = timed(member.run, rows, time.perf_counter)
    best = min(s / n for n, s in seconds.items())
    cheap = [n for n, s in seconds.items() if s / n <= _ABOUT_AS_LITTLE * best]
    return min((n for n in cheap if seconds[n] >= _LONG_S), default=max(cheap))
