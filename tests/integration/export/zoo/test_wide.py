"""Wide kinds on real tables: what they learn, how they are told to, and that their export answers alike."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from widedeep.export.zoo.forests import EXTRA_TREES, RANDOM_FOREST
from widedeep.export.zoo.hist_gradient_boosting import HistGradientBoosting
from widedeep.export.zoo.kind import Fitted, Kind, Lesson
from widedeep.export.zoo.lightgbm import LightGBM
from widedeep.export.zoo.linear import Linear
from widedeep.export.zoo.problem import Problem
from widedeep.export.zoo.rows import Rows
from widedeep.export.zoo.xgboost import XGBoost
from widedeep.serving.contract.columns import bind_columns
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.runtime import open_session
from zoo_lessons import Data, loss_of, prior_loss, split

BOOSTERS: tuple[Kind, ...] = (LightGBM(), XGBoost(), HistGradientBoosting())
KINDS: tuple[Kind, ...] = (*BOOSTERS, Linear(), EXTRA_TREES, RANDOM_FOREST)

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
each_booster = pytest.mark.parametrize("kind", BOOSTERS, ids=lambda kind: kind.name)


def as_data(table: pd.DataFrame, target: Array, task: str, text: tuple[str, ...] = ()) -> Data:
    numeric = tuple(str(name) for name in table if name not in text)
    table = table.astype(dict.fromkeys(numeric, np.float32)).astype(dict.fromkeys(text, object))
    n_words = {name: int(table[name].nunique()) for name in text}
    n_outputs = 1 if task == "regression" else int(target.max()) + 1
    problem = Problem(task, n_outputs, len(table), numeric, text, n_words)  # type: ignore[arg-type]  # a literal
    return problem, Rows(table.reset_index(drop=True)), target


@pytest.fixture(scope="module")
def marriages() -> Data:
    """Mixed: answers of 2,122 wives to a survey (Fair, 1978), their jobs as words; of some the age is not known."""
    table = sm.datasets.fair.load_pandas().data.iloc[::3].reset_index(drop=True)
    target = (table.pop("affairs") > 0).to_numpy().astype(np.int64)
    jobs = np.array(["", "student", "farm", "office", "teacher", "manager", "doctor"], dtype=object)
    for name in ("occupation", "occupation_husb"):
        table[name] = pd.Series(jobs[table[name].astype(int)], dtype=object)
    table.loc[::11, "age"] = np.nan
    return as_data(table, target, "classification", ("occupation", "occupation_husb"))


def bunch(load: Callable[..., object], task: str) -> Data:
    found = load(as_frame=True)
    target = found.target.to_numpy(np.float64 if task == "regression" else np.int64)  # type: ignore[attr-defined]
    return as_data(found.data, target, task)  # type: ignore[attr-defined]  # a Bunch


@pytest.fixture(scope="module")
def tumours() -> Data:
    return bunch(load_breast_cancer, "classification")


@pytest.fixture(scope="module")
def wines() -> Data:
    return bunch(load_wine, "classification")


@pytest.fixture(scope="module")
def patients() -> Data:
    return bunch(load_diabetes, "regression")


@pytest.fixture(scope="module")
def fitted(marriages: Data) -> dict[str, Fitted]:
    """Each kind, trained with its first parameters on the mixed table."""
    problem, _, _ = marriages
    lesson, _, _ = split(marriages)
    return {kind.name: kind.fit(problem, kind.portfolio(problem)[0], lesson) for kind in KINDS}


@each_kind
def test_a_kind_learns_from_numbers_and_words(kind: Kind, marriages: Data, fitted: dict[str, Fitted]) -> None:
    lesson, rows, target = split(marriages)
    assert loss_of(fitted[kind.name].score(rows), target) < 0.95 * prior_loss(lesson, target, 2)


@each_kind
@pytest.mark.parametrize(
    ("name", "share"), [("tumours", 0.35), pytest.param("wines", 0.35, marks=pytest.mark.slow), ("patients", 0.85)]
)
def test_a_kind_learns_from_numbers(kind: Kind, name: str, share: float, request: pytest.FixtureRequest) -> None:
    data: Data = request.getfixturevalue(name)
    problem, (lesson, rows, target) = data[0], split(data)
    params = kind.portfolio(problem)[0]
    loss = loss_of(kind.fit(problem, params, lesson).score(rows), target)
    assert loss < share * prior_loss(lesson, target, problem.n_outputs)


@each_kind
def test_the_member_answers_as_the_model_does(
    kind: Kind, marriages: Data, fitted: dict[str, Fitted], tmp_path: Path
) -> None:
    _, rows, _ = split(marriages)
    member = fitted[kind.name].convert(rows)
    assert all(spec.allow_nan for spec in member.inputs if spec.datatype != "BYTES")
    table = rows.table.copy()
    table.loc[::2, "religious"] = np.nan
    table.loc[::3, "occupation"] = "astronaut"
    odd = Rows(table)
    session = open_session(member.save(tmp_path / "member.onnx"))
    scores = session.run(None, bind_columns(member.inputs, odd.columns()))[0]
    np.testing.assert_allclose(scores, fitted[kind.name].score(odd), atol=1e-5)


@each_kind
def test_shares_of_the_columns_sum_to_one(kind: Kind, marriages: Data, fitted: dict[str, Fitted]) -> None:
    shares = fitted[kind.name].importance()
    assert set(shares) == set(marriages[1].table.columns)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["rate_marriage"] + shares["yrs_married"] > 2 / len(shares)


@each_kind
def test_the_seed_gives_the_same_model(kind: Kind, marriages: Data, fitted: dict[str, Fitted]) -> None:
    problem, (lesson, rows, _) = marriages[0], split(marriages)
    again = kind.fit(problem, kind.portfolio(problem)[0], lesson)
    np.testing.assert_array_equal(again.score(rows), fitted[kind.name].score(rows))


@each_kind
def test_rows_of_more_weight_count_more(kind: Kind, marriages: Data, fitted: dict[str, Fitted]) -> None:
    problem, (lesson, rows, _) = marriages[0], split(marriages)
    weights = np.where(lesson.target == 1, 5.0, 1.0)
    heavy = kind.fit(problem, kind.portfolio(problem)[0], replace(lesson, weights=weights / weights.mean()))
    assert heavy.score(rows)[:, 1].mean() > 1.3 * fitted[kind.name].score(rows)[:, 1].mean()


@each_kind
def test_parameters_outside_the_space_are_refused(kind: Kind, marriages: Data) -> None:
    problem, (lesson, _, _) = marriages[0], split(marriages)
    with pytest.raises(ValueError, match="'depths' is unknown"):
        kind.fit(problem, {**kind.portfolio(problem)[0], "depths": 3}, lesson)


@each_booster
def test_rounds_are_found_on_rows_held_out(kind: Kind, marriages: Data, fitted: dict[str, Fitted]) -> None:
    curve = fitted[kind.name].history["validation loss"]
    assert fitted[kind.name].settled == {"n_rounds": int(np.argmin(curve)) + 1}
    assert min(curve) < curve[0]


@each_booster
def test_settled_rounds_are_learned_without_holding_out(kind: Kind, marriages: Data) -> None:
    problem, (lesson, rows, target) = marriages[0], split(marriages)
    few = kind.fit(problem, kind.portfolio(problem)[0], replace(lesson, settled={"n_rounds": 1}))
    more = kind.fit(problem, kind.portfolio(problem)[0], replace(lesson, settled={"n_rounds": 25}))
    assert few.history == {}
    assert more.settled == {"n_rounds": 25}
    assert loss_of(more.score(rows), target) < loss_of(few.score(rows), target)


@each_booster
def test_each_round_is_told_and_may_end_the_training(kind: Kind, marriages: Data) -> None:
    heard: list[int] = []

    def end_at_third(step: int, loss: float) -> None:
        heard.append(step)
        assert 0 < loss < 1
        if step == 2:
            raise InterruptedError

    problem, (lesson, _, _) = marriages[0], split(marriages)
    with pytest.raises(InterruptedError):
        kind.fit(problem, kind.portfolio(problem)[0], replace(lesson, on_step=end_at_third))
    assert heard == [0, 1, 2]


@each_booster
def test_a_training_out_of_time_stops_with_what_it_has(kind: Kind, marriages: Data) -> None:
    problem, (lesson, rows, _) = marriages[0], split(marriages)
    model = kind.fit(problem, kind.portfolio(problem)[0], replace(lesson, stop_at=time.monotonic() - 1))
    assert len(model.history["validation loss"]) == 1
    assert model.score(rows).sum(axis=1) == pytest.approx(1.0)


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("name", ["patients", "wines"])
def test_regressions_and_many_classes_convert(kind: Kind, name: str, request: pytest.FixtureRequest) -> None:
    data: Data = request.getfixturevalue(name)
    problem, (lesson, rows, _) = data[0], split(data)
    for params in kind.portfolio(problem):
        member = kind.fit(problem, params, lesson).convert(rows)
        assert member.n_outputs == problem.n_outputs


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize(("numeric", "text"), [((), ("city", "job")), (("gone",), ("city",)), (("only",), ())])
def test_odd_tables_are_learned_and_convert(kind: Kind, numeric: tuple[str, ...], text: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 60)
    table = pd.DataFrame(
        {
            "gone": np.full(60, np.nan, np.float32),
            "only": (target + rng.normal(size=60) / 2).astype(np.float32),
            "city": pd.Series(np.where(target + (rng.random(60) < 0.2) == 1, "Ulm", "Bonn"), dtype=object),
            "job": pd.Series(rng.choice(["", "cook", "nurse"], 60), dtype=object),
        }
    )[[*numeric, *text]]
    problem, rows, _ = as_data(table, target, "classification", text)
    for params in kind.portfolio(problem):
        model = kind.fit(problem, params, Lesson(rows, target))
        assert loss_of(model.score(rows), target) < 0.69
        assert model.convert(rows).n_outputs == 2
