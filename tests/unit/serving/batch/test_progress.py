import io
import json

import pytest
from widedeep.serving.batch.progress import JsonLines, State, duration


def test_the_time_left_goes_by_the_bytes_of_this_run() -> None:
    state = State(n_rows=1000, n_rejected=0, n_bytes=600, total_bytes=1000, seconds=10.0, earlier_bytes=400)
    assert state.seconds_left == pytest.approx(20.0)
    assert state.rows_per_s == 100.0


def test_nothing_is_estimated_before_a_task_has_ended() -> None:
    state = State(n_rows=10, n_rejected=0, n_bytes=400, total_bytes=1000, seconds=0.0, earlier_bytes=400)
    assert state.seconds_left is None
    assert state.rows_per_s == 0.0


def test_machines_are_told_every_two_seconds_in_lines_of_json() -> None:
    now, out = [0.0], io.StringIO()
    with JsonLines(out, lambda: now[0]) as lines:
        for second in (0.5, 2.0, 3.9, 4.1):
            now[0] = second
            lines.show(State(n_rows=int(second * 10), n_rejected=1, n_bytes=5, total_bytes=10, seconds=second))
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["rows"] for line in told] == [20, 41]
    assert told[0] == {
        "event": "progress",
        "rows": 20,
        "rejected": 1,
        "bytes": 5,
        "total_bytes": 10,
        "seconds": 2.0,
        "rows_per_s": 10.0,
        "seconds_left": 2.0,
    }


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations_are_told_as_a_person_reads_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
