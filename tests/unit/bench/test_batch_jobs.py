import sys

import numpy as np
import pytest
from batch_jobs import check_equal, rate
from batch_runs import Cost, RunError, run


def test_what_a_run_takes_beyond_its_start_counts_for_the_steady_rate():
    values = rate(1000, start=Cost(1.0, 0.5, 80.0, 0.0), cost=Cost(3.0, 2.5, 100.0, 0.0))
    assert values["rows_per_s"] == pytest.approx(1000 / 3)
    assert values["steady_rows_per_s"] == pytest.approx(500)
    assert values["steady_cpu_us_per_row"] == pytest.approx(2000)
    assert values["peak_mb"] == 100.0


def test_contenders_that_answer_differently_are_not_compared():
    same = np.full((3, 2), 0.5, np.float32)
    check_equal({"ours": same, "theirs": same + 1e-5})
    with pytest.raises(SystemExit, match="theirs and ours answer differently"):
        check_equal({"ours": same, "theirs": same + 1e-3})
    with pytest.raises(SystemExit, match="theirs and ours answer differently"):
        check_equal({"ours": same, "theirs": same[:2]})


def test_a_run_tells_the_memory_and_processor_time_of_its_command(tmp_path):
    code = "import time; x = bytearray(100 << 20); s = time.process_time()\nwhile time.process_time() - s < 0.2: pass"
    cost = run([sys.executable, "-c", code], tmp_path / "log")
    assert 100 < cost.peak_mb < 200
    assert cost.cpu_s > 0.19
    assert cost.wall_s > 0.19


def test_a_command_that_fails_is_quoted(tmp_path):
    with pytest.raises(RunError, match=r"status 3 .* no such thing"):
        run([sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], tmp_path / "log")


def test_a_command_that_takes_too_long_is_ended(tmp_path):
    with pytest.raises(RunError, match="status -9"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", timeout_s=0.3)
