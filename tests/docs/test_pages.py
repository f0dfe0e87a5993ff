"""What pages of the documentation promise about other files: tests, alerts, keys, and where their links lead."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
# Free text and names chosen by people: not keys of the format.
_FREE = {
    "source",
    "opset",
    "versions",
    "tolerance",
    "kinds",
    "coverage",
    "evidence",
    "created_by",
    "members",
    "results",
}


def text_of(name: str) -> str:
    return (DOCS / name).read_text()


def test_every_test_that_conformance_names_exists() -> None:
    sources = list((ROOT / "tests").rglob("test_*.py"))
    there = {path.stem for path in sources}
    there |= {name for path in sources for name in re.findall(r"def (test_\w+)", path.read_text())}
    named = set(re.findall(r"`(test_\w+)`", text_of("conformance.md")))
    assert len(named) > 50
    assert sorted(named - there) == []


def test_every_row_of_conformance_names_a_test_or_says_that_nothing_is_served() -> None:
    rows = [line for line in text_of("conformance.md").splitlines() if line.startswith("| ") and "---" not in line]
    heads = {"| call |", "| field |", "| datatype |", "| what |", "| when |"}
    unproven = [row for row in rows if not any(row.startswith(head) for head in heads) and "`test_" not in row]
    assert [row.split("|")[1].strip() for row in unproven] == ["HTTP/REST inference"]


def test_every_alert_has_its_section_in_the_runbook() -> None:
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "deploy/prometheus/alerts.yaml").read_text())
    links = re.findall(r"docs/runbook\.md#(\w+)", (ROOT / "deploy/prometheus/alerts.yaml").read_text())
    sections = re.findall(r"^### (\w+)$", text_of("runbook.md"), re.MULTILINE)
    assert len(alerts) > 5
    assert [alert for alert in alerts if alert not in sections] == []
    assert set(links) <= {section.lower() for section in sections}


def keys_of(value: Any, *, free: bool = False) -> set[str]:
    """Return the keys of the format that some JSON holds: those of objects whose keys are not names of the user's."""
    if isinstance(value, list):
        return set().union(*(keys_of(each, free=free) for each in value))
    if not isinstance(value, dict):
        return set()
    own = set() if free else set(value)
    inner = (
        keys_of(each, free=(key in _FREE and isinstance(each, dict)) or key == "diversity")
        for key, each in value.items()
    )
    return own.union(*inner)


def test_every_key_of_a_bundle_is_described(bundle_path: Path) -> None:
    described = set(re.findall(r"`(\w+)`", text_of("bundle.md")))
    keys = keys_of(json.loads((bundle_path / "bundle.json").read_text()))
    assert {"format", "members", "certificate", "max_rel_diff", "weights"} <= keys
    assert sorted(keys - described) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_to_files_that_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_no_place_of_the_machine_that_it_was_written_on(page: Path) -> None:
    assert re.findall(r"(?<!\w)/(?:root|home|work|private)/\S*", page.read_text()) == []
