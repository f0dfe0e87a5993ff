"""The site as `make docs` builds it: strict, whole, and without anything from another host."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from widedeep.serving.settings import ServeSettings

pytest.importorskip("mkdocs", reason="needs widedeep[docs]")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    types = ROOT / "build/types/widedeep"
    types.mkdir(parents=True, exist_ok=True)
    for name in ("serving", "export"):
        if not (types / name).exists():
            (types / name).symlink_to(f"../../../{name}")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[str, str]]:
    for page in sorted(site.rglob("*.html")):
        yield page.relative_to(site).as_posix(), page.read_text()


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"'](?:https?:)?//|<link\b[^>]*href=[\"'](?:https?:)?//"
    )
    assert [name for name, html in pages(site) if loads.search(re.sub(r"<link rel=.canonical.[^>]*>", "", html))] == []
    styles = [style for style in site.rglob("*.css") if re.search(r"url\([\"']?https?:|@import", style.read_text())]
    assert styles == []


def test_no_page_names_this_machine(site: Path) -> None:
    here = [str(ROOT), str(Path.home()) + "/"]
    assert [name for name, html in pages(site) if any(place in html for place in here)] == []


def test_every_command_and_setting_is_in_the_reference(site: Path) -> None:
    commands = (site / "reference/cli.html").read_text()
    for point in entry_points(group="widedeep.commands"):
        assert f'id="widedeep-{point.name}"' in commands
    settings = (site / "reference/settings.html").read_text()
    for name in ServeSettings.model_fields:
        assert f"WIDEDEEP_{name.upper()}" in settings
        assert f"--{name.replace('_', '-')}" in commands


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("client", ["Client.predict", "AsyncClient.predict", "Prediction.probabilities"]),
        ("export", ["convert", "build", "Int8", "fuse", "cross_fit"]),
        ("batch", ["BatchScorer.score", "run", "RayScorer", "score"]),
        ("errors", ["Overloaded", "InvalidInput", "BundleError"]),
    ],
)
def test_the_reference_holds_what_the_code_says_of_itself(site: Path, page: str, names: list[str]) -> None:
    html = (site / f"reference/{page}.html").read_text()
    ids = re.findall(r'id="(widedeep\.[\w.]+)"', html)
    assert [name for name in names if not any(each.endswith(f".{name}") for each in ids)] == []


def test_the_search_index_holds_every_page(site: Path) -> None:
    index = (site / "search/search_index.json").read_text()
    pages_there = {name for name, _ in pages(site)} - {"404.html"}
    assert [name for name in pages_there if f'"location":"{name}' not in index and name != "index.html"] == []
