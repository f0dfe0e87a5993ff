import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from widedeep.serving.batch.sources.lines import Piece, line_spans
from widedeep.serving.batch.sources.quoting import MARGIN_BYTES, Quotes

COMMAS = Quotes(",")


@settings(deadline=None)
@given(
    st.lists(st.lists(st.text('ab", \n;\t|^]-'), min_size=1, max_size=4), min_size=1, max_size=6),
    st.sampled_from(",;\t|^]- "),
)
def test_what_python_writes_breaks_no_rule_and_its_rows_and_cells_are_found(
    table: list[list[str]], delimiter: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(table)
    data, quotes = text.getvalue().encode(), Quotes(delimiter)
    assert quotes.stray(data) is None
    spans = line_spans(data, quotes.row_ends(data))
    assert [quotes.n_cells(data[start:stop]) for start, stop in spans] == [len(row) for row in table]


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (b'a"b', 1),
        (b'a,b"', 3),
        (b'"a"b,c', 2),
        (b'"a" ,c', 2),
        (b'a, "b"', 3),
        (b'""a"",b', 1),
        (b'a,"b', 2),
        (b'"a\r', 0),
        (b'"a"\rb', 2),
        (b'"', 0),
        (b'a,"b"""c', 6),
    ],
)
def test_the_first_quote_that_breaks_a_rule_is_found(row: bytes, place: int) -> None:
    assert COMMAS.stray(row) == place
    assert COMMAS.stray(b'"x",""\n' + row) == place + 7
    assert COMMAS.n_cells(row) == 0


def faults(data: bytes, before: bytes = b"", after: bytes = b"") -> list[bool]:
    return [bool(reason) for reason in COMMAS.faults(Piece(data, len(before), before, after), line_spans(data))]


def test_lines_between_an_open_quote_and_one_that_closes_it_are_no_rows() -> None:
    assert faults(b'1,2\n3,"x\n4,5\n6,"\n7,8\n') == [False, True, True, True, False]
    assert faults(b"4,5\n6,7\n", before=b'1,2\r\n3,"x\r\n8,9\r\n', after=b'0,0\r\ny"\r\n') == [True, True]
    assert faults(b'4,5\n6,"z"\n', before=b'3,"x\n', after=b'y"\n') == [False, False]
    assert faults(b"4,5\n", before=b'3,"x"\n', after=b'y"\n') == [False]


def test_an_open_quote_that_nothing_closes_nearby_is_a_broken_row_alone() -> None:
    assert faults(b'3,"x\n4,5\n"6",7\n') == [True, False, False]
    far = b"1,2\n" * (MARGIN_BYTES // 4)
    assert sum(faults(b'3,"x\n' + far + b'y"\n')) == 2
    assert sum(faults(b'3,"x\n' + far[:-100] + b'y"\n')) == 2 + len(far[:-100]) // 4
