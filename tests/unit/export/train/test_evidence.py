"""What a bundle keeps of its training."""

import json
from typing import NoReturn

from widedeep.export.train.candidates import About
from widedeep.export.train.evidence import Training


def test_figures_that_are_not_finite_leave_strict_json() -> None:
    about = About(
        kind="mlp",
        family="deep",
        trial=0,
        params={},
        loss=0.5,
        importance={"a": float("nan"), "b": 1.0},
        history={"validation loss": (0.7, 0.6, float("nan"), float("inf"))},
    )
    training = Training(
        target="y",
        task="classification",
        n_rows={"train": 1, "test": 0},
        columns=(),
        notes=(),
        settings={},
        seconds={},
        trials={},
        families={},
        started_s=0.0,
        members={"mlp_0": about},
        reasons={},
        latency={},
    )
    told = json.loads(training.to_json(), parse_constant=_refuse)["members"]["mlp_0"]
    assert told["history"] == {"validation loss": [0.7, 0.6]}
    assert told["importance"] == {"b": 1.0}


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")
