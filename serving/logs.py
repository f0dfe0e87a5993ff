"""How log lines look: text for people, or one JSON object a line for machines.

    {"time":"2026-03-01T08:30:00.250Z","level":"info","logger":"widedeep...","message":"...","request_id":"..."}

`FIELDS` are what a line may carry beside its message; `exception` is a traceback as one string; `worker` is the number
of the worker that wrote it, where there are several. Whatever a caller sends, a record is one line, but for a traceback
in text, and holds nothing that a terminal acts upon. What libraries in C and C++ write themselves stays as they write
it; gRPC's is switched off unless GRPC_VERBOSITY asks for it.
"""

import json
import logging
import os
import sys
import threading
import time
from types import TracebackType
from typing import Any

FIELDS = (
    "request_id",
    "method",
    "model",
    "version",
    "caller",
    "code",
    "rows",
    "duration_ms",
)
"""Attributes of a log record that its line shows, given through `extra`."""

_LOG = logging.getLogger(__name__)


class TextFormatter(logging.Formatter):
    """Lines for people: fields follow the message as `name=value`, quoted where that could be read in two ways."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return the line without a traceback."""
        fields = "".join(f" {name}={_quoted(str(value))}" for name, value in _fields(record).items())
        return _legible(super().formatMessage(record)) + fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII: so it is one to every reader, and however standard error is encoded."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object; it holds no line break."""
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str, separators=(",", ":"))


def configure(level: str, line_format: str) -> None:
    """Write log lines of this process, and of those forked from it, to standard error.

    As JSON, warnings and errors that nothing catches become lines, too.

    Args:
        level: name of the least severe level shown.
        line_format: `text` or `json`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if line_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if line_format == "json":
        logging.captureWarnings(True)
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        sys.excepthook = _uncaught
        threading.excepthook = lambda found: _uncaught(
            found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback
        )
        sys.unraisablehook = lambda found: _LOG.error(
            "%s %r", found.err_msg or "exception ignored in", found.object, exc_info=found.exc_value
        )


def number_worker(place: int) -> None:
    """Have all lines of this process say which worker wrote them."""
    make = logging.LogRecord

    def record(*arguments: Any, **named: Any) -> logging.LogRecord:
        made = make(*arguments, **named)
        made.worker = place
        return made

    logging.setLogRecordFactory(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = record.__dict__
    return {name: given[name] for name in (*FIELDS, "worker") if name in given}


def _legible(text: str) -> str:
    """Return a text on one line, with control characters and the like spelled out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _quoted(value: str) -> str:
    """Return a field's value so that it can be taken for nothing else."""
    is_plain = value.isprintable() and not {*value} & {" ", '"', "="}
    return value if is_plain else json.dumps(value)


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    _LOG.critical("uncaught %s", kind.__name__, exc_info=(kind, error, traceback))
