"""Cells of CSV are typed as batch jobs type them."""

from typing import Any

import pyarrow as pa
import pytest
from widedeep.export.train.tables import typed_text


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", " 2 ", "NA"], pa.int64(), [1, 2, None]),
        (["1", "2.5", "N/A"], pa.float64(), [1, 2.5, None]),
        (["1e3", "-inf", ""], pa.float64(), [1000, float("-inf"), None]),
        (["1", "NA", "", "x "], pa.string(), ["1", "NA", None, "x "]),
        (["true", "false"], pa.string(), ["true", "false"]),
        (["", "NULL"], pa.string(), [None, "NULL"]),
    ],
)
def test_text_is_a_number_where_all_of_it_is(cells: list[str], kind: Any, values: list[Any]) -> None:
    typed = typed_text(pa.chunked_array([cells]))
    assert typed.type == kind
    assert typed.to_pylist() == values


def test_dates_are_times() -> None:
    assert pa.types.is_timestamp(typed_text(pa.chunked_array([["2020-01-31", "2021-02-01"]])).type)
