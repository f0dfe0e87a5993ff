"""One command as a process: how long it took, what it cost, and the most memory that it held."""

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers.machine import cores

_EVERY_S = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


class RunError(Exception):
    """A command failed; quotes the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost.

    Attributes:
        wall_s: from its start to its end.
        cpu_s: processor time of the process and the children that it waited for.
        peak_mb: the most memory that the process itself held (its resident set, mapped files included).
        others: cores that other processes of the machine kept busy meanwhile, about.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    others: float


def run(command: Sequence[str], log: Path, timeout_s: float = 1800.0) -> Cost:
    """Run a command to its end.

    Args:
        command: what to run.
        log: file for what it prints.
        timeout_s: time after which it is killed.

    Raises:
        RunError: its status is not 0, or it took too long.
    """
    busy, started = _busy_s(), time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    peak_kb = 0
    while True:
        peak_kb = max(peak_kb, _peak_kb(process.pid))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        wall_s = time.monotonic() - started
        if pid:
            break
        if wall_s > timeout_s:
            process.kill()
        time.sleep(_EVERY_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = " ".join(log.read_text(errors="replace").split())[-600:]
        raise RunError(f"status {process.returncode} after {wall_s:.0f} s: {' '.join(command)}: {end}")
    cpu_s = usage.ru_utime + usage.ru_stime
    others = max(0.0, (_busy_s() - busy - cpu_s) / wall_s)
    return Cost(wall_s, cpu_s, peak_kb / 1024, min(others, cores()))


def _peak_kb(pid: int) -> int:
    """Return the most that a process ever held; the kernel keeps it, so that a late look misses nothing before it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def _busy_s() -> float:
    """Return the processor time that all processes of the machine took since it started, over all cores."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, interrupts, soft, stolen = fields
    return (user + nice + system + interrupts + soft + stolen) / _TICKS
