"""Objectives for tests of the search: quick, without randomness, and importable by worker processes."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from widedeep.export.search.loop import Report
from widedeep.export.search.space import Choice, Params, Real, Space, Whole
from widedeep.export.search.trial import Measured

SPACE: Space = {
    "rate": Real(1e-3, 1.0, log=True),
    "share": Real(0.0, 1.0),
    "depth": Whole(1, 12),
    "rounds": Whole(1, 1000, log=True),
    "shape": Choice(("flat", "deep", True)),
    "fixed": Choice((3,)),
}


def loss_of(params: Params) -> float:
    """Return a loss with one smooth valley: least where rate is 0.1, share 0.3, depth 6, and shape deep."""
    rate, share, depth = float(params["rate"]), float(params["share"]), int(params["depth"])
    return 0.1 + abs(rate - 0.1) + (share - 0.3) ** 2 + abs(depth - 6) / 20 + 0.2 * (params["shape"] != "deep")


def evaluate(params: Params, report: Report) -> Measured:
    """Report three losses that fall towards the last, which is the trial's; deep trials take longer."""
    loss = loss_of(params)
    for step in range(3):
        report(step, loss + 1 / (1 + step))
    return Measured(loss, latency_us=float(params["depth"]), notes={"seed": str(report.seed)})


@dataclass(frozen=True)
class Slow:
    """Evaluates as `evaluate`, over some time."""

    seconds: float

    def __call__(self, params: Params, report: Report) -> Measured:
        time.sleep(self.seconds)
        return evaluate(params, report)


@dataclass(frozen=True)
class Deadly:
    """Evaluates as `evaluate`, but the process dies at the first trial that meets each of some depths."""

    folder: Path
    depths: tuple[int, ...]

    def __call__(self, params: Params, report: Report) -> Measured:
        mark = self.folder / f"died-{params['depth']}"
        if params["depth"] in self.depths and not mark.exists():
            mark.write_text(json.dumps(dict(params)))
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(params, report)


class Unloadable:
    """An objective that no other process can load."""

    def __setstate__(self, state: object) -> None:
        raise ImportError("no such library")

    def __getstate__(self) -> tuple[int]:
        return (0,)

    def __call__(self, *_: object) -> Measured:
        raise AssertionError("not reached")


def fail(params: Params, report: Report) -> Measured:
    """Fail whatever the parameters."""
    raise RuntimeError(f"no model at depth {params['depth']}")


def fail_often(params: Params, report: Report) -> Measured:
    """Fail where the depth is odd."""
    if int(params["depth"]) % 2:
        fail(params, report)
    return evaluate(params, report)


def die(params: Params, report: Report) -> Measured:
    """Die with the process, whatever the parameters."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")
