"""Which machine is this, as far as the speed of a graph depends on it?"""

import platform
from collections.abc import Sequence
from pathlib import Path

from .pool import available_cores

CPU_INFO = Path("/proc/cpuinfo")
GPUS = Path("/proc/driver/nvidia/gpus")
"""One folder a device, made by NVIDIA's driver."""

_CPU_FIELDS = frozenset(
    {
        *("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "cache size"),
        *("CPU implementer", "CPU variant", "CPU part", "CPU revision", "Features"),
    }
)
"""What tells one kind of core from another, on x86 and on ARM; clocks and bug lists change between boots."""


def describe_machine(providers: Sequence[str]) -> dict[str, object]:
    """Return what a measured plan and an optimised graph depend on, in a form that JSON holds.

    Args:
        providers: execution providers in use; the names of the GPUs count where CUDA is one of them.
    """
    described: dict[str, object] = {
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": available_cores(),
    }
    if any(name.startswith(("CUDA", "Tensorrt")) for name in providers):
        described["gpus"] = _gpus()
    return described


def _cpu() -> list[str]:
    """Return the kinds of cores: one on most machines, several where large and small ones are mixed."""
    try:
        text = CPU_INFO.read_text()
    except OSError:
        return [platform.processor()]
    kinds = set()
    for core in text.split("\n\n"):
        fields = (line.partition(":") for line in core.splitlines())
        kinds.add(
            "\n".join(f"{key.strip()}: {value.strip()}" for key, _, value in fields if key.strip() in _CPU_FIELDS)
        )
    return sorted(kinds - {""})


def _gpus() -> list[str]:
    """Return the names of the GPUs, as many as there are."""
    names = []
    for file in sorted(GPUS.glob("*/information")):
        lines = (line.partition(":") for line in file.read_text().splitlines())
        names += [value.strip() for key, _, value in lines if key == "Model"]
    return names
