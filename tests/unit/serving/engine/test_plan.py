import itertools

from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.engine.plan import (
    HAND_OFF_S,
    SHORT_S,
    Plan,
    choose_plan,
    efficient_rows,
    estimate,
    prefers_fused,
    schedule,
)

plans = st.builds(
    Plan,
    chunk_rows=st.one_of(st.none(), st.integers(1, 300)),
    call_s=st.floats(0, 1e-2),
    row_s=st.floats(1e-9, 1e-2),
)


@given(st.lists(plans, min_size=1, max_size=5), st.integers(1, 500), st.integers(1, 16))
def test_every_member_sees_every_row_exactly_once(chosen: list[Plan], n_rows: int, n_cores: int) -> None:
    runs, n_threads = schedule(dict(enumerate(chosen)), n_rows, n_cores)
    for member in range(len(chosen)):
        covered = sorted((run.start, run.stop) for run in runs if run.graph == member)
        assert covered[0][0] == 0
        assert covered[-1][1] == n_rows
        assert all(left[1] == right[0] for left, right in itertools.pairwise(covered))
    assert 1 <= n_threads <= n_cores


@given(st.lists(plans, min_size=1, max_size=5), st.integers(1, 500))
def test_no_run_is_longer_than_its_plan_allows(chosen: list[Plan], n_rows: int) -> None:
    for run in schedule(dict(enumerate(chosen)), n_rows, 4)[0]:
        limit = chosen[run.graph].chunk_rows
        assert limit is None or run.stop - run.start <= limit


def test_work_shorter_than_a_hand_off_stays_in_one_thread() -> None:
    tiny = Plan(chunk_rows=256, call_s=HAND_OFF_S / 10, row_s=0.0)
    runs, n_threads = schedule({0: tiny, 1: tiny}, 64, 8)
    assert n_threads == 1
    assert len(runs) == 2


def test_many_short_runs_stay_in_one_thread_however_long_they_take_together() -> None:
    tiny = Plan(chunk_rows=256, call_s=SHORT_S / 2, row_s=0.0)
    assert schedule(dict.fromkeys(range(200), tiny), 64, 8)[1] == 1


def test_a_heavy_member_is_spread_over_the_cores_and_starts_first() -> None:
    net = Plan(chunk_rows=2, call_s=0.0, row_s=1e-3)
    trees = Plan(chunk_rows=256, call_s=1e-5, row_s=1e-6)
    runs, n_threads = schedule({0: trees, 1: net}, 8, 4)
    assert n_threads == 4
    assert [run.graph for run in runs] == [1, 1, 1, 1, 0]


def test_an_accelerator_gets_the_whole_batch() -> None:
    assert len(schedule({0: Plan(None, 1e-3, 1e-4)}, 100, 8)[0]) == 1


def test_a_net_that_gains_nothing_from_batching_gets_small_chunks() -> None:
    assert choose_plan({1: 1e-3, 2: 1.9e-3, 4: 4.4e-3, 8: 9e-3}).chunk_rows == 2


def test_trees_get_the_largest_chunk_measured() -> None:
    plan = choose_plan({1: 20e-6, 8: 27e-6, 64: 83e-6})
    assert plan.chunk_rows == 64
    assert abs(plan.seconds(64) - 83e-6) < 1e-9


def test_a_fused_graph_is_preferred_where_it_costs_less_than_members_and_combiner() -> None:
    member, combiner = Plan(256, 10e-6, 0.0), Plan(None, 10e-6, 0.0)
    assert prefers_fused(Plan(256, 29e-6, 0.0), [member, member], combiner, 1, 0)
    assert not prefers_fused(Plan(256, 31e-6, 0.0), [member, member], combiner, 1, 0)


def test_with_cores_idle_long_members_run_side_by_side() -> None:
    nets, combiner = [Plan(1, 0.0, 10e-3)] * 2, Plan(None, 10e-6, 0.0)
    fused = Plan(1, 0.0, 19e-3)
    assert prefers_fused(fused, nets, combiner, 1, n_idle=0)
    assert not prefers_fused(fused, nets, combiner, 1, n_idle=1)


def test_a_batch_is_efficient_once_its_fixed_cost_is_a_tenth() -> None:
    assert efficient_rows([Plan(1, 0.0, 1e-3)]) == 1
    assert efficient_rows([Plan(2, 0.0, 0.25e-3)]) == 4
    assert efficient_rows([Plan(256, 0.0, 1e-6)]) == 1000
    assert efficient_rows([Plan(None, 1e-3, 1e-3)]) > 10**6


def test_only_for_cores_that_are_free_are_runs_cut_shorter() -> None:
    trees = Plan(256, 1e-5, 20e-6)
    assert [run.stop - run.start for run in schedule({0: trees}, 64, 4, n_idle=3)[0]] == [16] * 4
    assert [run.stop - run.start for run in schedule({0: trees}, 64, 4, n_idle=0)[0]] == [64]


def test_one_row_alone_takes_the_threads_of_its_plan_where_cores_are_free() -> None:
    net = Plan(1, 0.0, 20e-3, threads=4)
    assert [run.threads for run in schedule({0: net}, 1, 8, n_idle=7)[0]] == [4]
    assert [run.threads for run in schedule({0: net}, 1, 8, n_idle=2)[0]] == [1]
    assert {run.threads for run in schedule({0: net}, 8, 8, n_idle=7)[0]} == {1}


@given(st.lists(plans, min_size=1, max_size=4), st.integers(1, 300))
def test_an_estimate_is_near_the_sum_of_all_runs(chosen: list[Plan], n_rows: int) -> None:
    exact = sum(plan.batch_seconds(n_rows) for plan in chosen)
    least = sum(plan.seconds(n_rows) for plan in chosen)
    assert least * 0.999 <= estimate(chosen).seconds(n_rows) <= exact * 1.001 + sum(plan.call_s for plan in chosen)
