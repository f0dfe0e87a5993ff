import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from small_bundle import softmax_graph
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.engine.runtime import (
    CPU,
    GraphOptions,
    Optimization,
    check_installation,
    open_session,
    ort,
    resolve_providers,
)


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


@pytest.mark.parametrize("optimization", ["all", "extended", "basic"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_graph_is_opened_with_the_options_asked_for(threads: int, optimization: Optimization, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(softmax_graph("tabular", (3,), 2, seed=0))
    options = open_session(path, graph=GraphOptions(threads, optimization)).get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.graph_optimization_level.name == f"ORT_ENABLE_{optimization.upper()}"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("arena", [True, False])
def test_a_session_keeps_the_memory_of_its_runs_only_if_it_shall(arena: bool, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(softmax_graph("tabular", (3,), 2, seed=0))
    assert open_session(path, graph=GraphOptions(arena=arena)).get_session_options().enable_cpu_mem_arena is arena


def test_a_graph_is_opened_on_one_thread_and_fully_optimised_if_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(softmax_graph("tabular", (3,), 2, seed=0))
    options = open_session(path).get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
