import os

import pytest
from widedeep.serving.online.workers.board import CALLS, FIRST_SERVABLE, N_COUNTS, STREAMS, Board


@pytest.fixture
def boards() -> list[Board]:
    """One memory as two processes map it."""
    first, descriptor = Board.create(2)
    second = Board(descriptor, 2)
    os.close(descriptor)
    return [first, second]


def test_what_one_process_writes_the_other_reads(boards: list[Board]) -> None:
    assert (boards[1].generation, boards[1].is_open) == (0, False)
    boards[0].generation = 1 << 40
    boards[0].is_open = True
    assert (boards[1].generation, boards[1].is_open) == (1 << 40, True)


def test_a_count_is_each_workers_own_and_read_by_the_others(boards: list[Board]) -> None:
    mine, theirs = boards[0].count(0, CALLS), boards[1].count(1, CALLS)
    mine.own += 3
    theirs.own += 4
    assert (mine.own, mine.elsewhere()) == (3, 4)
    assert (theirs.own, theirs.elsewhere()) == (4, 3)
    theirs.own -= 4
    assert mine.elsewhere() == 0


def test_counts_do_not_touch_each_other(boards: list[Board]) -> None:
    numbers = (CALLS, STREAMS, FIRST_SERVABLE, N_COUNTS - 1)
    for place in (0, 1):
        for number in numbers:
            boards[0].count(place, number).own = 100 * place + number
    assert [boards[1].count(place, number).own for place in (0, 1) for number in numbers] == [
        100 * place + number for place in (0, 1) for number in numbers
    ]
    assert (boards[1].generation, boards[1].is_open) == (0, False)


def test_the_part_of_a_dead_worker_is_cleared_and_no_other(boards: list[Board]) -> None:
    for place in (0, 1):
        for number in (CALLS, N_COUNTS - 1):
            boards[0].count(place, number).own = 5
    boards[0].clear(0)
    assert [boards[1].count(place, number).own for place in (0, 1) for number in (CALLS, N_COUNTS - 1)] == [0, 0, 5, 5]
