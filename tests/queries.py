"""What PromQL asks for, as far as tests need it: names of metrics, and labels that are matched or grouped by."""

import re
from collections.abc import Iterator
from typing import Any

_SERIES = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ", re.MULTILINE)
_NAME = re.compile(r"\b((?:widedeep|nv_inference|process)_\w+|up)\b(\{[^}]*\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"\bby \(([^)]*)\)")


def labels_of(exposition: str) -> dict[str, set[str]]:
    """Return the labels of every metric of a text that Prometheus scrapes."""
    found: dict[str, set[str]] = {}
    for name, labels in _SERIES.findall(exposition):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def names_in(query: str) -> list[tuple[str, set[str]]]:
    """Return the metrics of a query, each with the labels that it must have."""
    grouped = {label.strip() for labels in _GROUPED.findall(query) for label in labels.split(",")}
    return [(name, grouped | set(_LABEL.findall(matchers))) for name, matchers in _NAME.findall(query)]


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the title of a panel, or of an annotation, and a query of it."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
