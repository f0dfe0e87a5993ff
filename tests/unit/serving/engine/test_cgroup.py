"""The CPU quota read from trees of control groups like those that the kernel shows."""

from pathlib import Path

import pytest
from widedeep.serving.engine.cgroup import cpu_quota


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _membership(cgroups: Path, *lines: str) -> Path:
    path = cgroups.parent / "membership"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_container_reads_its_quota_at_the_root_of_version_2(cgroups: Path) -> None:
    _write(cgroups / "cpu.max", "150000 100000\n")
    assert cpu_quota(cgroups, _membership(cgroups, "0::/")) == 1.5


def test_no_limit_in_version_2_is_none(cgroups: Path) -> None:
    _write(cgroups / "cpu.max", "max 100000\n")
    assert cpu_quota(cgroups, _membership(cgroups, "0::/")) is None


def test_the_tightest_group_around_the_process_counts(cgroups: Path) -> None:
    _write(cgroups / "cpu.max", "max 100000\n")
    _write(cgroups / "kubepods.slice/cpu.max", "400000 100000\n")
    _write(cgroups / "kubepods.slice/pod.slice/cpu.max", "50000 50000\n")
    _write(cgroups / "kubepods.slice/pod.slice/container/cpu.max", "300000 100000\n")
    _write(cgroups / "system.slice/cpu.max", "1000 100000\n")
    membership = _membership(cgroups, "0::/kubepods.slice/pod.slice/container")
    assert cpu_quota(cgroups, membership) == 1.0


def test_a_path_of_the_host_that_the_container_does_not_see_leaves_the_root(cgroups: Path) -> None:
    _write(cgroups / "cpu.max", "200000 100000\n")
    assert cpu_quota(cgroups, _membership(cgroups, "0::/../../docker/0123456789ab")) == 2.0


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_version_1_keeps_quota_and_period_in_two_files(cgroups: Path, folder: str) -> None:
    _write(cgroups / folder / "docker/0123456789ab/cpu.cfs_quota_us", "250000\n")
    _write(cgroups / folder / "docker/0123456789ab/cpu.cfs_period_us", "100000\n")
    membership = _membership(cgroups, "5:memory:/elsewhere", f"4:{folder}:/docker/0123456789ab", "0::/")
    assert cpu_quota(cgroups, membership) == 2.5


def test_a_quota_of_minus_one_is_none_in_version_1(cgroups: Path) -> None:
    _write(cgroups / "cpu/cpu.cfs_quota_us", "-1\n")
    _write(cgroups / "cpu/cpu.cfs_period_us", "100000\n")
    assert cpu_quota(cgroups, _membership(cgroups, "3:cpu:/")) is None


def test_version_2_beside_version_1_is_read_where_it_is_mounted(cgroups: Path) -> None:
    _write(cgroups / "unified/service/cpu.max", "75000 100000\n")
    assert cpu_quota(cgroups, _membership(cgroups, "1:name=systemd:/service", "0::/service")) == 0.75


def test_without_a_list_of_memberships_the_roots_are_read(cgroups: Path) -> None:
    _write(cgroups / "cpu/cpu.cfs_quota_us", "50000\n")
    _write(cgroups / "cpu/cpu.cfs_period_us", "100000\n")
    assert cpu_quota(cgroups, cgroups / "nowhere") == 0.5


@pytest.mark.parametrize("text", ["", "many 100000", "100000", "1 2 3", "100000 0"])
def test_files_that_say_nothing_are_no_limit(cgroups: Path, text: str) -> None:
    _write(cgroups / "cpu.max", text)
    assert cpu_quota(cgroups, _membership(cgroups, "0::/")) is None


def test_no_control_groups_at_all_are_no_limit(cgroups: Path) -> None:
    assert cpu_quota(cgroups, _membership(cgroups, "0::/", "not a line of that file")) is None
