"""Measuring how the graphs of a bundle run on this machine, and keeping what was found.

At load each graph is timed within a small budget, under the usual graph options. `tune` takes longer and tries others
too; both leave what they find in the cache, from which the next load takes it.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from ..contract.bundle import Bundle
from ..contract.tensors import Array
from .cache import Cache, Key
from .plan import CHUNK_CANDIDATES, Plan, choose_plan
from .runtime import GraphOptions, machine_key

_BUDGET_S = 0.15
_LONG_BUDGET_S = 1.5
"""For graphs whose runs cost about the same whatever the rows: stopped at one or two rows, a net with thousands of
small nodes was planned in runs of two and took seven times as long a row as in runs of 128."""

_MUCH_CHEAPER = 0.7
_REPEATS = 3
_MOST_BYTES = 64 << 20
"""Rows of a profile take no more memory than that; larger ones are hardly served in larger batches either."""

Rows = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Setup:
    """How a graph is opened and run."""

    options: GraphOptions
    plan: Plan

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"options": asdict(self.options), "plan": asdict(self.plan)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form.

        Raises:
            TypeError, KeyError: it is none.
        """
        return cls(GraphOptions(**data["options"]), Plan(**data["plan"]))


Setups = dict[int, Setup]
"""Key of a graph - a member's index, or `FUSED` - or `COMBINER` -> how it is opened and run."""


def timed(run: Callable[[Rows], object], rows: Rows, clock: Callable[[], float]) -> dict[int, float]:
    """Time runs of growing chunks until a budget is spent; the first run of each size warms up.

    Args:
        run: runs the graph on some rows.
        rows: real rows, input name -> `(n_rows, ...)`; repeated where a chunk needs more.
        clock: seconds, monotonic.

    Returns:
        Rows in a run -> the least seconds that it took.

    Raises:
        ExecutionError: a run failed.
    """
    row_bytes = sum(array[:1].nbytes for array in rows.values())
    seconds: dict[int, float] = {}
    spent = 0.0
    for n_rows in CHUNK_CANDIDATES:
        budget_s = _BUDGET_S if _is_settled(seconds) else _LONG_BUDGET_S
        if spent > budget_s or (seconds and n_rows * row_bytes > _MOST_BYTES):
            break
        chunk = {name: np.resize(array, (n_rows, *array.shape[1:])) for name, array in rows.items()}
        times = []
        for _ in range(1 + _REPEATS):
            started = clock()
            run(chunk)
            times.append(clock() - started)
        seconds[n_rows] = min(times[1:])
        spent += sum(times)
    return seconds


def _is_settled(seconds: Mapping[int, float]) -> bool:
    """Return whether larger chunks no longer make a row much cheaper, as far as they have been timed."""
    a_row = [each / n_rows for n_rows, each in seconds.items()]
    return len(a_row) > 1 and a_row[-1] > _MUCH_CHEAPER * a_row[-2]


def profile(run: Callable[[Rows], object], rows: Rows, clock: Callable[[], float]) -> Plan:
    """Return the plan that `timed` runs suggest."""
    return choose_plan(timed(run, rows, clock))


def read_setups(cache: Cache, bundle: Bundle, providers: Mapping[str, tuple[str, ...]]) -> Setups:
    """Return what is known of a bundle's graphs on this machine, with these providers; nothing if it is not sound."""
    document = cache.read(_key(bundle, providers))
    try:
        return {int(key): Setup.from_json(setup) for key, setup in (document or {}).items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        return {}


def write_setups(cache: Cache, bundle: Bundle, providers: Mapping[str, tuple[str, ...]], setups: Setups) -> None:
    """Keep what was found out about a bundle's graphs."""
    cache.write(_key(bundle, providers), {str(key): setup.to_json() for key, setup in setups.items()})


def _key(bundle: Bundle, providers: Mapping[str, tuple[str, ...]]) -> Key:
    """Return where plans lie: they hold for one bundle, machine, onnxruntime and choice of providers."""
    used = tuple(sorted({provider for chosen in providers.values() for provider in chosen}))
    chosen = "; ".join(f"{name}={','.join(providers[name])}" for name in sorted(providers))
    return Key("plans", bundle.digest, machine_key(used), chosen)
