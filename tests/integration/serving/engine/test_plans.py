"""Whatever plan a bundle runs by, it gives the same answers; and what is measured is kept and used."""

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bundle import fused_graph, make_bundle, rows
from widedeep.serving.contract.bundle import Samples, read_bundle, read_samples, write_bundle
from widedeep.serving.contract.combiner import LinearPool
from widedeep.serving.contract.errors import InvalidInput
from widedeep.serving.engine import ensemble as ensemble_module
from widedeep.serving.engine import profile as profile_module
from widedeep.serving.engine.cache import Cache
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.opening import Graphs, Opener, resolve
from widedeep.serving.engine.outputs import outputs_of
from widedeep.serving.engine.plan import COMBINER, FUSED, Plan
from widedeep.serving.engine.pool import Pool
from widedeep.serving.engine.profile import Setup
from widedeep.serving.engine.runtime import GraphOptions
from widedeep.serving.engine.tune import tune

OUTPUTS = ("probabilities", "scores/deep", "scores/wide")

plans = st.builds(
    Plan,
    chunk_rows=st.one_of(st.none(), st.integers(1, 40)),
    call_s=st.floats(0, 1e-2),
    row_s=st.floats(1e-9, 1e-2),
    threads=st.sampled_from([1, 2]),
)


@pytest.fixture(scope="module")
def fused_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that carries its fused graph."""
    path = tmp_path_factory.mktemp("fused") / "bundle"
    make_bundle(path, fused=True)
    return path


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(3)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def with_plans(fused_path: Path, pool: Pool) -> Callable[[Plan, Plan, Plan], Ensemble]:
    """Return the ensemble that runs its members and its fused graph by some plans, on several threads where told."""
    ensemble = Ensemble.load(fused_path, pool=pool)
    opener = Opener(fused_path, ensemble.bundle, resolve(ensemble.bundle, {}))
    wide = {key: opener.open(key, GraphOptions(threads=2)) for key in (0, 1, FUSED)}

    def make(deep: Plan, wide_member: Plan, fused: Plan) -> Ensemble:
        chosen = {0: deep, 1: wide_member, FUSED: fused, COMBINER: Plan(None, 1e-5, 0.0)}
        several = {key: graph for key, graph in wide.items() if graph and chosen[key].threads > 1}
        return Ensemble(ensemble.bundle, Graphs(ensemble.members, ensemble.fused, chosen, several), pool)

    return make


@settings(max_examples=60, deadline=None)
@given(chosen=st.tuples(plans, plans, plans), n_rows=st.integers(1, 90), seed=st.integers(0, 2**32 - 1))
def test_answers_are_the_same_whatever_the_plans(
    with_plans: Callable[[Plan, Plan, Plan], Ensemble], chosen: tuple[Plan, Plan, Plan], n_rows: int, seed: int
) -> None:
    batch = rows(n_rows, seed)
    usual = Plan(1, 1e-9, 1e-9)
    one_by_one = with_plans(usual, usual, Plan(1, 1.0, 1.0))
    expected = one_by_one.predict(batch, OUTPUTS)
    answer = with_plans(*chosen).predict(batch, OUTPUTS)
    for name in OUTPUTS:
        np.testing.assert_allclose(answer[name], expected[name], atol=1e-6)


@pytest.mark.parametrize(("fused_s", "graphs"), [(1e-9, {FUSED}), (1.0, {0, 1})])
def test_the_fused_graph_runs_where_it_is_faster_than_the_members(
    with_plans: Callable[[Plan, Plan, Plan], Ensemble], fused_s: float, graphs: set[int]
) -> None:
    ensemble = with_plans(Plan(256, 1e-5, 1e-6), Plan(256, 1e-5, 1e-6), Plan(256, fused_s, 1e-7))
    ran: set[int] = set()
    ensemble.execute(rows(4), 4, ["label"], observe=lambda graph, *_: ran.add(graph))
    assert ran == graphs


def test_a_fused_graph_is_left_alone_where_one_members_scores_are_all_that_is_asked(
    with_plans: Callable[[Plan, Plan, Plan], Ensemble],
) -> None:
    ensemble = with_plans(Plan(256, 1e-3, 1e-3), Plan(256, 1e-3, 1e-3), Plan(256, 1e-9, 1e-9))
    ran: set[int] = set()
    ensemble.execute(rows(4), 4, ["scores/wide"], observe=lambda graph, *_: ran.add(graph))
    assert ran == {1}


def test_a_row_without_a_finite_score_is_refused_by_the_fused_graph_too(
    with_plans: Callable[[Plan, Plan, Plan], Ensemble],
) -> None:
    ensemble = with_plans(Plan(256, 1.0, 1.0), Plan(256, 1.0, 1.0), Plan(256, 1e-9, 1e-9))
    batch = rows(3)
    batch["image"][1, 0, 0] = np.nan
    with pytest.raises(InvalidInput, match="row 1: member 'deep' has no score"):
        ensemble.predict(batch)


def test_members_without_weight_are_no_part_of_the_fused_graph_and_run_beside_it_when_asked_for(tmp_path: Path) -> None:
    both = make_bundle(tmp_path / "a")
    graphs = {member.name: (tmp_path / "a" / member.file).read_bytes() for member in both.members}
    one = replace(both, combiner=LinearPool(np.array([0.0, 1.0])))
    spec, graph = fused_graph(one, graphs)
    golden = read_samples(tmp_path / "a")
    scores = np.array([golden.outputs["scores/deep"], golden.outputs["scores/wide"]], np.float64)
    samples = Samples(golden.inputs, outputs_of(one, scores))
    write_bundle(tmp_path / "b", replace(one, fused=spec), graphs, samples, fused=graph)
    ensemble = Ensemble.load(tmp_path / "b", pool=Pool(1))
    fast = Graphs(ensemble.members, ensemble.fused, {**ensemble.plans, FUSED: Plan(256, 1e-9, 1e-9)})
    ensemble = Ensemble(ensemble.bundle, fast, ensemble.pool)
    ran: set[int] = set()
    answer = ensemble.execute(rows(2), 2, ["label", "scores/wide"], observe=lambda graph, *_: ran.add(graph))
    assert ran == {FUSED}
    np.testing.assert_array_equal(answer["scores/wide"], ensemble.predict(rows(2), ["scores/wide"])["scores/wide"])
    ran.clear()
    ensemble.execute(rows(2), 2, ["label", "scores/deep"], observe=lambda graph, *_: ran.add(graph))
    assert ran == {0, 1}


def test_a_fused_graph_that_answers_otherwise_than_the_golden_rows_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "other", seed=7, fused=True)
    make_bundle(tmp_path / "b", fused=True)
    bundle = read_bundle(tmp_path / "b")
    ensemble = Ensemble.load(tmp_path / "b", pool=Pool(1))
    foreign = Opener(tmp_path / "other", bundle, resolve(bundle, {})).open(FUSED)
    swapped = Ensemble(bundle, replace(ensemble._graphs, fused=foreign), ensemble.pool)
    with pytest.raises(Exception, match="golden output 'probabilities' differs"):
        swapped.verify(read_samples(tmp_path / "b"))


def test_a_batch_that_threads_have_shared_leaves_memory_with_its_last_user(
    with_plans: Callable[[Plan, Plan, Plan], Ensemble],
) -> None:
    long = Plan(1, 0.0, 1e-2)
    ensemble = with_plans(long, long, Plan(256, 1.0, 1.0))
    batch = rows(8)
    image = weakref.ref(batch["image"])
    gc.disable()
    try:
        ensemble.predict(batch)
        del batch
        deadline = time.monotonic() + 10
        while image() is not None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        gc.enable()


def test_only_so_many_runs_are_remembered(
    with_plans: Callable[[Plan, Plan, Plan], Ensemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble_module, "_MEMO_RUNS", 100)
    long = Plan(1, 0.0, 1e-2)
    ensemble = with_plans(long, long, Plan(256, 1.0, 1.0))
    for n_rows in (*range(1, 30), 60):
        ensemble.predict(rows(n_rows))
        assert 0 < sum(len(runs) for runs, _ in ensemble._schedules.values()) <= 100


def test_a_bundle_is_measured_once_a_machine(fused_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache.open(tmp_path / "cache")
    first = Ensemble.load(fused_path, pool=Pool(1), cache=cache)

    def fail(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(profile_module, "timed", fail)
    again = Ensemble.load(fused_path, pool=Pool(1), cache=Cache.open(tmp_path / "cache"))
    assert again.plans == first.plans
    with pytest.raises(AssertionError, match="measured again"):
        Ensemble.load(fused_path, pool=Pool(1), cache=Cache(None))


def test_what_was_found_for_other_graph_options_is_used_with_them(fused_path: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    bundle = read_bundle(fused_path)
    opener = Opener(fused_path, bundle, resolve(bundle, {}), cache=cache)
    chosen = Setup(GraphOptions(1, "basic"), Plan(5, 1e-5, 1e-6, threads=2))
    opener.remember(dict.fromkeys((0, 1, FUSED, COMBINER), chosen))
    ensemble = Ensemble.load(fused_path, pool=Pool(2), cache=cache)
    assert {plan.chunk_rows for plan in ensemble.plans.values()} == {5}
    assert ensemble._graphs.wide.keys() == {0, 1, FUSED}


@pytest.mark.parametrize("document", [{"0": {}}, {"x": 1}, {"0": {"options": {"threads": 1}, "plan": {"rows": 2}}}])
def test_a_plan_that_cannot_be_read_is_measured_anew(fused_path: Path, tmp_path: Path, document: object) -> None:
    cache = Cache.open(tmp_path / "cache")
    bundle = read_bundle(fused_path)
    cache.write(profile_module._key(bundle, resolve(bundle, {})), document)  # type: ignore[arg-type]  # what a newer version may have written
    assert Ensemble.load(fused_path, pool=Pool(1), cache=cache).plans.keys() == {0, 1, FUSED, COMBINER}


def test_tuning_tries_every_option_and_leaves_the_best_for_later_loads(fused_path: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    seen: list[str] = []
    found = tune(fused_path, cache, progress=seen.append)
    assert seen == [one.name for one in found] == ["deep", "wide", "fused.onnx"]
    for one in found:
        assert one.row_us.keys() == {"all", "extended", "basic"}
        assert one.one_row_us.keys() == {1}  # a row of these takes too little for threads
    ensemble = Ensemble.load(fused_path, pool=Pool(1), cache=cache)
    assert [ensemble.plans[key] for key in (0, 1, FUSED)] == [one.setup.plan for one in found]


def test_a_long_row_is_tried_on_twice_as_many_threads_while_that_pays(
    fused_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opener.open
    now = 0.0

    def slow(self: Opener, key: int, options: GraphOptions = GraphOptions()) -> object:  # noqa: B008 - immutable
        graph = opened(self, key, options)
        assert graph is not None
        run = graph.run

        def take_its_time(inputs: dict[str, np.ndarray]) -> object:
            nonlocal now
            now += 0.01 * len(inputs["image" if "image" in inputs else "tabular"]) / min(options.threads, 4)
            return run(inputs)

        graph.run = take_its_time  # type: ignore[method-assign, assignment]  # a graph that takes its time on the clock
        return graph

    monkeypatch.setattr(Opener, "open", slow)
    found = tune(fused_path, Cache(None), n_cores=16, clock=lambda: now)
    assert {one.setup.plan.threads for one in found} == {4}
    assert {tuple(one.one_row_us) for one in found} == {(1, 2, 4, 8)}
