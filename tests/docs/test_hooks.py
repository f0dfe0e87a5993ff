"""The site's hooks: links out of the docs folder, and pages made from the code."""

import importlib.util
import re
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("mkdocs", reason="needs widedeep[docs]")

DOCS = Path(__file__).parents[2] / "docs"


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"hooks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rewritten(markdown: str, repo_url: str = "") -> str:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="howto/tune.md"))
    config = SimpleNamespace(docs_dir=str(DOCS), repo_url=repo_url)
    return str(hook("links").on_page_markdown(markdown, page=page, config=config, files=None))


def test_a_link_to_a_file_of_the_repository_becomes_its_path_where_no_repository_is_known() -> None:
    assert rewritten("see [the program](../../bench/servers.py)") == "see the program (`bench/servers.py`)"
    assert rewritten("see [`servers.py`](../../bench/servers.py)") == "see `bench/servers.py`"


def test_it_becomes_a_link_into_the_repository_where_that_is_known() -> None:
    url = "https://example.org/wide"
    assert rewritten("[it](../../bench/servers.py)", url) == f"[it]({url}/blob/main/bench/servers.py)"


def test_links_between_pages_and_images_stay() -> None:
    markdown = "[a](../serving.md#workers) ![b](../report.png) [c](https://example.org)"
    assert rewritten(markdown) == markdown


def test_a_link_to_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"howto/tune\.md: link to bench/nothing\.py"):
        rewritten("[it](../../bench/nothing.py)")


def test_a_command_is_described_by_its_own_parser() -> None:
    points = {point.name: point for point in entry_points(group="widedeep.commands")}
    section = hook("generated").section(points["verify"])
    assert section.startswith("## widedeep verify\n")
    assert "| `BUNDLE` | the bundle's folder |" in section
    assert "| `--json` | print the result as JSON |" in section


def test_a_setting_is_described_with_flag_variable_key_and_default() -> None:
    table = hook("generated").settings()
    row = next(line for line in table.splitlines() if "`--port`" in line)
    assert row == ("| `--port`<br>`WIDEDEEP_PORT`<br>`port` | `8001` | port to listen on; 0 picks a free one |")
    assert not re.search(re.escape(str(Path.home())) + r"\b", table)
