import subprocess
import sys
from importlib import metadata

import pytest
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.engine.runtime import CPU, check_installation, ort, resolve_providers


def test_telemetry_is_off_before_onnxruntime_is_imported_whatever_the_environment_says() -> None:
    code = """
import importlib.abc, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "onnxruntime":
            print("seen", os.environ.get("ORT_DISABLE_TELEMETRY"))

sys.meta_path.insert(0, Watch())
os.environ["ORT_DISABLE_TELEMETRY"] = "0"
import widedeep.serving.engine.ensemble
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "seen 1\n"


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let these distributions, and no others, be installed."""

    def version(name: str) -> str:
        if name not in names:
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version)


def test_two_builds_of_onnxruntime_in_one_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    with pytest.raises(ConfigurationError, match="onnxruntime and onnxruntime-gpu are installed together"):
        check_installation()


@pytest.mark.parametrize("names", [["onnxruntime"], ["onnxruntime-gpu"], ["onnxruntime-openvino", "numpy"], []])
def test_one_build_alone_passes(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    installed(monkeypatch, *names)
    check_installation()


def test_this_very_environment_passes() -> None:
    check_installation()


def test_a_provider_that_is_not_offered_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match=rf"provider NoSuchProvider is not in .*{ort.__version__}.*{CPU}"):
        resolve_providers(["NoSuchProvider", CPU])


def test_with_fallback_a_provider_that_is_not_offered_is_left_out() -> None:
    assert resolve_providers(["NoSuchProvider"], fallback=True) == (CPU,)


def test_cpu_comes_last_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["B", "A", CPU])
    assert resolve_providers([CPU, "A", "B"]) == ("A", "B", CPU)
