from pathlib import Path

import pytest
from widedeep.serving.engine import machine
from widedeep.serving.engine.machine import describe_machine
from widedeep.serving.engine.runtime import CPU, machine_key

CUDA = "CUDAExecutionProvider"
CORE = "processor\t: {}\nmodel name\t: Some CPU\ncpu MHz\t\t: {}\nflags\t\t: {}\nbogomips\t: {}\n\n"


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "CPU_INFO", file)
    return file


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "gpus"
    monkeypatch.setattr(machine, "GPUS", folder)
    return folder


def test_clocks_and_numbers_of_cores_do_not_make_another_cpu(cpu_info: Path) -> None:
    cpu_info.write_text(CORE.format(0, 2000, "fma avx2", 1) + CORE.format(1, 3000, "fma avx2", 2))
    assert describe_machine([CPU])["cpu"] == ["model name: Some CPU\nflags: fma avx2"]


def test_an_instruction_set_more_makes_another_cpu(cpu_info: Path) -> None:
    cpu_info.write_text(CORE.format(0, 2000, "fma avx2", 1))
    before = describe_machine([CPU])
    cpu_info.write_text(CORE.format(0, 2000, "fma avx2 avx512f", 1))
    assert describe_machine([CPU]) != before


def test_large_and_small_cores_are_both_told(cpu_info: Path) -> None:
    cpu_info.write_text("processor: 0\nCPU part: 0xd46\n\nprocessor: 1\nCPU part: 0xd4d\n\n")
    assert describe_machine([CPU])["cpu"] == ["CPU part: 0xd46", "CPU part: 0xd4d"]


def test_a_machine_that_does_not_tell_its_cpu_is_described_all_the_same(cpu_info: Path) -> None:
    assert not cpu_info.exists()
    assert describe_machine([CPU])["machine"]


def test_the_cores_that_may_be_used_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_cores", lambda: 3)
    assert describe_machine([CPU])["cores"] == 3


def test_gpus_count_where_cuda_runs_on_them(gpus: Path) -> None:
    for number, model in enumerate(["NVIDIA A", "NVIDIA B"]):
        (gpus / f"0000:0{number}:00.0").mkdir(parents=True)
        (gpus / f"0000:0{number}:00.0" / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 1{number}\n")
    assert describe_machine([CUDA, CPU])["gpus"] == ["NVIDIA A", "NVIDIA B"]
    assert "gpus" not in describe_machine([CPU])


def test_a_machine_without_gpus_has_none(gpus: Path) -> None:
    assert describe_machine([CUDA, CPU])["gpus"] == []


def test_the_key_is_the_same_each_time_and_another_for_other_providers() -> None:
    assert machine_key() == machine_key((CPU,)) == machine_key((CPU,))
    assert machine_key((CUDA, CPU)) != machine_key()
    assert len(machine_key()) == 64
