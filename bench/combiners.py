"""Which combiner is best, and does the choice among them find it? On data sets that ship inside scikit-learn.

    python bench/combiners.py [--splits 3] [--cache FOLDER]

Six members are scored out of fold on 80 % of a data set; every learner learns on these scores and is judged on the
other 20 %, which nothing has seen. Printed are, over all data sets and splits, each learner's mean change of loss
against the best single member (by out-of-fold loss), its mean, median and largest gap to the learner that turns out
best, how often it is worse than the best single member, and the same for rules that choose among the learners. The loss
is log loss, or the root mean squared error of a regression.

With --cache, member scores are kept in FOLDER and used again; scores of other data sets lying there are judged too
(`<set>-<seed>.npz` with `target`, `test_target` and for each member `oof/<name>` and `test/<name>`).
"""

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from widedeep.export.out_of_fold import Recipe, cross_fit
from widedeep.export.weights import metrics_of
from widedeep.export.weights.catalogue import learners_for
from widedeep.export.weights.choice import choose
from widedeep.export.weights.folds import deal
from widedeep.export.weights.held_out import check_held_out
from widedeep.export.weights.learner import fit
from widedeep.export.weights.mean import standard_error
from widedeep.export.weights.metrics import row_losses
from widedeep.export.weights.validation import cross_validate

N_FOLDS = 5
TEST_SHARE = 0.2
SETS: dict[str, Callable[..., Any]] = {
    "digits": datasets.load_digits,
    "breast_cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
}
Losses = Mapping[str, np.ndarray]


def recipes(task: str) -> tuple[Recipe, ...]:
    """Return the six members."""
    import lightgbm
    import xgboost
    from sklearn import ensemble, linear_model, neural_network

    def recipe(name: str, make: Callable[[int], Any]) -> Recipe:
        def score(model: Any, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            x = inputs["x"]
            return model.predict_proba(x) if task == "classification" else model.predict(x)[:, None]

        return Recipe(name, lambda inputs, target, seed: make(seed).fit(inputs["x"], target), score)

    classes = task == "classification"
    linear = linear_model.LogisticRegression(max_iter=1000) if classes else linear_model.RidgeCV()
    xgb = xgboost.XGBClassifier if classes else xgboost.XGBRegressor
    lgbm = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
    trees = ensemble.ExtraTreesClassifier if classes else ensemble.ExtraTreesRegressor
    hist = ensemble.HistGradientBoostingClassifier if classes else ensemble.HistGradientBoostingRegressor
    mlp = neural_network.MLPClassifier if classes else neural_network.MLPRegressor
    return (
        recipe("linear", lambda _: make_pipeline(StandardScaler(), linear)),
        recipe(
            "xgboost", lambda seed: xgb(n_estimators=60, max_depth=4, learning_rate=0.15, random_state=seed, n_jobs=2)
        ),
        recipe("lightgbm", lambda seed: lgbm(n_estimators=60, num_leaves=15, random_state=seed, verbose=-1, n_jobs=2)),
        recipe("extra_trees", lambda seed: trees(100, random_state=seed, n_jobs=2)),
        recipe("hist", lambda seed: hist(max_iter=40, max_leaf_nodes=15, random_state=seed)),
        recipe(
            "mlp",
            lambda seed: make_pipeline(
                StandardScaler(), mlp(hidden_layer_sizes=(64,), max_iter=100, random_state=seed)
            ),
        ),
    )


def member_scores(x: np.ndarray, target: np.ndarray, task: str, seed: int) -> dict[str, np.ndarray]:
    """Return out-of-fold and test scores of every member."""
    strata = target if task == "classification" else None
    train, test = train_test_split(np.arange(len(x)), test_size=TEST_SHARE, stratify=strata, random_state=seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train))
    if task == "classification":
        order = order[np.argsort(target[train][order], kind="stable")]
    folds = [np.sort(order[i::N_FOLDS]) for i in range(N_FOLDS)]
    found = {"target": target[train], "test_target": target[test]}
    for recipe in recipes(task):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a net has not converged, that lightgbm saw feature names
            fitted = cross_fit(recipe, {"x": x[train]}, target[train], folds, seed=seed)
            found[f"test/{recipe.name}"] = recipe.score(fitted.model, {"x": x[test]})
        found[f"oof/{recipe.name}"] = fitted.scores
    return found


def splits(n_splits: int, cache: Path | None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield the scores of every set and split, and those that lie in the cache."""
    done = set()
    for name, load in SETS.items():
        for seed in range(n_splits):
            key = f"{name}-{seed}"
            path = cache / f"{key}.npz" if cache else None
            done.add(key)
            if path and path.exists():
                yield key, dict(np.load(path))
                continue
            x, target = load(return_X_y=True)
            scores = member_scores(x, target, "regression" if name == "diabetes" else "classification", seed)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, **scores)
            yield key, scores
    for path in sorted(cache.glob("*.npz")) if cache else ():
        if path.stem not in done:
            yield path.stem, dict(np.load(path))


def judge(scores: Mapping[str, np.ndarray]) -> tuple[str, dict[str, float], Losses, list[np.ndarray]]:
    """Return the task, each learner's loss on the test rows, its cross-validated row losses, and the folds of these."""
    task = "classification" if scores["target"].dtype.kind == "i" else "regression"
    oof = {key.removeprefix("oof/"): array for key, array in scores.items() if key.startswith("oof/")}
    held_out = check_held_out(oof, scores["target"], task, min_rows=2 * N_FOLDS)
    unseen = np.stack([scores[f"test/{name}"] for name in oof])
    folds = deal(held_out, N_FOLDS, np.random.default_rng(0))
    memory: list[dict[str, Any]] = [{} for _ in range(N_FOLDS + 1)]
    test, validated = {}, {}
    for learner in learners_for(task, held_out.n_members, held_out.n_outputs):
        predictions = cross_validate(learner, held_out, folds, 0, memory)
        validated[learner.name] = row_losses(predictions, held_out.target, task)
        combiner = fit(learner, held_out, 0, memory[N_FOLDS])
        test[learner.name] = next(iter(metrics_of(combiner(unseen), scores["test_target"], task).values()))
    return task, test, validated, folds


def within(losses: Losses, error: Callable[[str, str], float]) -> str:
    """Return the simplest learner no worse than the best single one and within `error(name, best)` of the best."""
    means = {name: rows.mean() for name, rows in losses.items()}
    best = min(means, key=lambda name: means[name])
    allowed = {name: means[best] + error(name, best) for name in means}
    return next(name for name, mean in means.items() if mean <= min(allowed[name], means["best_single"]))


def rules(losses: Losses, folds: list[np.ndarray]) -> dict[str, str]:
    """Return what each rule chooses."""

    def over_folds(name: str) -> float:
        return float(np.std([losses[name][fold].mean() for fold in folds], ddof=1) / np.sqrt(len(folds)))

    paired = choose(losses, "best_single").chosen
    return {
        "lowest loss": within(losses, lambda *_: 0.0),
        "1/2 paired error": within(losses, lambda a, b: standard_error(losses[a] - losses[b]) / 2),
        "1 paired error (ours)": paired,
        "2 paired errors": within(losses, lambda a, b: 2 * standard_error(losses[a] - losses[b])),
        "1 unpaired error, rows": within(losses, lambda _, b: standard_error(losses[b])),
        "1 unpaired error, folds": within(losses, lambda _, b: over_folds(b)),
    }


def table(title: str, losses: list[dict[str, float]]) -> None:
    """Print one line a learner or rule."""
    print(f"\n{title:26s}{'against best single':>20s}{'mean gap':>10s}{'median':>9s}{'largest':>10s}{'worse':>8s}")
    for name in losses[0]:
        change = np.array([row[name] / row["best_single"] for row in losses])
        gap = np.array([row[name] / min(row.values()) - 1 for row in losses])
        worse = f"{(change > 1 + 1e-9).sum()}/{len(losses)}"
        print(
            f"{name:26s}{change.mean() - 1:+19.1%} {gap.mean():9.1%} {np.median(gap):8.1%} {gap.max():9.1%} {worse:>7s}"
        )


def main() -> None:
    """Score, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=3, help="outer splits of every data set (default: 3)")
    parser.add_argument("--cache", type=Path, help="folder to keep member scores in")
    arguments = parser.parse_args()
    judged: dict[str, list[dict[str, float]]] = {"classification": [], "regression": []}
    chosen: dict[str, Counter[str]] = {}
    for key, scores in splits(arguments.splits, arguments.cache):
        start = time.perf_counter()
        with threadpool_limits(limits=1):  # as `learn` does
            task, test, validated, folds = judge(scores)
        picks = rules(validated, folds)
        best = min(test, key=lambda name: test[name])
        for rule, name in picks.items():
            chosen.setdefault(rule, Counter())[name] += 1
        judged[task].append({**test, **{rule: test[name] for rule, name in picks.items()}})
        ours = picks["1 paired error (ours)"]
        print(
            f"{key:18s} best single {test['best_single']:.4f}  {ours} {test[ours]:.4f}  best {best} {test[best]:.4f}"
            f"  ({len(scores['target'])} rows, {time.perf_counter() - start:.1f} s)",
            flush=True,
        )
    for task, losses in judged.items():
        if losses:
            table(f"{task}, {len(losses)} splits", losses)
    print("\nHow often each rule chose what")
    for rule, counts in chosen.items():
        print(f"{rule:26s}{', '.join(f'{name} {count}' for name, count in counts.most_common())}")


if __name__ == "__main__":
    main()
