from widedeep.serving.online.workers.restarts import MAX_DEATHS, WINDOW_S, delay_s


def test_each_death_in_a_short_while_doubles_the_wait_until_there_are_too_many() -> None:
    waits = [delay_s([100.0] * n, 100.0) for n in range(1, MAX_DEATHS + 1)]
    assert waits == [0.1, 0.2, 0.4, 0.8, None]


def test_deaths_of_long_ago_do_not_count() -> None:
    old = [0.0] * (MAX_DEATHS - 1)
    assert delay_s([*old, WINDOW_S + 1], WINDOW_S + 1) == 0.1
    assert delay_s([*old, WINDOW_S - 1], WINDOW_S - 1) is None
