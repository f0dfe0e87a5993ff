import math

import pytest
from peers.results import Figure, Record, Results, load, ratios, save, summary


def record(value=1.0, *, contender="ours", turn=0, run="a", client="caller", load="1x16"):
    return Record("tiny", load, contender, client, turn, {"rows_per_s": value}, run)


def test_a_summary_is_the_median_with_the_least_and_the_largest():
    assert summary([3.0, 1.0, 2.0, 10.0, 4.0]) == Figure(3.0, 1.0, 10.0, 5)


def test_values_that_are_no_number_do_not_count():
    assert summary([math.nan, 2.0]) == Figure(2.0, 2.0, 2.0, 1)


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_nothing_has_no_summary(values):
    assert summary(values) is None


def test_ratios_are_taken_round_by_round_of_one_run():
    ours = [record(20.0, turn=0), record(60.0, turn=1), record(7.0, turn=0, run="b")]
    theirs = [record(10.0, turn=0), record(20.0, turn=1), record(1.0, turn=1, run="b")]
    assert ratios(ours, theirs, "rows_per_s") == Figure(2.5, 2.0, 3.0, 2)


def test_without_a_common_round_there_is_no_ratio():
    assert ratios([record(turn=0)], [record(turn=1)], "rows_per_s") is None


def test_saved_results_are_read_back_as_they_were(tmp_path):
    results = Results(
        {"cores": "2"}, {"rounds": 5}, {"ours": "how"}, {"ray": "why"}, [record(1.5), record(2.5, turn=1)]
    )
    save(tmp_path / "build" / "results.json", results)
    assert load(tmp_path / "build" / "results.json") == results


def test_without_a_file_there_are_no_results(tmp_path):
    assert load(tmp_path / "results.json") == Results()


def test_merging_replaces_all_rounds_of_what_is_measured_again_and_keeps_the_rest():
    old = Results(records=[record(1.0, turn=0), record(1.0, turn=1), record(3.0, contender="theirs")])
    new = Results(records=[record(2.0, turn=0, run="b")])
    merged = old.merge(new)
    assert [r.values["rows_per_s"] for r in merged.records if r.contender == "ours"] == [2.0]
    assert [r.values["rows_per_s"] for r in merged.records if r.contender == "theirs"] == [3.0]


def test_a_contender_that_is_measured_after_all_is_no_longer_skipped():
    old = Results(skipped={"ours": "did not start", "ray": "no network"})
    merged = old.merge(Results(records=[record()]))
    assert merged.skipped == {"ray": "no network"}


def test_a_client_is_asked_for_by_name_or_not_at_all():
    results = Results(records=[record(1.0), record(9.0, client="perf_analyzer")])
    found = results.figure("rows_per_s", "tiny", "1x16", "ours", "perf_analyzer")
    assert found == Figure(9.0, 9.0, 9.0, 1)
    both = results.figure("rows_per_s", "tiny", "1x16", "ours")
    assert both is not None
    assert both.n_rounds == 2
