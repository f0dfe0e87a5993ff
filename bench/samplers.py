"""Samplers of hyperparameters side by side: the same space, data, splits, trials and seeds for each of them.

python bench/samplers.py [--seeds 5] [--trials 40] [--gp-seeds 0]     writes docs/samplers.md and .svg

Each trial trains LightGBM on two thirds of the rows and measures its loss on the rest. Needs the extras `train`,
`hyperopt` and `bench`, and statsmodels for one of the data sets; `--gp-seeds` needs the extra `gp`.
"""

import argparse
import importlib.util
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split
from widedeep.export.search.samplers import SAMPLERS
from widedeep.export.search.space import Choice, Params, Real, Space, Whole
from widedeep.export.search.study import Study
from widedeep.export.search.trial import Measured

mpl.use("svg")
from matplotlib import pyplot as plt

SPACE: Space = {
    "learning_rate": Real(0.005, 0.5, log=True),
    "n_estimators": Whole(10, 200, log=True),
    "num_leaves": Whole(3, 63, log=True),
    "min_child_samples": Whole(2, 60),
    "colsample_bytree": Real(0.2, 1.0),
    "subsample": Real(0.4, 1.0),
    "reg_lambda": Real(1e-3, 30.0, log=True),
    "reg_alpha": Real(1e-3, 30.0, log=True),
    "extra_trees": Choice((False, True)),
}
DOCS = Path(__file__).parents[1] / "docs"
AT = (10, 20, 40)
Curves = dict[str, list[list[float]]]
"""Sampler -> a curve for each seed: the least loss after each trial."""
Runs = dict[str, Any]
"""Data set, sampler, seed and number of trials -> its curve, and CPU seconds a trial that choosing took."""

HEAD = """# Samplers side by side

    python bench/samplers.py --seeds {n_seeds} --trials {n_trials} --gp-seeds {n_gp_seeds}

Every sampler of the search (`widedeep train --sampler`) has the same search space (nine hyperparameters of LightGBM,
one of them a choice), the same data, the same split into training and validation rows, {n_trials} trials, and
{n_seeds} seeds on each of {n_data} data sets. A trial is a real training; nothing is pruned, and no portfolio comes
first. `hyperopt` is Hyperopt's own `tpe.suggest` with its defaults, fed with the same record.

The rank is among these samplers, 1 for the least loss, in each run (a data set and a seed) after so many trials; below
is its mean over runs, with the standard error of that mean. Equal losses share a rank.
"""
TAIL = """
`random`, `tpe` and `nsga2` begin with the same random trials: the first ten of `tpe`, the first 20, a generation, of
`nsga2`. Hyperopt's TPE begins with 20 of its own. `tpe` is the default because it is no worse than Hyperopt's from the
same trials, and searches choices and two objectives too; where all hyperparameters but few are numbers, as here,
`cma_es` is as good or better.

![Least validation loss against trials](samplers.svg)

Why Hyperopt and not Hyperas, which drives Hyperopt for Keras models: Hyperas was last released in 2019. It makes a
template of the training function's source, and adds nothing to how hyperparameters are chosen.
"""


@dataclass(frozen=True)
class DataSet:
    """Numbers to learn from."""

    title: str
    features: np.ndarray
    target: np.ndarray
    is_regression: bool


def load_fair() -> DataSet:
    """Load 1,500 rows of statsmodels' survey of marriages."""
    from statsmodels.datasets import fair

    table = fair.load_pandas().data.sample(1500, random_state=0)
    features = table.drop(columns="affairs").to_numpy()
    return DataSet("fair (statsmodels, 1,500 rows, log loss)", features, (table["affairs"] > 0).to_numpy(int), False)


def load_cancer() -> DataSet:
    """Load scikit-learn's breast cancer set."""
    return DataSet("breast cancer (scikit-learn, 569 rows, log loss)", *load_breast_cancer(return_X_y=True), False)


def load_progress() -> DataSet:
    """Load scikit-learn's diabetes set."""
    return DataSet("diabetes (scikit-learn, 442 rows, RMSE)", *load_diabetes(return_X_y=True), True)


DATA: Mapping[str, Callable[[], DataSet]] = {"fair": load_fair, "cancer": load_cancer, "diabetes": load_progress}


def measure(data: DataSet, params: Params, seed: int) -> float:
    """Train on two thirds and return the loss on the rest."""
    stratify = None if data.is_regression else data.target
    parts = train_test_split(data.features, data.target, test_size=1 / 3, random_state=seed, stratify=stratify)
    train, test, train_target, test_target = parts
    kind = lightgbm.LGBMRegressor if data.is_regression else lightgbm.LGBMClassifier
    options: dict[str, Any] = {"subsample_freq": 1, "n_jobs": 1, "verbose": -1, "random_state": seed, **params}
    model = kind(**options).fit(train, train_target)
    if data.is_regression:
        return float(root_mean_squared_error(test_target, model.predict(test)))
    return float(log_loss(test_target, model.predict_proba(test)))


def run(data: DataSet, sampler: str, n_trials: int, seed: int) -> tuple[list[float], float]:
    """Return the least loss after each trial, and the CPU seconds a trial that choosing took."""
    losses, choosing_s = [], 0.0
    with Study.open(None, "study", SPACE, sampler=sampler, pruner="none", seed=seed) as study:
        for _ in range(n_trials):
            started = time.process_time()
            asked = study.ask()
            choosing_s += time.process_time() - started
            if asked is None:
                break
            losses.append(measure(data, asked.params, seed))
            study.tell(asked.number, Measured(losses[-1]))
    return np.minimum.accumulate(losses).tolist(), choosing_s / n_trials


def ranks(losses: np.ndarray) -> np.ndarray:
    """Return ranks from 1 along the last axis; equal losses share their mean rank."""
    lower = (losses[..., None, :] < losses[..., :, None]).sum(-1)
    equal = (losses[..., None, :] == losses[..., :, None]).sum(-1)
    ranked: np.ndarray = lower + (equal + 1) / 2
    return ranked


def table(results: Mapping[str, Curves], choosing: Mapping[str, list[float]], samplers: Sequence[str]) -> str:
    """Return the tables in Markdown: ranks over all, then losses a data set."""
    at = [step for step in AT if step <= len(next(iter(results.values()))[samplers[0]][0])]
    stacked = np.array(
        [[results[name][sampler] for sampler in samplers] for name in results]
    )  # data, sampler, seed, step
    by_rank = ranks(np.moveaxis(stacked, 1, -1))  # data, seed, trial, sampler
    runs = by_rank.reshape(-1, *by_rank.shape[2:])
    lines = ["| sampler | " + " | ".join(f"mean rank at {step}" for step in at) + " | to choose, ms CPU |"]
    lines.append("|---" * (len(at) + 2) + "|")
    for index, sampler in enumerate(samplers):
        cells = []
        for step in at:
            values = runs[:, step - 1, index]
            cells.append(f"{values.mean():.2f} ± {values.std(ddof=1) / len(values) ** 0.5:.2f}")
        lines.append(f"| `{sampler}` | " + " | ".join(cells) + f" | {1000 * np.mean(choosing[sampler]):.0f} |")
    for row, name in enumerate(results):
        lines += ["", f"**{DATA[name]().title}**: least validation loss, mean ± standard deviation over seeds", ""]
        lines += ["| sampler | " + " | ".join(f"{step} trials" for step in at) + " |", "|---" * (len(at) + 1) + "|"]
        for index, sampler in enumerate(samplers):
            values = stacked[row, index]
            cells = [f"{values[:, step - 1].mean():.4f} ± {values[:, step - 1].std(ddof=1):.4f}" for step in at]
            lines.append(f"| `{sampler}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compare(results: Mapping[str, Curves], one: str, other: str) -> str:
    """Return a line on how two samplers fare against each other, run by run with the same data and seed."""
    pairs = [(a[-1], b[-1]) for curves in results.values() for a, b in zip(curves[one], curves[other], strict=True)]
    change = np.array([a / b - 1 for a, b in pairs])
    wins, losses = sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)
    error = change.std(ddof=1) / len(change) ** 0.5
    return (
        f"- `{one}` against `{other}`: lower loss in {wins} of {len(pairs)}, higher in {losses}; "
        f"{100 * change.mean():+.2f} % ± {100 * error:.2f} % on average, with its standard error.\n"
    )


def plot(results: Mapping[str, Curves], samplers: Sequence[str], path: Path) -> None:
    """Draw the mean of the least loss against trials, a panel a data set."""
    figure, panels = plt.subplots(1, len(results), figsize=(4.2 * len(results), 3.6), squeeze=False)
    for panel, (name, curves) in zip(panels[0], results.items(), strict=True):
        for sampler in samplers:
            mean = np.mean(curves[sampler], axis=0)
            panel.plot(np.arange(1, len(mean) + 1), mean, label=sampler, drawstyle="steps-post")
        panel.set_title(DATA[name]().title.split(" (")[0])
        panel.set_xlabel("trials")
        panel.set_ylim(top=float(np.mean([np.mean(curves[sampler], axis=0)[4] for sampler in samplers])))
    panels[0][0].set_ylabel("least validation loss, mean over seeds")
    panels[0][-1].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run every sampler on every data set and seed, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    installed = [name for name, kind in SAMPLERS.items() if all(map(importlib.util.find_spec, kind.needs[:1]))]
    quick = [name for name in installed if name != "gp"]
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--gp-seeds", type=int, default=0, help="as many of the seeds also by gp, a hundred times slower"
    )
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--samplers", nargs="+", default=quick, choices=quick)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--runs", type=Path, help="JSON file to keep runs in, and to take from what it already has")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder to write samplers.md and samplers.svg to")
    options = parser.parse_args()
    runs: Runs = json.loads(options.runs.read_text()) if options.runs and options.runs.exists() else {}
    started = time.process_time()
    for seed, name in itertools.product(range(options.seeds), options.data):
        data = DATA[name]()
        for sampler in [*options.samplers, *["gp"] * (seed < options.gp_seeds)]:
            key = f"{name} {sampler} {seed} {options.trials}"
            if key not in runs:
                runs[key] = run(data, sampler, options.trials, seed)
            print(f"{key}: {runs[key][0][-1]:.5f} ({time.process_time() - started:.0f} s CPU)", flush=True)
        if options.runs:
            options.runs.write_text(json.dumps(runs))
    write(options, runs)


def write(options: argparse.Namespace, runs: Runs) -> None:
    """Write the page and its plot."""
    results, choosing = gather(options, runs, options.samplers, options.seeds)
    text = (
        table(results, choosing, options.samplers)
        + "\n\nPairs of runs with the same data and seed, after the last trial:\n\n"
    )
    for one, other in (("tpe", "random"), ("tpe", "hyperopt")):
        if {one, other} <= set(options.samplers):
            text += compare(results, one, other)
    if options.gp_seeds:
        few, gp_choosing = gather(options, runs, ["gp", *options.samplers], options.gp_seeds)
        text += "".join(compare(few, "gp", other) for other in options.samplers)
        text += f"\n`gp` takes {1000 * np.mean(gp_choosing['gp']):.0f} ms CPU to choose."
    head = HEAD.format(
        n_seeds=options.seeds, n_trials=options.trials, n_data=len(options.data), n_gp_seeds=options.gp_seeds
    )
    (options.docs / "samplers.md").write_text(f"{head}\n{text}\n{TAIL}")
    plot(results, options.samplers, options.docs / "samplers.svg")
    print(text)


def gather(
    options: argparse.Namespace, runs: Runs, samplers: Sequence[str], n_seeds: int
) -> tuple[dict[str, Curves], dict[str, list[float]]]:
    """Return the curves of each data set, and the seconds that each sampler took to choose, a run."""
    results: dict[str, Curves] = {name: {sampler: [] for sampler in samplers} for name in options.data}
    choosing: dict[str, list[float]] = {sampler: [] for sampler in samplers}
    for name, sampler, seed in itertools.product(options.data, samplers, range(n_seeds)):
        curve, seconds = runs[f"{name} {sampler} {seed} {options.trials}"]
        results[name][sampler].append(curve)
        choosing[sampler].append(seconds)
    return results, choosing


if __name__ == "__main__":
    main()
