"""Make the demo's bundle: cross-fit four members, export them, learn their combination, judge it on test rows."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from ...serving.contract.tensors import Array
from ...serving.engine.ensemble import Ensemble
from ..build import Built, build
from ..convert import convert
from ..member import Member
from ..out_of_fold import CrossFit, cross_fit
from ..weights import Selection, metrics_of
from .digits import MOST_INK, Rows, split_digits, tabular_names
from .members import input_of, recipes

MODEL = "digits"
VERSION = "1"
N_FOLDS = 5

Results = Mapping[str, Any]
"""What `results.json` holds: `members` and `combiners`, each name -> `log_loss` and `accuracy` on the untouched test
rows, and `chosen`, the name of the combiner in the bundle."""

Phase = Callable[[str, int], AbstractContextManager[Callable[[str], None]]]
"""Opens a stage of the work given its title and number of steps; the function that it yields is called once
a step with the name of what is done."""


@dataclass(frozen=True, slots=True)
class Made:
    """The bundle and how it does.

    Attributes:
        built: the bundle and the selection among combiners.
        results: metrics on the test rows.
    """

    built: Built
    results: Results


def make_bundle(path: Path, seed: int, phase: Phase) -> Made:
    """Train, export, prove, learn and build; see `Results` for how it is judged.

    Args:
        path: the bundle's folder.
        seed: of the split, the folds and all training.
        phase: shows progress.
    """
    train, test = split_digits(seed)
    fitted = _train(train, seed, phase)
    with phase("Exporting to ONNX and proving parity", len(fitted)) as step:
        members = {}
        for name, fit in fitted.items():
            members[name] = _convert(name, fit.model, train)
            step(name)
    with phase("Learning the combination on out-of-fold scores", 0) as step:
        built = build(
            path,
            name=MODEL,
            members=members,
            scores={name: fit.scores for name, fit in fitted.items()},
            target=train.labels,
            rows=train.inputs,
            seed=seed,
            n_folds=N_FOLDS,
            pixel_scale={"image": MOST_INK},
            on_learner=step,
        )
    return Made(built, judge(Ensemble.load(path), built.selection, test))


def judge(ensemble: Ensemble, selection: Selection, test: Rows) -> Results:
    """Return each member's and each combiner's metrics on rows that nothing was trained or chosen on."""
    names = [member.name for member in ensemble.bundle.members]
    outputs = ensemble.predict(test.inputs, [f"scores/{name}" for name in names])
    scores = np.array([outputs[f"scores/{name}"] for name in names], np.float64)

    def metrics(probabilities: Array) -> dict[str, float]:
        found = metrics_of(probabilities, test.labels, "classification")
        return {"log_loss": found["log_loss"], "accuracy": found["accuracy"]}

    return {
        "members": {name: metrics(member) for name, member in zip(names, scores, strict=True)},
        "combiners": {name: metrics(combiner(scores)) for name, combiner in selection.combiners.items()},
        "chosen": selection.chosen,
    }


def _train(train: Rows, seed: int, phase: Phase) -> dict[str, CrossFit]:
    folds = [
        held_out
        for _, held_out in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(train.labels, train.labels)
    ]
    members = recipes()
    title = f"Training each member {N_FOLDS + 1} times: without each fold, and on all rows"
    fitted = {}
    with phase(title, (N_FOLDS + 1) * len(members)) as step:
        for recipe in members:
            on_fit = partial(step, recipe.name)
            fitted[recipe.name] = cross_fit(recipe, train.inputs, train.labels, folds, seed=seed, on_fit=on_fit)
    return fitted


def _convert(name: str, model: Any, train: Rows) -> Member:
    rows = {input_of(name): train.inputs[input_of(name)]}
    return convert(model, rows, feature_names={"tabular": tabular_names()} if "tabular" in rows else None)
