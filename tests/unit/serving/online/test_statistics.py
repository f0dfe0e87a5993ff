import threading
from collections.abc import Sequence

from widedeep.serving.engine.plan import FUSED
from widedeep.serving.online.counters import ROW_BOUNDS, TIME_BOUNDS_NS
from widedeep.serving.online.statistics import BatchRecord, Statistics

RECORD = BatchRecord(
    n_rows=8,
    waited_s=[0.5, 0.25],
    input_s=0.001,
    infer_s=0.01,
    output_s=0.002,
    members=[(0, 4, 0.003), (0, 4, 0.004), (1, 8, 0.006)],
)


def test_a_batch_counts_its_rows_once_and_its_times_for_each_request() -> None:
    statistics = Statistics(2)
    statistics.record_batch(RECORD, 1234)
    total = statistics.total()
    assert (total.rows, total.executions, total.last_inference_ms) == (8, 1, 1234)
    assert (total.queue.count, total.queue.ns) == (2, 750_000_000)
    assert (total.compute_infer.count, total.compute_infer.ns) == (2, 10_000_000)
    assert list(total.batches) == [8]
    assert (total.batches[8].compute_output.count, total.batches[8].compute_output.ns) == (1, 2_000_000)


def test_the_rest_of_a_long_request_adds_rows_but_no_request() -> None:
    statistics = Statistics(1)
    statistics.record_batch(BatchRecord(8, [0.0], 0, 0.25, 0, []), 1)
    statistics.record_batch(BatchRecord(3, [], 0, 0.5, 0, []), 2)
    total = statistics.total()
    assert (total.rows, total.executions, total.queue.count) == (11, 2, 1)
    assert (total.compute_infer.count, total.compute_infer.ns) == (1, 750_000_000)


def test_every_run_of_a_member_is_an_execution_of_its_own() -> None:
    statistics = Statistics(2)
    statistics.record_batch(RECORD, 1234)
    first, second = statistics.member(0), statistics.member(1)
    assert (first.rows, first.executions, first.compute_infer.ns) == (8, 2, 7_000_000)
    assert (second.rows, second.executions, second.compute_infer.ns) == (8, 1, 6_000_000)


def test_requests_are_counted_by_how_they_ended() -> None:
    statistics = Statistics(1)
    statistics.record_request(0.5, "OK")
    statistics.record_request(0.25, "INVALID_ARGUMENT")
    statistics.record_request(0.25, "RESOURCE_EXHAUSTED")
    total = statistics.total()
    assert (total.success.count, total.success.ns) == (1, 500_000_000)
    assert (total.fail.count, total.fail.ns) == (2, 500_000_000)
    assert total.calls == {"OK": 1, "INVALID_ARGUMENT": 1, "RESOURCE_EXHAUSTED": 1}


def buckets(counts: list[int], bounds: Sequence[int] = TIME_BOUNDS_NS) -> dict[int, int]:
    """Return bound -> count of the buckets that hold anything; 0 stands for what is beyond all bounds."""
    return {bound: count for bound, count in zip((*bounds, 0), counts, strict=True) if count}


def test_every_time_and_batch_falls_into_the_bucket_of_the_least_bound_above_it() -> None:
    statistics = Statistics(2)
    statistics.record_batch(RECORD, 1)
    spread = statistics.total().histograms
    assert buckets(spread.queue.counts) == {500_000_000: 2}
    assert buckets(spread.compute_input.counts) == {1_000_000: 1}
    assert buckets(spread.compute_infer.counts) == {10_000_000: 1}
    assert buckets(spread.compute_output.counts) == {2_000_000: 1}
    assert buckets(spread.batch_rows.counts, ROW_BOUNDS) == {8: 1}
    assert (spread.queue.total, spread.batch_rows.total) == (750_000_000, 8)
    assert buckets(statistics.member(0).histograms.compute_infer.counts) == {5_000_000: 2}


def test_what_lies_beyond_all_bounds_has_a_bucket_of_its_own() -> None:
    statistics = Statistics(1)
    statistics.record_request(11.0, "OK")
    statistics.record_batch(BatchRecord(5000, [], 0, 0, 0, []), 1)
    assert buckets(statistics.total().histograms.call.counts) == {0: 1}
    assert buckets(statistics.total().histograms.batch_rows.counts, ROW_BOUNDS) == {0: 1}


def test_only_answered_calls_are_in_the_histogram_of_calls() -> None:
    statistics = Statistics(1)
    statistics.record_request(0.001, "OK")
    statistics.record_request(0.0001, "RESOURCE_EXHAUSTED")
    assert buckets(statistics.total().histograms.call.counts) == {1_000_000: 1}


def test_a_fused_run_falls_into_each_members_bucket_at_its_share_of_the_time() -> None:
    statistics = Statistics(2, {0: 0.75, 1: 0.25})
    statistics.record_batch(BatchRecord(4, [0.0], 0, 0.04, 0, [(FUSED, 4, 0.04)]), 1)
    first, second = (statistics.member(i).histograms.compute_infer for i in (0, 1))
    assert (buckets(first.counts), first.total) == ({50_000_000: 1}, 30_000_000)
    assert (buckets(second.counts), second.total) == ({10_000_000: 1}, 10_000_000)


def test_batches_by_size_are_left_out_where_nobody_wants_them() -> None:
    statistics = Statistics(1)
    statistics.record_batch(BatchRecord(4, [0.0], 0, 0.04, 0, [(0, 4, 0.04)]), 1)
    assert [counters.batches for counters in statistics.all(by_size=False)] == [{}, {}]
    assert [list(counters.batches) for counters in statistics.all()] == [[4], [4]]


def test_a_clock_that_went_back_takes_nothing_away() -> None:
    statistics = Statistics(1)
    statistics.record_request(-1.0, "OK")
    assert statistics.total().success.ns == 0


def test_a_copy_does_not_change_with_what_comes_after() -> None:
    statistics = Statistics(2)
    statistics.record_batch(RECORD, 1)
    before = statistics.total()
    statistics.record_batch(RECORD, 2)
    assert (before.rows, before.batches[8].compute_infer.count) == (8, 1)
    assert statistics.total().batches[8].compute_infer.count == 2


def test_no_count_is_lost_between_threads() -> None:
    statistics = Statistics(2)

    def count() -> None:
        for _ in range(500):
            statistics.record_batch(RECORD, 1)
            statistics.record_request(0.001, "OK")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statistics.total().rows, statistics.total().success.count) == (16_000, 2000)
