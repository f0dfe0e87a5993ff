import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.online.policy import BatchPolicy

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
    assert POLICY.rows_to_take(n_rows=8, taken=0, room=7) == 0


def test_a_longer_request_fills_the_room_that_is_left() -> None:
    assert POLICY.rows_to_take(n_rows=9, taken=0, room=3) == 3
    assert POLICY.rows_to_take(n_rows=9, taken=3, room=8) == 6


@given(st.integers(1, 10_000), st.integers(1, 300))
def test_every_request_gets_through_in_batches_of_legal_size(n_rows: int, max_batch_rows: int) -> None:
    policy = BatchPolicy(max_batch_rows=max_batch_rows)
    taken = 0
    while taken < n_rows:
        step = policy.rows_to_take(n_rows, taken, room=max_batch_rows)
        assert 0 < step <= max_batch_rows
        taken += step
    assert taken == n_rows
