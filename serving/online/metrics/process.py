"""What the system knows of this process, under the names that every Prometheus client library gives it."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector

CPU = "process_cpu_seconds"
"""The one that is a counter; the others are gauges."""
_START = "process_start_time_seconds"
_LIMIT = "process_max_fds"

HELP = {
    CPU: "CPU seconds used by the server, in user and system mode",
    _START: "Time at which the server started, in seconds since the epoch",
    "process_virtual_memory_bytes": "Virtual memory in bytes",
    "process_resident_memory_bytes": "Resident memory in bytes; workers share some of it, which counts for each",
    "process_open_fds": "Open file descriptors",
    _LIMIT: "File descriptors that one process may open",
}

_COLLECTOR = ProcessCollector(registry=CollectorRegistry())


def process_values() -> dict[str, float]:
    """Return the values of this process by metric; none where the system has no /proc."""
    return {metric.name: metric.samples[0].value for metric in _COLLECTOR.collect() if metric.name in HELP}


def added_up(processes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the values of several processes as one server's; the first process is the one that started it."""
    names = dict.fromkeys(name for values in processes for name in values)
    return {
        name: next(values[name] for values in processes if name in values)
        if name in {_START, _LIMIT}
        else sum(values.get(name, 0.0) for values in processes)
        for name in names
    }
