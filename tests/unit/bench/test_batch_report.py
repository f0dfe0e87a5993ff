import batch_report
import pytest
from batch_report import best_bare, ratio, write
from peers.results import Record, Results


def measured(workload, contender, *, load="rate", **values):
    return [Record(workload, load, contender, "", turn, dict(values), "now") for turn in range(3)]


def rates(workload, **rows_per_s):
    return [
        record
        for name, value in rows_per_s.items()
        for record in measured(
            workload,
            name,
            n_rows=100,
            rows_per_s=value,
            steady_rows_per_s=value,
            cpu_us_per_row=1e6 / value,
            steady_cpu_us_per_row=1e6 / value,
            start_s=1.0,
            others=0.5,
        )
    ]


def test_a_target_is_held_against_the_fastest_of_the_bare_loops():
    results = Results(records=rates("wide", widedeep=90.0, loop=50.0, cores=100.0, tuned=80.0, native=900.0))
    assert best_bare(results, "wide") == "cores"
    assert best_bare(results, "wide", "steady_cpu_us_per_row") == "cores"
    assert ratio(results, "wide").median == pytest.approx(0.9)
    assert ratio(results, "wide", "steady_cpu_us_per_row").median == pytest.approx(0.9)


@pytest.mark.parametrize(("ours", "word"), [(90.0, "met: 0.90"), (89.0, "**short**: 0.89")])
def test_the_page_says_whether_a_target_is_met(ours, word):
    page = write(Results(records=rates("seed", widedeep=ours, cores=100.0)))
    assert f"| seed | at least 0.90 | {word} |" in page


@pytest.mark.parametrize(("peak", "word"), [(900.0, "met, 900 MB"), (1100.0, "**short**, 1,100 MB")])
def test_the_page_says_whether_memory_stays_under_its_target(peak, word):
    values = {"n_rows": 1e6, "input_mb": 200.0, "peak_mb": peak, "rows_per_s": 5.0, "others": 0.0}
    page = write(Results(records=[Record("wide", "memory", "wide, groups, 1x", "", 0, values, "now")]))
    assert word in page
    assert f"| wide, groups, 1x | 1,000,000 | 200 | {peak:,.0f} | 5 |" in page


def test_parts_that_were_not_measured_are_left_out_of_the_page():
    page = write(Results(records=rates("wide", widedeep=90.0)))
    assert "## Engines" not in page
    assert "## Memory" not in page
    assert "## Evaluation" not in page
    assert "## Targets" not in page
    assert batch_report.WORKLOADS["wide"] in page


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    records = rates("wide", widedeep=90.0, loop=50.0, native=9.0)
    for engine in ("local", "ray", "spark"):
        records += measured("wide", engine, load="engines", rows_per_s=5.0, start_s=2.0, steady_rows_per_s=6.0)
    for name, cpu in (("plain", 10.0), ("evaluate", 11.0)):
        records += measured("digits", name, load="evaluation", rows_per_s=5.0, cpu_us_per_row=cpu)
    page = write(Results(records=records))
    assert "| `--evaluate` | 5 | 11.0 | 1.10 |" in page
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("| ")]
    assert len(tables) == 4
    for table in tables:
        assert len({line.count("|") for line in table}) == 1, table[0]
