"""The one door to onnxruntime: telemetry off before its first import, and every session opened with the same options.

Export proves parity under exactly these options, so a session must never be created anywhere else.
"""

import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

# Wheels since 1.29 send telemetry on Linux unless this is set before the first import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from ..contract.errors import BundleError, ConfigurationError
from .graph import check_self_contained

__all__ = ["CPU", "check_installation", "open_session", "ort", "resolve_providers"]

CPU = "CPUExecutionProvider"

# TF32 rounds inputs to 10 mantissa bits, which breaks the parity that the certificate states.
_PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}

# Distributions that all install the folder `onnxruntime`: with two of them, files of both are mixed.
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-rocm")

ort.set_default_logger_severity(3)


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
    path: Path, *, providers: Sequence[str] = (CPU,), threads: int = 1, fallback: bool = False
) -> ort.InferenceSession:
    """Open a member's graph under the serving session options.

    Loading by path releases the GIL. Threads do not spin: several sessions share the cores.

    Args:
        path: the ONNX file.
        providers: as `resolve_providers` returns them.
        threads: threads of one run, the caller's included.
        fallback: accept CPU when the preferred provider cannot start on this machine.

    Raises:
        BundleError: the graph reaches outside its file or onnxruntime cannot load it.
        ConfigurationError: the preferred provider cannot start here, for example no GPU, and `fallback` is off.
    """
    check_self_contained(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            str(path), options, providers=[(name, _PROVIDER_OPTIONS.get(name, {})) for name in providers]
        )
    except Exception as error:  # onnxruntime raises a different class for each of its own status codes
        raise BundleError(f"{path.name}: onnxruntime cannot load it: {error}") from error
    session.disable_fallback()
    if session.get_providers()[0] != providers[0] and not fallback:
        raise ConfigurationError(
            f"{path.name}: execution provider {providers[0]} could not start on this machine; "
            f"onnxruntime chose {session.get_providers()[0]}"
        )
    return session


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
