"""Metrics as the text that a scraper asks for: Prometheus's format, or OpenMetrics."""

import re
from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

from .families import families
from .snapshot import Snapshot

_OPENMETRICS = "application/openmetrics-text"
_TRITONS = re.compile(rb"^(# (?:HELP|TYPE) nv_\w+)_total ", re.MULTILINE)


def exposition(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """Return the text and its content type, of those that the Accept header names.

    Triton's counters have no `_total` in their names, which the library adds to what it declares of every counter, and
    OpenMetrics forbids counters without: there they are of unknown type, which every query treats alike.
    """
    encode, content_type = choose_encoder(accept)
    is_openmetrics = content_type.startswith(_OPENMETRICS)
    text = encode(_Once(snapshot, _of_unknown_type if is_openmetrics else _unchanged))
    return (text if is_openmetrics else _TRITONS.sub(rb"\1 ", text)), content_type


class _Once:
    """What the library takes for a collector: one snapshot."""

    def __init__(self, snapshot: Snapshot, change: Callable[[Metric], Metric]) -> None:
        self._snapshot = snapshot
        self._change = change

    def collect(self) -> Iterable[Metric]:
        return map(self._change, families(self._snapshot))


def _unchanged(metric: Metric) -> Metric:
    return metric


def _of_unknown_type(metric: Metric) -> Metric:
    if metric.type == "counter" and metric.name.startswith("nv_"):
        metric.type = "unknown"
    return metric
