from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.client.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first_s=0.1, most_s=0.5)
    longest = [backoff.wait_s(attempt, random=1.0) for attempt in range(5)]
    assert [round(wait, 6) for wait in longest] == [0.1, 0.2, 0.4, 0.5, 0.5]


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_shortened_by_half_at_most(attempt: int, random: float) -> None:
    backoff = Backoff()
    longest = backoff.wait_s(attempt, 1.0)
    assert 0 < longest <= backoff.most_s
    assert longest / 2 <= backoff.wait_s(attempt, random) <= longest
