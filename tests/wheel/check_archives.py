"""What the sdist and the wheel hold, and what a type checker makes of the installed package.

Run by `make wheel-test` in the folder where they were built, beside `venv`, where the wheel alone is installed.
"""

import email
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

CONSUMER = """\
import numpy as np
from widedeep.export import convert
from widedeep.serving.client import Client, Prediction

def score(address: str) -> Prediction:
    with Client(address, model="iris") as client:
        return client.predict({"tabular": np.zeros((1, 4), np.float32)})

reveal_type(score)
reveal_type(convert)
"""
NOT_IN_AN_SDIST = re.compile(
    r"^(bench|build|demo|dist)/|^examples/\w+/build/|(^|/)(\.venv|node_modules|__pycache__|\.git)/|\.pyc$"
)


@pytest.fixture(scope="module")
def wheel() -> zipfile.ZipFile:
    (path,) = Path().glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def in_sdist() -> set[str]:
    (path,) = Path().glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def test_the_wheel_holds_the_two_packages_and_its_metadata_alone(wheel: zipfile.ZipFile) -> None:
    tops = {"/".join(name.split("/")[:2]) for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert tops == {"widedeep/export", "widedeep/serving"}


@pytest.mark.parametrize("package", ["export", "serving"])
def test_the_wheel_says_that_it_is_typed(wheel: zipfile.ZipFile, package: str) -> None:
    assert f"widedeep/{package}/py.typed" in wheel.namelist()


def test_the_wheel_holds_the_licence(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    fields = email.message_from_bytes(wheel.read(metadata))
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields.get_all("License-File") == ["LICENSE"]
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())
    assert fields["Description-Content-Type"] == "text/markdown"


def test_the_sdist_holds_what_it_is_built_and_tested_with(in_sdist: set[str]) -> None:
    needed = {
        *("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "pyproject.toml"),
        *("protos/inference.proto", "protos/model_config.proto", "protos/generate.py"),
        *("serving/py.typed", "export/py.typed", "serving/protocol/protocol.binpb", "serving/protocol/messages.pyi"),
        *("tests/conftest.py", "tests/small_bundle.py", "tests/wheel/check_archives.py", "examples/node/call.mjs"),
    }
    assert needed <= in_sdist


def test_the_sdist_holds_nothing_that_was_built(in_sdist: set[str]) -> None:
    assert [name for name in sorted(in_sdist) if NOT_IN_AN_SDIST.search(name)] == []


def test_mypy_reads_the_types_of_the_installed_package(tmp_path: Path) -> None:
    program = tmp_path / "consumer.py"
    program.write_text(CONSUMER)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path / "cache")),
            *("--python-executable", str(Path("venv/bin/python").absolute()), str(program)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert 'Revealed type is "def (address: str' in done.stdout
    assert "Any" not in done.stdout.splitlines()[0]
