"""What the image is built from: locks that fit pyproject.toml, a Dockerfile without complaints, code that strips."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "deploy" / "image"
EXTRAS = {"native", "oci", "s3", "tracing"}
ACCELERATORS = ("cpu", "gpu")
PYTHONS = ("3.11", "3.12", "3.13")


def _pins(lock: str, python: str) -> dict[str, Version]:
    """Return the versions that a lock has for a release of Python."""
    text = (IMAGE / f"requirements-{lock}.txt").read_text().replace("\\\n", "")
    environment = {"python_version": python, "python_full_version": f"{python}.2", "sys_platform": "linux"}
    pins = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            pin, *hashes = line.split(" --hash=")
            assert hashes, f"not hashed: {pin}"
            assert all(digest.strip().startswith("sha256:") for digest in hashes)
            requirement = Requirement(pin.strip())
            if requirement.marker is None or requirement.marker.evaluate(environment):
                (version,) = requirement.specifier
                assert version.operator == "=="
                pins[requirement.name] = Version(version.version)
    return pins


def _asked(extras: set[str]) -> Iterator[Requirement]:
    """Yield what the project asks for with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in [*project["dependencies"], *(line for extra in extras for line in _extra(project, extra))]:
        yield Requirement(line)


def _extra(project: dict[str, dict[str, list[str]]], name: str) -> Iterator[str]:
    for line in project["optional-dependencies"][name]:
        requirement = Requirement(line)
        if requirement.name == "widedeep":
            for extra in requirement.extras:
                yield from _extra(project, extra)
        else:
            yield line


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_the_locks_hold_what_the_project_asks_for(accelerator: str, python: str) -> None:
    pins = _pins(accelerator, python)
    for requirement in _asked(EXTRAS):
        name = requirement.name
        if (accelerator, name) == ("gpu", "onnxruntime"):
            name = "onnxruntime-gpu"
        assert name in pins, f"{name} is not locked: run `make lock`"
        assert requirement.specifier.contains(pins[name], prereleases=True), f"{name}: run `make lock`"


@pytest.mark.parametrize("python", PYTHONS)
def test_both_images_are_locked_to_the_same_versions_but_for_onnxruntime(python: str) -> None:
    cpu, gpu = _pins("cpu", python), _pins("gpu", python)
    assert cpu.pop("onnxruntime")
    assert gpu.pop("onnxruntime-gpu")
    assert cpu == gpu


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_no_training_library_is_locked(accelerator: str) -> None:
    trainers = {
        "keras",
        "lightgbm",
        "onnx",
        "optuna",
        "pandas",
        "scikit-learn",
        "scipy",
        "tensorflow",
        "torch",
        "xgboost",
    }
    assert not trainers & _pins(accelerator, "3.11").keys()


@pytest.mark.parametrize("lock", [*ACCELERATORS, "build"])
def test_no_lock_says_where_packages_come_from(lock: str) -> None:
    text = (IMAGE / f"requirements-{lock}.txt").read_text()
    assert "://" not in text
    assert not [line for line in text.splitlines() if line.startswith("-")]


def test_the_tools_that_build_the_image_are_locked() -> None:
    assert {"cyclonedx-bom", "setuptools"} <= _pins("build", "3.11").keys()


def test_the_dockerfile_has_nothing_to_complain_about() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed (the extra `deploy`)")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_stripping_leaves_what_the_server_reads(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    kept = [
        "../../../bin/python3",
        "../../../bin/widedeep",
        "botocore/data/endpoints.json",
        "botocore/data/s3/2006-03-01/service-2.json.gz",
        "certifi/cacert.pem",
        "jsonschema_specifications/schemas/draft7/metaschema.json",
        "numpy/__init__.py",
        "numpy/testing/__init__.py",
        "onnxruntime/capi/onnxruntime_pybind11_state.so",
        "onnxruntime/capi/libonnxruntime_providers_shared.so",
    ]
    gone = [
        "../../../bin/activate",
        "botocore/data/ec2/2016-11-15/service-2.json.gz",
        "numpy/_core/tests/data/astype_copy.pkl",
        "numpy/testing/tests/test_utils.py",
        "numpy/__init__.pyi",
        "oras/tests/test_oras.py",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
        "onnxruntime/transformers/__init__.py",
    ]
    for name in kept + gone:
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    done = subprocess.run([sys.executable, IMAGE / "strip.py", tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stripped")
    assert [name for name in kept if not (packages / name).exists()] == []
    assert [name for name in gone if (packages / name).exists()] == []
