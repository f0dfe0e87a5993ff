import math

import pytest
from peers.analyzer import AnalyzerError, client_figures, figure

REPORT = """
*** Measurement Settings ***
  Batch size: 8
Request concurrency: 8
  Client:
    Request count: 1234
    Throughput: 3291.55 infer/sec
    p50 latency: 18000 usec
    p90 latency: 20000 usec
    p99 latency: 25500 usec
"""


def test_rows_a_second_and_latencies_are_the_clients():
    assert client_figures(REPORT) == {"rows_per_s": 3291.55, "p50_us": 18000.0, "p99_us": 25500.0}


def test_a_report_without_figures_is_quoted():
    with pytest.raises(AnalyzerError, match="failed to obtain model metadata"):
        client_figures("error: failed to obtain model metadata")


def test_a_figure_that_is_not_there_is_no_number():
    assert math.isnan(figure(REPORT, r"p95 latency: (\d+) usec"))
