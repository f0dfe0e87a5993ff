import json
import logging
import sys

import pytest
from widedeep.serving.logs import JsonFormatter, TextFormatter


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("widedeep.some", logging.WARNING, __file__, 1, message, arguments, None)
    made.created, made.msecs = 1_772_353_800.25, 250.0
    made.__dict__.update(extra)
    return made


def test_a_line_is_one_object() -> None:
    text = JsonFormatter().format(record("%d rows\nof %s", 3, "ä", request_id="r", rows=3, duration_ms=1.5))
    assert "\n" not in text
    assert json.loads(text) == {
        "time": "2026-03-01T08:30:00.250Z",
        "level": "warning",
        "logger": "widedeep.some",
        "message": "3 rows\nof ä",
        "request_id": "r",
        "rows": 3,
        "duration_ms": 1.5,
    }


def test_only_known_fields_are_shown() -> None:
    unknown = {"token": "secret", "arrays": ["secret"]}
    assert "secret" not in JsonFormatter().format(record("call", **unknown))


def test_a_traceback_is_one_string() -> None:
    made = record("failed")
    try:
        raise ValueError("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = json.loads(JsonFormatter().format(made))
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: why")


def test_in_text_fields_follow_the_message() -> None:
    text = TextFormatter().format(record("call answered", request_id="r", rows=3, worker=1))
    assert text.endswith("WARNING widedeep.some call answered request_id=r rows=3 worker=1")


EVIL = "x\n2026-03-01 ERROR fake\r\x1b[31m\x85\u2028\x9b"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_nothing_that_a_caller_names_breaks_a_line_or_speaks_to_a_terminal(formatter: logging.Formatter) -> None:
    text = formatter.format(record(f"unknown {EVIL}", model=EVIL))
    assert text.isprintable()
    if isinstance(formatter, JsonFormatter):
        assert json.loads(text)["model"] == EVIL


def test_in_text_a_field_cannot_be_taken_for_two() -> None:
    text = TextFormatter().format(record("call failed", request_id='"', model="x code=OK", code="NOT_FOUND"))
    assert text.endswith(r'call failed request_id="\"" model="x code=OK" code=NOT_FOUND')
