"""The one door to onnxruntime: telemetry off before its first import, and every session opened with the same options.

Export proves parity under exactly these options, so a session must never be created anywhere else.

Large weights are shared by all processes of a machine. The first session of a graph writes what onnxruntime made of it
into the cache: the optimised graph, and beside it a file with the weights as the kernels want them. Sessions map that
file, so that its pages are in memory once and answers are the same to the bit. Measured on two processes, growth of
each by its proportional share, time of one row: ResNet50 94 -> 49 MB, 8.7 -> 8.5 ms; two dense layers of 4096 132 -> 68
MB, 4.8 -> 3.7 ms. Of that 3 MB and 1 MB are a process's own, so that further processes cost next to nothing.
onnxruntime refuses packed weights that are not as they should be, as another CPU's may not; such a session is opened
without the cache. Other changes it does not see; the cache's digests do. Tree ensembles are attributes, never shared.
"""

import ctypes
import functools
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

# Wheels since 1.29 send telemetry on Linux unless this is set before the first import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from ..contract.errors import BundleError, ConfigurationError
from ..contract.tensors import Array
from .cache import Cache, Key, sha256
from .graph import check_self_contained
from .machine import describe_machine

__all__ = [
    "CPU",
    "GraphOptions",
    "check_installation",
    "machine_key",
    "open_session",
    "ort",
    "release_memory",
    "resolve_providers",
    "trim_heap",
]

_LOG = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"

# TF32 rounds inputs to 10 mantissa bits, which breaks the parity that the certificate states.
_PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}

# Distributions that all install the folder `onnxruntime`: with two of them, files of both are mixed.
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-rocm")

Optimization = Literal["all", "extended", "basic"]

_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
}

SHARED_BYTES = 1 << 20
"""Initializers from this size on are shared; below it a session is a few hundred KB, whoever owns them."""

_MAPPED_BYTES = 1 << 14
"""Single initializers below this stay in the graph's file: a mapping costs a few pages of its own."""

_PREPARED = "model.onnx"

_MALLOC_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's; other C libraries have none and need none."""

ort.set_default_logger_severity(3)


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How onnxruntime prepares and runs a graph.

    Attributes:
        threads: threads of one run, the caller's included.
        optimization: how far the graph is rewritten: `basic` keeps to what holds on any machine, `extended` fuses
            nodes, `all` also changes the layout of tensors to what this CPU prefers.
        arena: keep the memory of runs for later ones, of any thread. Where every core is at the same session all the
            time, what one thread gives back is then in another core's cache: the net over 64x64x3 images took a fifth
            less of two cores without. Memory of such a session cannot be released.
    """

    threads: int = 1
    optimization: Optimization = "all"
    arena: bool = True


_USUAL = GraphOptions()


def check_installation() -> None:
    """Refuse an environment in which two builds of onnxruntime overwrote each other.

    Raises:
        ConfigurationError: more than one distribution provides onnxruntime.
    """
    installed = [name for name in _DISTRIBUTIONS if _is_installed(name)]
    if len(installed) > 1:
        raise ConfigurationError(
            f"{' and '.join(installed)} are installed together and overwrite each other's files; "
            f"uninstall all of them, then install the one you need"
        )


def resolve_providers(providers: Sequence[str], *, fallback: bool = False) -> tuple[str, ...]:
    """Return the execution providers to open a session with, the preferred one first and CPU always last.

    Args:
        providers: names as onnxruntime spells them, for example `CUDAExecutionProvider`.
        fallback: leave out what this onnxruntime does not offer, instead of refusing.

    Raises:
        ConfigurationError: a provider is not offered and `fallback` is off.
    """
    offered = ort.get_available_providers()
    missing = [name for name in providers if name not in offered]
    if missing and not fallback:
        raise ConfigurationError(
            f"execution provider {missing[0]} is not in this onnxruntime {ort.__version__}, "
            f"which offers {', '.join(offered)}"
        )
    return (*(name for name in providers if name in offered and name != CPU), CPU)


def open_session(
    path: Path,
    *,
    providers: Sequence[str] = (CPU,),
    graph: GraphOptions = _USUAL,
    fallback: bool = False,
    cache: Cache | None = None,
) -> ort.InferenceSession:
    """Open a member's graph under the serving session options.

    Loading by path releases the GIL. Threads do not spin: several sessions share the cores.

    Args:
        path: the ONNX file.
        providers: as `resolve_providers` returns them.
        graph: threads, optimisation and arena.
        fallback: accept CPU when the preferred provider cannot start on this machine.
        cache: where large weights lie that all processes of this machine share; without one, and on an accelerator,
            every session has its own.

    Raises:
        BundleError: the graph reaches outside its file or onnxruntime cannot load it.
        ConfigurationError: the preferred provider cannot start here, for example no GPU, and `fallback` is off.
    """
    session = None
    if cache is not None and cache.folder is not None and tuple(providers) == (CPU,):
        session = _open_prepared(path, graph, cache)
    if session is None:
        check_self_contained(path)
        session = _create(path, _session_options(graph), providers)
    trim_heap()
    if session.get_providers()[0] != providers[0] and not fallback:
        raise ConfigurationError(
            f"{path.name}: execution provider {providers[0]} could not start on this machine; "
            f"onnxruntime chose {session.get_providers()[0]}"
        )
    return session


def release_memory(session: ort.InferenceSession, rows: Mapping[str, Array]) -> None:
    """Run a few rows and give back what larger runs have made the session hold.

    A session keeps the memory of its largest runs for the next ones, one share for every thread that ran it at once.

    Args:
        session: one that nothing runs just now, or soon will have all that memory again.
        rows: input name -> `(n_rows, ...)`, one row best.
    """
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session.run(None, dict(rows), options)
    trim_heap()


def trim_heap() -> None:
    """Give back to the system what loading a graph took for a while.

    Measured: 252 MB for a session of 94 MB of weights become 101; 11 ms there, 0.1 ms for small graphs.
    """
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)


@functools.cache
def machine_key(providers: tuple[str, ...] = (CPU,)) -> str:
    """Return a digest of what plans and optimised graphs depend on: this machine, its cores, onnxruntime's build."""
    described = {
        **describe_machine(providers),
        "providers": providers,
        "onnxruntime": [ort.__version__, ort.get_build_info()],
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _session_options(graph: GraphOptions) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = graph.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = _LEVELS[graph.optimization]
    options.log_severity_level = 3
    # A pattern is one block for all tensors of a run, kept beside the tensors of other numbers of rows. Measured on a
    # conv net, four threads, runs of 1 to 8 rows: 130 MB with patterns, 65 without, in the same time. A net of 7 us a
    # row takes 1 us longer without.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = graph.arena
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _create(path: Path, options: ort.SessionOptions, providers: Sequence[str]) -> ort.InferenceSession:
    try:
        session = ort.InferenceSession(
            str(path), options, providers=[(name, _PROVIDER_OPTIONS.get(name, {})) for name in providers]
        )
    except Exception as error:  # onnxruntime raises a different class for each of its own status codes
        raise BundleError(f"{path.name}: onnxruntime cannot load it: {error}") from error
    session.disable_fallback()
    return session


def _open_prepared(path: Path, graph: GraphOptions, cache: Cache) -> ort.InferenceSession | None:
    """Return a session whose weights are mapped from the cache; None where that gains nothing or cannot be.

    A graph with an entry has passed `check_self_contained` when that was made: the key holds its digest.
    """
    try:
        if path.stat().st_size < SHARED_BYTES:
            return None
        key = Key("graph", sha256(path), machine_key(), graph.optimization)
    except OSError:
        return None  # the ordinary way says what is wrong with it
    entry = cache.find(key)
    if entry is None:
        if check_self_contained(path) < SHARED_BYTES:
            return None
        entry = cache.obtain(key, lambda folder: _prepare(path, graph, folder))
    if entry is None:
        return None
    options = _session_options(graph)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # that is done
    try:
        return _create(entry / _PREPARED, options, (CPU,))
    except BundleError as error:
        _LOG.warning("%s: its weights are not shared with other processes: %s", path.name, error)
        return None


def _prepare(path: Path, graph: GraphOptions, folder: Path) -> None:
    """Write the graph as a session would run it, the weights in a file of their own, packed as the kernels want them.

    Raises:
        OSError: onnxruntime cannot.
    """
    options = _session_options(graph)
    options.optimized_model_filepath = str(folder / _PREPARED)
    for entry, value in {
        "session.optimized_model_external_initializers_file_name": "weights",
        "session.optimized_model_external_initializers_min_size_in_bytes": str(_MAPPED_BYTES),
        "session.save_external_prepacked_constant_initializers": "1",
    }.items():
        options.add_session_config_entry(entry, value)
    try:
        _create(path, options, (CPU,))
    except BundleError as error:
        raise OSError(str(error)) from error


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
