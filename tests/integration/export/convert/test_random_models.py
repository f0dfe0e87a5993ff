"""Small models trained with random options: each is converted rightly or refused by name.

The probes here are not those of the gate: thresholds come from the library's own listing of its trees, and the model
is asked in the form in which it was trained.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError, Member
from widedeep.serving.contract.tensors import Array

from .conftest import Score

N_ROWS = 120
N_PROBES = 300
WORDS = ("red", "green", "blue", "grün", "a b", "7", "")
TOLERANCE = 1e-5
"""That of the gate: absolute for probabilities, relative to the usual size of a regression's values."""


@dataclass(frozen=True)
class Trained:
    model: Any
    rows: Any
    thresholds: Mapping[int, Array]
    coded: tuple[int, ...]
    ask: Callable[[Any], Array]
    options: Mapping[str, Any]
    task: str | None


def some(rng: np.random.Generator, **choices: Any) -> dict[str, Any]:
    """Return a random value for each option; None leaves it out."""
    drawn = {name: values[rng.integers(len(values))] for name, values in choices.items()}
    return {name: value for name, value in drawn.items() if value is not None}


def table(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return rows of five columns, the last holding codes, and a signal; some values missing, some zero."""
    rows = rng.normal(size=(N_ROWS, 5)) * rng.choice([0.01, 1, 1, 1000])
    rows[:, 1] = np.round(rows[:, 1])
    rows[:, 3] = np.where(rng.random(N_ROWS) < 0.3, 0, rows[:, 3])
    rows[:, 4] = rng.integers(0, rng.choice([2, 5, 40, 90]), N_ROWS)
    signal = rows[:, 0] / np.abs(rows[:, 0]).max() + (rows[:, 1] > 0) + np.isin(rows[:, 4] % 5, [1, 3])
    if rng.random() < 0.5:
        rows[rng.random(rows.shape) < 0.1] = np.nan
    if rng.random() < 0.3:
        rows = rows.astype(np.float32)
    return rows, signal


def framed(rng: np.random.Generator, rows: Array) -> pd.DataFrame:
    """Return the rows as a DataFrame with a column of words at the end, and perhaps one of sizes and one of counts."""
    frame = pd.DataFrame(rows[:, :4], columns=["a", "b b", "c", "d"])
    codes = np.nan_to_num(rows[:, 4]).astype(int)
    if rng.random() < 0.3:
        frame.insert(1, "size", pd.Categorical.from_codes(codes % 3, categories=[30, 10, 20]))
        frame.loc[rng.random(N_ROWS) < rng.choice([0, 0.1]), "size"] = None
    if rng.random() < 0.3:
        frame["n"] = rng.integers(-5, 5, N_ROWS)
    words = WORDS[: rng.integers(2, len(WORDS) + 1)]
    frame["word"] = pd.Categorical.from_codes(codes % len(words), categories=words[::-1])
    if "" not in words and rng.random() < 0.4:
        frame.loc[rng.random(N_ROWS) < 0.1, "word"] = None
    return frame


def target(rng: np.random.Generator, signal: Array, kind: str) -> Array:
    match kind:
        case "binary":
            return (signal > np.median(signal)).astype(int)
        case "classes":
            return np.digitize(signal, np.quantile(signal, [0.3, 0.7]))
        case "share":
            return np.clip(signal / 4 + 0.3, 0.05, 0.95)
        case "several":
            return np.column_stack([signal, signal**2, -signal])
        case "labels":
            return np.column_stack([signal > 0.5, signal < 1, signal > 1.5]).astype(int)
        case _:
            return np.asarray(np.abs(signal) * rng.choice([1, 100]) + 0.1)


def xgboost_model(rng: np.random.Generator) -> Trained:
    rows, signal = table(rng)
    kind = rng.choice(["binary", "classes", "value", "value", "several", "labels", "share", "raw"])
    coded = bool(rng.random() < 0.4)
    options: dict[str, Any] = {"n_estimators": int(rng.integers(1, 8)), "n_jobs": 1} | some(
        rng,
        booster=["gbtree", "gbtree", "gbtree", "dart", "gblinear"],
        max_depth=[1, 3, 6, None],
        gamma=[None, None, None, 0.3, 5.0],
        num_parallel_tree=[None, None, 3],
        subsample=[None, 0.7],
        tree_method=["hist", "hist", "exact", "approx"],
        base_score=[None, None, 0.3],
        missing=[None, None, 0.0, -1.0],
        max_cat_to_onehot=[None, 1, 100],
        rate_drop=[None, 0.5],
        grow_policy=[None, "lossguide"],
        monotone_constraints=[None, None, (1, 0, 0, 0, 0)],
        learning_rate=[None, 1.0],
    )
    if options["booster"] == "gblinear":
        options = {key: options[key] for key in ("n_estimators", "n_jobs", "booster", "missing") if key in options}
        coded = False
    if kind == "several":
        options |= some(rng, multi_strategy=[None, "multi_output_tree"])
    objectives = {
        "binary": ["binary:logistic", "reg:logistic", "binary:hinge", "binary:logitraw"],
        "classes": ["multi:softprob", "multi:softmax"],
        "labels": ["binary:logistic"],
        "share": ["reg:logistic"],
        "several": ["reg:squarederror"],
        "raw": ["binary:logistic", "binary:logitraw", "survival:cox", "rank:pairwise", "rank:ndcg", "reg:gamma"],
        "value": ["reg:squarederror", "reg:absoluteerror", "reg:gamma", "reg:tweedie", "count:poisson",
                  "reg:squaredlogerror", "reg:pseudohubererror", "reg:quantileerror"],
    }  # fmt: skip
    options["objective"] = str(rng.choice(objectives[kind]))
    if options["objective"] == "reg:quantileerror":
        options["quantile_alpha"] = [[0.5], [0.2, 0.5, 0.9]][rng.integers(2)]
    given: Any = rows
    if coded:
        options |= {"enable_categorical": True, "tree_method": "hist"}
        given = framed(rng, rows)
        if rng.random() < 0.5:
            given, options["feature_types"] = rows, ["q"] * 4 + ["c"]
    y = target(rng, signal, "binary" if kind == "raw" else kind)
    if kind == "raw":
        return raw_booster(rng, given, y, options)
    kinds = {"binary": xgboost.XGBClassifier, "classes": xgboost.XGBClassifier, "labels": xgboost.XGBClassifier}
    model = kinds.get(kind, xgboost.XGBRegressor)(**options)
    if rng.random() < 0.3 and kind != "labels":
        model.set_params(early_stopping_rounds=1).fit(given, y, eval_set=[(given, y)], verbose=False)
    else:
        model.fit(given, y)
    task = "regression" if kind == "labels" or rng.random() < 0.1 else None
    ask = model.predict_proba if kind in kinds else model.predict
    return Trained(model, given, split_values(model.get_booster()), (4,) if coded else (), ask, options, task)


def raw_booster(rng: np.random.Generator, rows: Any, y: Array, options: dict[str, Any]) -> Trained:
    parameters = {key: value for key, value in options.items() if key not in {"n_estimators", "missing", "n_jobs"}}
    types = parameters.pop("feature_types", None)
    asked = {"enable_categorical": True, "feature_types": types}
    data = xgboost.DMatrix(rows, y, **asked)
    if options["objective"].startswith("rank:"):
        data.set_group([N_ROWS // 2, N_ROWS - N_ROWS // 2])
    model = xgboost.train(parameters | {"nthread": 1}, data, options["n_estimators"])
    if rng.random() < 0.5:
        model = xgboost.Booster(model_file=model.save_raw("ubj"))
    coded = (4,) if parameters.get("enable_categorical") else ()

    def ask(table: Any) -> Array:
        return np.asarray(model.predict(xgboost.DMatrix(table, **asked)))

    return Trained(model, rows, split_values(model), coded, ask, options, None)


def split_values(booster: xgboost.Booster) -> dict[int, Array]:
    if "gblinear" in booster.save_config():
        return {}
    try:
        splits = booster.trees_to_dataframe().query("Feature != 'Leaf'").dropna(subset=["Split"])
    except (ValueError, xgboost.core.XGBoostError):  # it cannot list leaves of several values
        return {}
    names = booster.feature_names or [f"f{i}" for i in range(booster.num_features())]
    return {names.index(name): part["Split"].to_numpy(np.float32) for name, part in splits.groupby("Feature")}


def lightgbm_model(rng: np.random.Generator) -> Trained:
    rows, signal = table(rng)
    kind = rng.choice(["binary", "classes", "value", "share"])
    coded = bool(rng.random() < 0.5)
    options: dict[str, Any] = {"n_estimators": int(rng.integers(1, 8)), "n_jobs": 1, "verbose": -1} | some(
        rng,
        boosting_type=["gbdt", "gbdt", "dart", "rf"],
        num_leaves=[2, 6, 31],
        min_child_samples=[1, 5, 30],
        zero_as_missing=[None, None, True],
        use_missing=[None, None, False],
        linear_tree=[None, None, True],
        extra_trees=[None, True],
        learning_rate=[None, 1.0],
        monotone_constraints=[None, None, [1, 0, 0, 0, 0]],
        max_cat_to_onehot=[None, 1, 100],
        max_bin=[None, 7],
    )
    if options.get("linear_tree"):
        options.pop("zero_as_missing", None)
    if options["boosting_type"] == "rf":
        options |= {"subsample": 0.6, "subsample_freq": 1}
    if coded:
        options |= {"min_data_per_group": 2, "cat_smooth": 1.0}
        options.pop("monotone_constraints", None)
    objectives = {
        "binary": ["binary", "cross_entropy"],
        "classes": ["multiclass", "multiclassova"],
        "share": ["cross_entropy", "cross_entropy_lambda"],
        "value": ["l2", "l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie"],
    }
    options["objective"] = str(rng.choice(objectives[kind]))
    if options["objective"] in {"l2", "l1"}:
        options |= some(rng, reg_sqrt=[None, True])
    if options["objective"] in {"binary", "multiclassova"}:
        options |= some(rng, sigmoid=[None, 2.0])
    if options["objective"] in {"mape", "l1", "quantile"}:
        options.pop("monotone_constraints", None)
    named = coded and rng.random() < 0.5
    given = framed(rng, rows) if named else rows
    y = target(rng, signal, kind)
    fit: dict[str, Any] = {"categorical_feature": [4]} if coded and not named else {}
    if rng.random() < 0.3:
        fit |= {"eval_X": given, "eval_y": y}
        fit |= {} if options["boosting_type"] == "dart" else {"callbacks": [lightgbm.early_stopping(1, verbose=False)]}
    is_classifier = kind in {"binary", "classes"}
    model: Any = (lightgbm.LGBMClassifier if is_classifier else lightgbm.LGBMRegressor)(**options).fit(given, y, **fit)
    ask = model.predict_proba if is_classifier else model.predict
    splits = listed_splits(model.booster_.dump_model()["tree_info"])
    task = "regression" if options["objective"] == "multiclassova" or rng.random() < 0.1 else None
    if rng.random() < 0.3:
        model = lightgbm.Booster(model_str=model.booster_.model_to_string())
        ask = model.predict
    return Trained(model, given, splits, (4,) if coded else (), ask, options, task)


def listed_splits(trees: Any) -> dict[int, Array]:
    found: dict[int, list[float]] = {}
    waiting = [tree["tree_structure"] for tree in trees]
    while waiting:
        node = waiting.pop()
        if "left_child" in node:
            waiting += [node["left_child"], node["right_child"]]
            if node["decision_type"] == "<=":
                found.setdefault(node["split_feature"], []).append(float(node["threshold"]))
    return {feature: np.array(values) for feature, values in found.items()}


def histogram_model(rng: np.random.Generator) -> Trained:
    rows, signal = table(rng)
    kind = rng.choice(["binary", "classes", "value"])
    options: dict[str, Any] = {"max_iter": int(rng.integers(1, 8))} | some(
        rng,
        max_leaf_nodes=[2, 6, None],
        min_samples_leaf=[1, 5, 30],
        max_bins=[10, 255],
        learning_rate=[0.1, 1.0],
        early_stopping=[True, False],
        interaction_cst=[None, "pairwise"],
        max_features=[1.0, 0.5],
    )
    given: Any = rows
    coded = bool(rng.random() < 0.6) and options["max_bins"] == 255
    if coded:
        options["categorical_features"] = [4]
        rows[:, 4] = rows[:, 4] * rng.choice([1, 2, 0.5]) - rng.choice([0, 3])
        if rng.random() < 0.4:
            given = framed(rng, rows)
            options["categorical_features"] = str(rng.choice(["from_dtype", "word"]))
            if options["categorical_features"] == "word":
                given["word"], options["categorical_features"] = given["word"].astype(object), ["word"]
    if kind == "value":
        options |= some(rng, loss=["squared_error", "absolute_error", "gamma", "poisson", "quantile"], quantile=[0.4])
    is_classifier = kind != "value"
    estimator = HistGradientBoostingClassifier if is_classifier else HistGradientBoostingRegressor
    model = estimator(**options).fit(given, target(rng, signal, kind))
    nodes = np.concatenate([predictor.nodes for step in model._predictors for predictor in step])
    nodes = nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)]
    by_category = np.zeros(given.shape[1], np.bool_) if model.is_categorical_ is None else model.is_categorical_
    order = np.argsort(~np.asarray(by_category), kind="stable")
    splits = {int(order[f]): nodes["num_threshold"][nodes["feature_idx"] == f] for f in np.unique(nodes["feature_idx"])}
    ask = model.predict_proba if is_classifier else model.predict
    return Trained(model, given, splits, (4,) if coded else (), ask, options, None)


LIBRARIES = {"xgboost": xgboost_model, "lightgbm": lightgbm_model, "histogram": histogram_model}


def probes(rng: np.random.Generator, trained: Trained, member: Member) -> Any:
    """Return rows like those given, with values at thresholds and a step beside, missing, tiny or odd as categories."""
    is_frame = isinstance(trained.rows, pd.DataFrame)
    picked = rng.integers(0, N_ROWS, N_PROBES)
    out = trained.rows.iloc[picked].reset_index(drop=True) if is_frame else trained.rows[picked].copy()
    dtype = out["a"].dtype if is_frame else out.dtype
    nan = next(spec.allow_nan for spec in member.inputs if spec.datatype.is_float)
    plain = [i for i in range(out.shape[1]) if not (is_frame and out.columns[i] in {"size", "n", "word"})]
    for column in plain if is_frame else range(4 if trained.coded else 5):
        values = [np.zeros(1), np.array([1e-36, -1e-36, 1e-30, -1.0, 1e6])] + ([np.array([np.nan])] if nan else [])
        for at in (trained.thresholds.get(column, np.zeros(0)),):
            for kind in (np.float32, np.float64):
                exact = at.astype(kind)
                values += [exact, np.nextafter(exact, kind(-np.inf)), np.nextafter(exact, kind(np.inf))]
        choice = np.concatenate([v.astype(dtype) for v in values])
        choice = choice[~np.isinf(choice)]
        replaced = rng.random(N_PROBES) < 0.4
        drawn = rng.choice(choice, int(replaced.sum()))
        if is_frame:
            out.iloc[np.flatnonzero(replaced), column] = drawn
        else:
            out[replaced, column] = drawn
    replaced = rng.random(N_PROBES) < 0.5
    if is_frame:
        sizes = [10, 20, 30, 99, *([np.nan, 10.5] if nan and out.get("size", pd.Series([0])).isna().any() else [])]
        gap = [None] if any(spec.missing is not None for spec in member.inputs) else []
        for name, values in (("word", [*WORDS[: 7 - len(gap)], "unseen", *gap]), ("size", sizes)):
            if name in out:
                out[name] = out[name].astype(object)
                out.loc[replaced, name] = rng.choice(np.array(values, object), int(replaced.sum()))
    elif trained.coded:
        odd = [0, 1, 2, 3, 7, 31, 32, 64, 89, 90, 1000, 7.5, 1.25, -0.5, -1, -3, 16777216, *([np.nan] if nan else [])]
        out[replaced, 4] = rng.choice(np.array(odd, dtype), int(replaced.sum()))
    return out


def tensors(probe: Any, member: Member) -> dict[str, Array]:
    if not isinstance(probe, pd.DataFrame):
        return {"tabular": probe}
    taken = {}
    for spec in member.inputs:
        part = probe[list(spec.feature_names)]
        part = part.astype(object).where(part.notna(), spec.missing) if spec.missing is not None else part
        taken[spec.name] = part.to_numpy(spec.datatype.dtype)
    return taken


def as_trained(probe: Any, trained: Trained) -> Any:
    if not isinstance(probe, pd.DataFrame):
        return probe
    known = {name: getattr(trained.rows[name].dtype, "categories", None) for name in probe}
    return probe.assign(
        **{
            name: pd.Categorical.from_codes(values.get_indexer(probe[name]), categories=values)
            for name, values in known.items()
            if values is not None
        }
    )


def difference(trained: Trained, member: Member, scored: Array, answered: Array) -> float:
    expected = answered.reshape(len(answered), -1)
    if member.task == "classification" and expected.shape[1] == 1:
        expected = np.concatenate([1 - expected, expected], axis=1)
    assert scored.shape == expected.shape
    # A served score is a float32, which a number far beyond all real rows may overflow.
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float32).astype(np.float64)
    same = scored == expected
    size = 1.0 if member.task == "classification" else np.maximum(1.0, np.median(np.abs(expected), axis=0))
    off = np.abs(np.where(same, 0, scored) - np.where(same, 0, expected))
    return float((off / np.maximum(size, np.abs(expected))).max())


def outcome(library: str, seed: int, score: Score) -> str:
    """Return `right` or why a random model is refused; fail if it is converted wrongly."""
    rng = np.random.default_rng(seed)
    trained = LIBRARIES[library](rng)
    try:
        member = convert(trained.model, trained.rows, task=trained.task)
    except ConversionError as error:
        return str(error)
    probe = probes(rng, trained, member)
    scored = score(member, tensors(probe, member))
    worst = difference(trained, member, scored, trained.ask(as_trained(probe, trained)))
    assert worst <= TOLERANCE, f"{library} seed {seed} differs by {worst:.3g}: {trained.options}"
    return "right"


@pytest.mark.filterwarnings("ignore")  # the libraries warn of some options that do not go together
@pytest.mark.parametrize(("library", "n_models"), [("xgboost", 14), ("lightgbm", 10), ("histogram", 8)])
def test_a_model_of_random_options_is_right_or_refused(library: str, n_models: int, score: Score) -> None:
    outcomes = Counter(outcome(library, seed, score) for seed in range(n_models))
    assert outcomes["right"] > n_models / 2, outcomes
