"""Run every case, or those of the frameworks or the names given, and write the table into docs/export.md."""

import sys
import warnings
from pathlib import Path

from . import CASES, run
from .table import begin, end, key, row, rows_of, table

DOCS = Path(__file__).parents[2] / "docs" / "export.md"


def main(names: list[str]) -> None:
    """Rewrite what stands between the marks."""
    warnings.simplefilter("ignore")
    text = DOCS.read_text()
    rows = rows_of(text)
    for case in CASES:
        if not names or case.framework in names or case.what in names:
            rows[key(case)] = row(case, run(case))
            print(rows[key(case)], flush=True)  # noqa: T201 - a command prints
    before, after = text[: text.index(begin)], text[text.index(end) + len(end) :]
    DOCS.write_text(before + table(rows) + after)


if __name__ == "__main__":
    main(sys.argv[1:])
