"""What must be said in several places says the same: versions, packages, Python releases."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
CHART = ROOT / "deploy" / "helm" / "widedeep" / "Chart.yaml"


def test_the_installed_package_has_the_version_of_pyproject() -> None:
    assert version("widedeep") == PROJECT["version"], "install again: make venv"


def test_the_command_tells_that_version() -> None:
    command = Path(sys.executable).with_name("widedeep")
    assert subprocess.check_output([command, "--version"], text=True) == f"widedeep {PROJECT['version']}\n"


@pytest.mark.parametrize("key", ["version", "appVersion"])
def test_the_helm_chart_has_that_version(key: str) -> None:
    found = re.search(rf'^{key}: "?([^"\n]+)"?$', CHART.read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == PROJECT["version"]


def test_no_module_writes_a_version_down() -> None:
    written = re.compile(r'__version__\s*=|["\']' + re.escape(PROJECT["version"]) + r'["\']')
    sources = [path for folder in ("serving", "export") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    assert [path for path in sources if written.search(path.read_text())] == []


def test_the_changelog_begins_with_what_is_not_released() -> None:
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", day) for _, day in headings[1:])


def test_every_package_is_listed() -> None:
    found = {
        f"widedeep.{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}"
        for folder in ("serving", "export")
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == found


def test_every_file_beside_modules_is_packaged() -> None:
    packaged = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.removeprefix("widedeep.").replace(".", "/")).glob(pattern)
    }
    beside = {
        path
        for folder in ("serving", "export")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert packaged == beside


def test_the_oldest_python_is_the_first_classifier() -> None:
    releases = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert f">={releases[0]}" == PROJECT["requires-python"]


def test_the_licence_is_apache_2_whole_and_named() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    for part in (*(f"\n   {number}. " for number in range(1, 10)), "END OF TERMS AND CONDITIONS", "APPENDIX"):
        assert part in text
