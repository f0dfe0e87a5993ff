import pytest
from peers import report
from peers.results import Record, Results
from peers.targets import verdicts


def measured(workload, load, contender, client="perf_analyzer", **values):
    return [
        Record(workload, load, contender, client, turn, {k: v + turn for k, v in values.items()}, "now")
        for turn in range(3)
    ]


def verdict(results, start, form):
    found = [v for v in verdicts(results) if v.target.startswith(start) and v.form == form]
    assert len(found) == 1, [v.target for v in verdicts(results)]
    return found[0]


def test_a_report_of_nothing_says_that_nothing_was_measured():
    assert all(found.met is None for found in verdicts(Results()))


@pytest.mark.parametrize(("ours", "met"), [(2000.0, True), (1500.0, False)])
def test_a_target_is_judged_by_the_median_of_the_ratios(ours, met):
    records = [
        *measured("tiny", "1x16", "widedeep-native", rows_per_s=ours),
        *measured("tiny", "1x16", "triton", rows_per_s=1600.0),
    ]
    found = verdict(Results(records=records), "tiny, 1 row x 16: rows/s at least those", "widedeep-native")
    assert found.met is met
    assert found.got.startswith(f"{(ours + 1) / 1601:.2f} times (")


def test_figures_of_two_clients_are_never_compared():
    records = [
        *measured("tiny", "1x16", "widedeep-native", "caller", rows_per_s=9000.0),
        *measured("tiny", "1x16", "triton", "perf_analyzer", rows_per_s=1600.0),
    ]
    assert verdict(Results(records=records), "tiny, 1 row x 16: rows/s at least those", "widedeep-native").met is None


@pytest.mark.parametrize(("cost", "met"), [(120.0, True), (130.0, False)])
def test_the_floor_is_the_empty_handler_and_bare_inference_together(cost, met):
    records = [
        *measured("tiny", "1x16", "widedeep-grpcio", cpu_us_per_call=cost),
        *measured("tiny", "1x16", "floor", cpu_us_per_call=100.0),
        *measured("tiny", "1x16", "bare", "", cpu_us_per_call=10.0),
    ]
    assert verdict(Results(records=records), "tiny, 1 row x 16: CPU of a call", "widedeep-grpcio").met is met


@pytest.mark.parametrize(("answered", "met"), [(960.0, True), (900.0, False)])
def test_throughput_under_overload_is_held_against_the_peak_of_the_same_round(answered, met):
    records = measured("seed", "open120", "widedeep-grpcio", "caller", rows_per_s=answered, capacity=1000.0)
    target = "seed, Poisson at 120 % of capacity: throughput"
    assert verdict(Results(records=records), target, "widedeep-grpcio").met is met


def test_calls_that_fail_otherwise_than_refused_miss_the_target():
    values = {"refused_share": 0.0, "refused_p50_us": 100.0, "rows_per_s": 1.0, "capacity": 1.0}
    good = measured("seed", "open120", "widedeep-grpcio", "caller", **values)
    for record in good:
        record.values["failed"] = 0
    target = "seed, Poisson at 120 % of capacity: the excess"
    assert verdict(Results(records=good), target, "widedeep-grpcio").met is True
    good[0].values["failed"] = 1
    assert verdict(Results(records=good), target, "widedeep-grpcio").met is False


def test_the_page_shows_every_median_with_its_spread_and_every_skipped_contender():
    records = [
        *measured("tiny", "1x16", "triton", rows_per_s=1600.0, p50_us=1000.0, p99_us=2500.0, cpu_us_per_call=300.0),
        *measured("tiny", "memory", "triton", "", idle_mb=100.0, loaded_mb=120.0),
    ]
    page = report.write(
        Results({"cores": "2"}, {"rounds": 3}, {"triton": "how"}, {"ray": "cannot install ray"}, records), {}
    )
    assert "| 1 row x 16 | Triton, Python backend | 1,601 [1,600-1,602] |" in page
    assert "| 101 [100-102] | 121 [120-122] |" in page
    assert "Ray Serve: cannot install ray" in page


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    records = [
        *measured("tiny", "1x16", "triton", rows_per_s=1.0, p50_us=1.0, p99_us=1.0, cpu_us_per_call=1.0),
        *measured("tiny", "1x16", "bare", "", rows_per_s=1.0, p50_us=1.0, p99_us=1.0, cpu_us_per_call=1.0),
        *measured("tiny", "open120", "triton", "caller", rows_per_s=1.0, capacity=1.0, refused_share=0.0, failed=0.0),
        *measured("many200", "members64", "widedeep", "", execute_us=9.0, sessions_us=8.0, python_us_per_member=1.0),
        *measured("digits", "start", "widedeep-grpcio", "", ready_s=1.0, idle_mb=1.0, loaded_mb=1.0),
    ]
    page = report.write(Results(records=records), {})
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("| ")]
    assert len(tables) >= 6
    for table in tables:
        assert len({line.count("|") for line in table}) == 1, table[0]
