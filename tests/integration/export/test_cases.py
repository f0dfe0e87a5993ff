"""docs/export.md says what becomes of every hard case; each is trained, converted and judged again here."""

from pathlib import Path

import pytest
from export_cases import CASES, Case, run
from export_cases.table import key, row, rows_of

DOCS = Path(__file__).parents[3] / "docs" / "export.md"


def documented() -> dict[str, str]:
    return rows_of(DOCS.read_text())


@pytest.mark.filterwarnings("ignore")  # what training libraries say of their own dependencies
@pytest.mark.parametrize("case", [pytest.param(c, id=key(c), marks=[pytest.mark.slow] * c.slow) for c in CASES])
def test_a_case_is_right_or_refused_as_the_table_says(case: Case) -> None:
    assert row(case, run(case)) == documented()[key(case)]


def test_the_table_has_every_case_and_no_other() -> None:
    assert sorted(documented()) == sorted(map(key, CASES))


def test_no_two_cases_have_the_same_name() -> None:
    assert len({key(case) for case in CASES}) == len(CASES)
