import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.engine.plan import HAND_OFF_S
from widedeep.serving.online.policy import BatchPolicy, urgency_s

POLICY = BatchPolicy(max_batch_rows=8, max_queue_rows=20, max_delay_s=0.5)


def test_an_empty_queue_takes_a_request_of_any_size() -> None:
    assert POLICY.admits(0, 10**9)


def test_rows_beyond_the_limit_of_the_queue_are_not_admitted() -> None:
    assert POLICY.admits(12, 8)
    assert not POLICY.admits(12, 9)


def test_a_full_batch_does_not_wait() -> None:
    assert POLICY.wait_s(8, oldest_s=100.0, now_s=100.0) == 0


def test_a_batch_waits_until_its_oldest_request_has_waited_long_enough() -> None:
    assert POLICY.wait_s(7, oldest_s=100.0, now_s=100.1) == pytest.approx(0.4)
    assert POLICY.wait_s(7, oldest_s=100.0, now_s=100.6) == 0


def test_nothing_waits_without_a_delay() -> None:
    assert BatchPolicy(max_delay_s=0.0).wait_s(1, oldest_s=100.0, now_s=100.0) == 0


def test_a_request_that_fits_a_batch_waits_for_room_rather_than_being_cut() -> None:
    assert POLICY.rows_to_take(n_rows=8, taken=0, room=8, batch_rows=1) == 0


def test_a_longer_request_fills_the_room_that_is_left() -> None:
    assert POLICY.rows_to_take(n_rows=9, taken=0, room=8, batch_rows=5) == 3
    assert POLICY.rows_to_take(n_rows=9, taken=3, room=8, batch_rows=0) == 6


def test_the_first_request_of_a_batch_goes_in_whole_though_smaller_batches_would_do() -> None:
    assert POLICY.rows_to_take(n_rows=8, taken=0, room=2, batch_rows=0) == 8


@given(st.integers(1, 10_000), st.integers(1, 300), st.integers(1, 300))
def test_every_request_gets_through_in_batches_of_legal_size(n_rows: int, max_batch_rows: int, room: int) -> None:
    policy = BatchPolicy(max_batch_rows=max_batch_rows)
    taken = 0
    while taken < n_rows:
        step = policy.rows_to_take(n_rows, taken, room=min(room, max_batch_rows), batch_rows=0)
        assert 0 < step <= max_batch_rows
        taken += step
    assert taken == n_rows


@given(st.integers(1, 2000), st.integers(0, 2000), st.integers(1, 300), st.integers(0, 300))
def test_what_is_taken_is_never_more_than_is_left_nor_than_a_batch_holds(
    n_rows: int, taken: int, room: int, batch_rows: int
) -> None:
    policy = BatchPolicy(max_batch_rows=300)
    step = policy.rows_to_take(n_rows, min(taken, n_rows - 1), room, batch_rows)
    assert 0 <= step <= min(n_rows - min(taken, n_rows - 1), 300 - batch_rows if batch_rows else 300)


def test_a_batch_is_no_larger_than_what_pays_or_than_its_workers_part() -> None:
    policy = BatchPolicy(max_batch_rows=64)
    assert policy.room(100, n_workers=1, efficient_rows=4) == 4
    assert policy.room(100, n_workers=1, efficient_rows=1000) == 64
    assert policy.room(6, n_workers=2, efficient_rows=1000) == 3


def test_a_delay_asks_for_batches_as_large_as_allowed() -> None:
    assert POLICY.room(100, n_workers=1, efficient_rows=2) == 8


def test_one_worker_is_always_on_its_way_and_more_only_to_idle_cores_with_work_for_long() -> None:
    assert POLICY.wants_worker(coming=0, n_idle=0, waiting_s=0.0)
    assert not POLICY.wants_worker(coming=1, n_idle=1, waiting_s=1.0)
    assert POLICY.wants_worker(coming=1, n_idle=2, waiting_s=2 * HAND_OFF_S)
    assert not POLICY.wants_worker(coming=1, n_idle=2, waiting_s=HAND_OFF_S / 2)


def test_requests_are_ordered_by_deadline_where_it_is_near_else_by_arrival() -> None:
    assert urgency_s(100.0, None) == urgency_s(100.0, 1e9)
    assert urgency_s(100.0, 100.2) < urgency_s(99.5, None) < urgency_s(100.0, None)
