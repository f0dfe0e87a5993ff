"""The table of docs/export.md."""

import json
from collections.abc import Mapping
from pathlib import Path

from .case import CASES, TOLERANCE, Case, Outcome

USUAL = Path(__file__).with_name("usual.json")
"""What the usual converters make of each case, written by bench/usual_converters.py."""

begin, end = "<!-- cases: written by tests/export_cases -->", "<!-- end of cases -->"
_COLUMNS = "| model | usual converter | widedeep |\n|---|---|---|"


def table(rows: Mapping[str, str]) -> str:
    """Return the table as Markdown, a part a framework, of the rows by `key`; cases without one are left out."""
    parts = [begin]
    for framework in dict.fromkeys(case.framework for case in CASES):
        parts += [f"\n### {framework}\n", _COLUMNS]
        parts += [rows[key(case)] for case in CASES if case.framework == framework and key(case) in rows]
    return "\n".join([*parts, "", end])


def rows_of(text: str) -> dict[str, str]:
    """Return the rows that stand in the document, by `key`."""
    found, framework = {}, ""
    for line in text[text.index(begin) : text.index(end)].splitlines():
        if line.startswith("### "):
            framework = line.removeprefix("### ")
        elif line.startswith("| ") and line != _COLUMNS.partition("\n")[0]:
            found[f"{framework}: {line.split(' | ')[0].removeprefix('| ')}"] = line
    return found


def usual() -> dict[str, str]:
    """Return case -> what its usual converter makes of it."""
    return dict(json.loads(USUAL.read_text()))


def row(case: Case, outcome: Outcome) -> str:
    """Return one line."""
    right = "right" if outcome.tolerance == TOLERANCE else f"right, to {outcome.tolerance:g} on further rows"
    said = right if outcome.refusal is None else f"refused: {outcome.refusal}"
    plain = usual().get(key(case), "not measured")
    return f"| {case.what} | {plain} | {said.replace('|', chr(92) + '|')} |"


def key(case: Case) -> str:
    """Return a case's name in tests."""
    return f"{case.framework}: {case.what}"
