import json
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.online.counters import BatchTimes, Counters, Duration, Histogram, Histograms, read, spell
from widedeep.serving.online.counts import newest, summed
from widedeep.serving.online.workers.ledger import Ledger

numbers = st.integers(0, 1 << 60)
durations = st.builds(Duration, numbers, numbers)
times = st.builds(BatchTimes, durations, durations, durations)
histograms = st.builds(Histogram, st.lists(numbers, min_size=3, max_size=3), numbers)
counters = st.builds(
    Counters,
    *(numbers, numbers, numbers),
    *(durations, durations, durations, durations, durations, durations),
    batches=st.dictionaries(st.integers(1, 256), times, max_size=3),
    calls=st.dictionaries(st.sampled_from(["OK", "INTERNAL", "NOT_FOUND"]), numbers),
    histograms=st.builds(Histograms, *(histograms,) * 6),
)


def counted(rows: int, at_ms: int = 0, **batches: int) -> Counters:
    found = Counters(last_inference_ms=at_ms, rows=rows, success=Duration(rows, 10 * rows))
    found.batches.update(
        {int(size[1:]): BatchTimes(Duration(n), Duration(n), Duration(n)) for size, n in batches.items()}
    )
    return found


@given(counters)
def test_counters_come_back_as_they_were_spelled(given_counters: Counters) -> None:
    assert read(json.loads(json.dumps(spell(given_counters)))) == given_counters


@given(counters, counters)
def test_every_count_is_a_sum_and_the_time_of_the_last_inference_the_latest(first: Counters, second: Counters) -> None:
    total = read(summed([spell(first), spell(second)]))
    assert total.last_inference_ms == max(first.last_inference_ms, second.last_inference_ms)
    for field in fields(Counters):
        mine, theirs, both = (getattr(each, field.name) for each in (first, second, total))
        if isinstance(both, Duration):
            assert (both.count, both.ns) == (mine.count + theirs.count, mine.ns + theirs.ns)
    assert total.rows == first.rows + second.rows
    statuses = first.calls.keys() | second.calls.keys()
    assert total.calls == {status: first.calls.get(status, 0) + second.calls.get(status, 0) for status in statuses}
    mine, theirs, both = (each.histograms.queue for each in (first, second, total))
    assert both.counts == [a + b for a, b in zip(mine.counts, theirs.counts, strict=True)]
    assert both.total == mine.total + theirs.total
    assert total.batches.keys() == first.batches.keys() | second.batches.keys()
    for size, both in total.batches.items():
        parts = [each.batches[size].compute_infer.ns for each in (first, second) if size in each.batches]
        assert both.compute_infer.ns == sum(parts)


def test_the_newest_of_one_workers_counters_is_the_largest_whatever_their_order() -> None:
    old, new = spell(counted(3, at_ms=5, b1=3)), spell(counted(9, at_ms=7, b1=5, b4=1))
    assert newest([new, old]) == newest([old, new]) == new


def test_what_a_dead_worker_counted_stays_in_the_sum() -> None:
    ledger = Ledger()
    ledger.record(0, {"2": [spell(counted(10))]})
    ledger.record(1, {"2": [spell(counted(1))]})
    assert read(ledger.total(["2"])["2"][0]).rows == 11
    ledger.record(2, {"2": [spell(counted(4))]})  # has taken the place of worker 0, which says nothing any more
    assert read(ledger.total(["2"])["2"][0]).rows == 15


def test_an_answer_that_comes_late_takes_nothing_back() -> None:
    ledger = Ledger()
    ledger.record(0, {"2": [spell(counted(10))]})
    ledger.record(0, {"2": [spell(counted(7))]})
    assert read(ledger.total(["2"])["2"][0]).rows == 10


def test_a_servable_that_is_gone_is_forgotten_and_one_that_is_unknown_left_out() -> None:
    ledger = Ledger()
    ledger.record(0, {"2": [spell(counted(10))], "3": [spell(counted(1))]})
    ledger.forget("2")
    assert ledger.total(["2", "3", "4"]).keys() == {"3"}
