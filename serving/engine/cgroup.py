"""The CPU quota that the kernel holds this process to: of its control group and of all groups around it.

Both versions of control groups are read where they are mounted by convention, `/sys/fs/cgroup`. A container sees its
own group there as the root; a service of systemd, or a container that shares the host's view, is found by the path
in `/proc/self/cgroup`. CPU sets need no reading here: they show in the affinity of the process.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
"""Lines of `<hierarchy>:<controllers>:<path>`, those of version 2 with 0 and no controllers."""

_V1_FOLDERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


def cpu_quota(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """Return the least CPU quota, in cores, of the groups that this process is in; None where none has one.

    Source: `cpu.max` in the kernel's documentation of control groups v2; `cpu.cfs_quota_us` and `cpu.cfs_period_us`
    in that of the CFS bandwidth control, for v1.
    """
    quotas: list[float | None] = []
    for controllers, path in _memberships(membership):
        if not controllers:
            quotas += [_quota_v2(group) for root in (cgroups, cgroups / "unified") for group in _groups(root, path)]
        elif "cpu" in controllers:
            quotas += [_quota_v1(group) for name in _V1_FOLDERS for group in _groups(cgroups / name, path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _memberships(membership: Path) -> Iterator[tuple[list[str], PurePosixPath]]:
    """Yield the controllers and the group of each hierarchy; the roots alone where that is not to be read."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = ["1:cpu:/", "0::/"]
    for line in lines:
        _, controllers, path = (*line.split(":", maxsplit=2), "", "")[:3]
        yield [name for name in controllers.split(",") if name], PurePosixPath(path)


def _groups(root: Path, path: PurePosixPath) -> Iterator[Path]:
    """Yield the folders of a group and of those around it; what is not visible from here has no files to read."""
    parts = [part for part in path.parts if part not in {"/", ".."}]
    for n_parts in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:n_parts])


def _quota_v2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        return None if quota <= 0 else quota / int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None
