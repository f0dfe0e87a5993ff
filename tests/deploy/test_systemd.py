"""The systemd unit, read by systemd itself."""

import configparser
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from manifests import DEPLOY, check_variables, load_settings
from widedeep.serving.settings import default_cache_dir

UNIT = DEPLOY / "systemd" / "widedeep.service"
TOML = (DEPLOY / "systemd" / "widedeep.toml").read_text()


DENIED = """
import ctypes, runpy, sys
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0
sys.argv = ["widedeep", "verify", sys.argv[1]]
runpy.run_module("widedeep.serving.cli", run_name="__main__")
"""
"""Forbids itself what MemoryDenyWriteExecute= forbids, then loads a bundle, runs its graphs and compares."""

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


class _Unit(configparser.RawConfigParser):
    """A unit's sections; of options that may be repeated, the last."""

    def __init__(self) -> None:
        super().__init__(strict=False)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    unit = _Unit()
    unit.read_string(UNIT.read_text())
    return unit["Service"]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments, UNIT], capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_finds_nothing_wrong_but_that_widedeep_is_not_installed_here() -> None:
    complaints = analyze("verify").stderr.splitlines()
    assert [line for line in complaints if "/opt/widedeep/bin/widedeep is not executable" not in line] == []


@needs_systemd
def test_systemd_rates_the_exposure_as_low() -> None:
    """Below 2 of 10: `--threshold` is in tenths, and the command fails above it."""
    result = analyze("security", "--offline=true", "--threshold=20")
    assert result.returncode == 0, result.stdout


def test_the_unit_does_not_claim_notifications_and_waits_for_health(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "exec"
    assert "widedeep health" in service["ExecStartPost"]


def test_a_start_fails_at_once_where_the_server_ends(service: configparser.SectionProxy) -> None:
    """No server answers here; systemd gives the command the number of the main process."""
    main = subprocess.Popen(["sleep", "60"])
    wait = subprocess.Popen(shlex.split(service["ExecStartPost"]), env={"MAINPID": str(main.pid)})
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            wait.wait(1.5)
        main.kill()
        main.wait()
        assert wait.wait(5) == 1
    finally:
        for process in (main, wait):
            process.kill()
            process.wait()


def test_the_cache_folder_is_the_one_the_server_looks_for(
    service: configparser.SectionProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = dict(entry.split("=", 1) for entry in service["Environment"].split())
    check_variables(list(variables))
    monkeypatch.setenv("XDG_CACHE_HOME", variables["XDG_CACHE_HOME"])
    assert default_cache_dir() == f"/var/cache/{service['CacheDirectory']}"
    assert service["CacheDirectoryMode"] == "0700"


def test_stopping_may_take_as_long_as_the_settings_say(
    service: configparser.SectionProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(TOML, {}, tmp_path, monkeypatch)
    assert set(tomllib.loads(TOML)) <= set(settings.model_fields_set)
    assert int(service["TimeoutStopSec"].removesuffix("s")) > settings.drain_wait_s + settings.grace_s
    assert f"localhost:{settings.port}" in service["ExecStartPost"]


def test_graphs_run_where_memory_is_never_both_written_and_executed(
    service: configparser.SectionProxy, bundle_path: Path
) -> None:
    """As under MemoryDenyWriteExecute=. Source: Linux 6.3, PR_SET_MDWE (65), PR_MDWE_REFUSE_EXEC_GAIN (1)."""
    assert service["MemoryDenyWriteExecute"] == "yes"
    probe = "import ctypes; raise SystemExit(-ctypes.CDLL(None).prctl(65, 1, 0, 0, 0))"
    if subprocess.run([sys.executable, "-c", probe], check=False).returncode:
        pytest.skip("needs Linux 6.3")
    result = subprocess.run([sys.executable, "-c", DENIED, bundle_path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "golden rows answered" in result.stdout
