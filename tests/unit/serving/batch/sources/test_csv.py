import csv
import io
import math
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_files import memory_file
from text_rows import Rows, read_all
from widedeep.serving.batch.rows import Block, Place, Unread
from widedeep.serving.batch.sources import lines, quoting
from widedeep.serving.batch.sources.csv import CsvFormat
from widedeep.serving.contract.errors import ConfigurationError, InvalidInput

NUMBERS = {"x": pa.float64(), "n": pa.int64(), "flag": pa.bool_()}


def read(data: bytes, form: CsvFormat | None = None, types: dict[str, Any] | None = None, **options: Any) -> Rows:
    form, file = form or CsvFormat(), memory_file(data)
    return read_all(form, file, form.schema(file, types or {}), **options)


def written(rows: Iterable[Sequence[str]], line_end: str = "\n", *, all_quoted: bool = False) -> bytes:
    text = io.StringIO()
    how = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator=line_end, quoting=how).writerows(rows)
    return text.getvalue().encode()


def test_columns_with_a_type_are_read_as_it_and_all_others_as_text_as_written() -> None:
    rows = read(b"x,n,flag,id,day\n 1.5 , 2,True,007,2026-01-01\nnan,-3,0,NA, y \n-inf,4,1,true,1e3\n", types=NUMBERS)
    assert rows.unread == []
    assert rows.good[0] == {"x": 1.5, "n": 2, "flag": True, "id": "007", "day": "2026-01-01"}
    assert math.isnan(rows.good[1]["x"])
    assert rows.good[1]["id"] == "NA"
    assert rows.good[1]["day"] == " y "
    assert rows.good[2] == {"x": -math.inf, "n": 4, "flag": True, "id": "true", "day": "1e3"}


def test_empty_cells_are_null_and_quoted_ones_are_empty_text() -> None:
    rows = read(b'x,a,b\n,,""\n', types=NUMBERS)
    assert rows.good == [{"x": None, "a": None, "b": ""}]


@pytest.mark.parametrize("columns", [["x", "id"], ["x"]])
def test_spellings_of_null_are_null_in_numbers_and_text_in_text(columns: list[str]) -> None:
    rows = read(b"x,id\n1,a\nNA,NA\nnull,null\n#N/A,#N/A\n2,b\n", types=NUMBERS, columns=columns)
    assert rows.unread == []
    assert [row["x"] for row in rows.good] == [1.0, None, None, None, 2.0]
    if "id" in columns:
        assert [row["id"] for row in rows.good] == ["a", "NA", "null", "#N/A", "b"]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("x", "high"),
        ("x", "1e999"),
        ("x", '""'),
        ("n", "3.0"),
        ("n", "99999999999999999999"),
        ("n", "nan"),
        ("n", "1e3"),
        ("flag", "yes"),
    ],
)
def test_a_cell_that_is_not_of_its_columns_type_leaves_its_row_alone_unread(column: str, cell: str) -> None:
    good = {"x": "1", "n": "2", "flag": "true", "id": "a"}
    lines = [",".join(good.values())] * 7
    lines[3] = ",".join((good | {column: cell}).values())
    rows = read("\n".join(["x,n,flag,id", *lines]).encode(), types=NUMBERS)
    assert len(rows.good) == 6
    [unread] = rows.unread
    assert unread.raw == lines[3].encode()
    assert unread.place == Place("rows.csv", 3, len("x,n,flag,id\n") + 3 * len(lines[0] + "\n"))
    assert unread.reason == f"column {column!r}: expected {NUMBERS[column]}, got {cell.strip(chr(34))!r}"
    assert [place.row for place in rows.places] == [0, 1, 2, 4, 5, 6]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1", "expected 2 cells, got 1: '1'"),
        (b"1,2,3", "expected 2 cells, got 3: '1,2,3'"),
        (b" ", "expected 2 cells, got 1: ' '"),
        (b'"1","2","3,4"', "expected 2 cells, got 3"),
        (b"1,\xff", "expected UTF-8, got"),
        (b"1,a\rb", "expected lines that end in a line feed, got a carriage return"),
        (b'1,"a', "expected a quoted cell to end on its line (cells with line ends need `multiline`)"),
        (b'1,a"b', "expected quotes only around cells and doubled inside of them"),
        (b'1,"a"b', "expected quotes only around cells and doubled inside of them"),
        (b'"1,2', "expected a quoted cell to end on its line"),
    ],
)
def test_a_line_that_is_no_row_is_unread_and_its_neighbours_are_rows(line: bytes, reason: str) -> None:
    rows = read(b"a,b\n1,x\n" + line + b"\n3,y\n")
    assert rows.good == [{"a": "1", "b": "x"}, {"a": "3", "b": "y"}]
    [unread] = rows.unread
    assert reason in unread.reason
    assert (unread.place, unread.raw) == (Place("rows.csv", 1, 8), line)


def test_a_row_is_unread_even_if_what_is_wrong_with_it_is_not_asked_for() -> None:
    rows = read(b"a,b\n1,x\n2,\xff\n3\n", columns=["a"])
    assert rows.good == [{"a": "1"}]
    assert [item.place.byte for item in rows.unread] == [8, 12]


def test_columns_come_in_the_order_asked_whatever_the_files_order() -> None:
    form, file = CsvFormat(), memory_file(b"b,a\n1,2\n")
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("year", pa.int32())])
    assert read_all(form, file, schema, columns=["a", "b"]).good == [{"a": 2, "b": "1"}]


def test_rows_are_counted_even_if_no_column_is_asked_for() -> None:
    blocks = list(CsvFormat().read(memory_file(b"a,b\n1,2\n3,4\n"), 0, None, [], pa.schema([("a", pa.string())]), 10))
    assert [block.batch.num_rows for block in blocks] == [2]


def test_blocks_are_no_longer_than_asked_and_know_where_their_rows_stand() -> None:
    rows = read(b"a,b\n" + b"".join(b"%03d,x\n" % i for i in range(10)), batch_rows=4)
    assert [row["a"] for row in rows.good] == [f"{i:03d}" for i in range(10)]
    assert rows.places == [Place("rows.csv", i, 4 + 6 * i) for i in range(10)]


def test_rows_of_a_later_stretch_have_bytes_and_no_numbers() -> None:
    rows = read(b"a,b\n1,x\n2,y\nbad\n4,z\n", most_bytes=10)
    assert [(place.row, place.byte) for place in rows.places] == [(0, 4), (1, 8), (None, 16)]
    assert [(item.place.row, item.place.byte) for item in rows.unread] == [(None, 12)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_byte_order_mark_empty_lines_and_a_last_line_without_end_are_no_matter(line_end: str) -> None:
    data = "\ufeff" + line_end.join(["", "a,b", "", "1,x", "", "", "2,y"])
    rows = read(data.encode())
    assert rows.good == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    assert [place.byte for place in rows.places] == [data.encode().index(b"1,x"), data.encode().index(b"2,y")]


def test_other_delimiters_may_be_given_and_commas_are_then_text() -> None:
    rows = read(b'a\tb\n1,5\t"x\ty"\n', CsvFormat(delimiter="\t"))
    assert rows.good == [{"a": "1,5", "b": "x\ty"}]


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "\u00fc"])
def test_a_delimiter_is_one_ascii_character(delimiter: str) -> None:
    with pytest.raises(ConfigurationError, match="one ASCII character"):
        CsvFormat(delimiter)


@pytest.mark.parametrize("multiline", [False, True])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "got no line"),
        (b"\n\r\n", "got no line"),
        (b"a,b,a,a\n1,2,3,4\n", r"\['a'\] more than once"),
        (b"a,\xff\n1,2\n", "expected a header in UTF-8"),
        (b"a\rb\r", "a line feed behind it"),
        (b'a,"b\n1,2\n', "quotes only around names"),
    ],
)
def test_a_file_without_a_usable_header_is_refused(data: bytes, message: str, multiline: bool) -> None:
    with pytest.raises(InvalidInput, match=f"rows.csv: .*{message}"):
        CsvFormat(multiline=multiline).schema(memory_file(data), {})


def test_a_column_that_the_header_lacks_is_refused() -> None:
    form = CsvFormat()
    with pytest.raises(InvalidInput, match=r"rows.csv: expected the columns \['z'\]"):
        list(form.read(memory_file(b"a,b\n1,2\n"), 0, None, ["a", "z"], pa.schema([("a", pa.string())]), 10))


def test_a_type_that_no_cell_holds_is_refused() -> None:
    with pytest.raises(InvalidInput, match="column 'a' is wanted as list<item: float>"):
        CsvFormat().schema(memory_file(b"a,b\n"), {"a": pa.list_(pa.float32()), "other": pa.list_(pa.float32())})


def test_the_format_can_be_sent_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(CsvFormat("\t", multiline=True))) == CsvFormat("\t", multiline=True)  # noqa: S301


@pytest.mark.parametrize("most_bytes", [*range(1, 24), 1000])
def test_no_line_of_a_quoted_cell_becomes_a_row_wherever_the_file_is_cut(most_bytes: int) -> None:
    cell = 'x\n7,7\n8,8\nsay ""hi""\n9,9'
    rows = read(f'a,b\n1,y\n2,"{cell}"\n3,z\n'.encode(), most_bytes=most_bytes)
    assert rows.good == [{"a": "1", "b": "y"}, {"a": "3", "b": "z"}]
    assert [item.raw for item in rows.unread] == [b'2,"x', b"7,7", b"8,8", b'say ""hi""', b'9,9"']
    assert all("multiline" in reason for reason in [*rows.reasons[:3]])


def test_no_line_of_a_quoted_cell_becomes_a_row_where_pieces_end_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"a,b\n" + b"0,0\n" * 20 + b'2,"' + b"7,7\n" * 20 + b'x"\n' + b"9,9\n" * 20
    for size in (8, 50, 64, 100, 1000):
        monkeypatch.setattr(lines, "PIECE_BYTES", size)
        rows = read(data)
        assert [row["a"] for row in rows.good] == ["0"] * 20 + ["9"] * 20
        assert len(rows.unread) == 21


def test_many_bad_rows_leave_the_others_in_order() -> None:
    cells = [str(i) if i % 7 else f"bad {i}" for i in range(3000)]
    rows = read(b"x\n" + "\n".join(cells).encode(), types=NUMBERS)
    assert [row["x"] for row in rows.good] == [i for i in range(3000) if i % 7]
    assert [item.raw for item in rows.unread] == [f"bad {i}".encode() for i in range(0, 3000, 7)]


def test_multiline_cells_are_read_in_pieces_of_whole_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [[str(i), f'line {i}\r\n\n{"z" * (i % 50)}, "{i}"\n'] for i in range(300)]
    data = written([["a", "b"], *expected])
    for size in (1, 100, 1 << 20):
        monkeypatch.setattr(quoting, "PIECE_BYTES", size)
        rows = read(data, CsvFormat(multiline=True))
        assert [list(row.values()) for row in rows.good] == expected
        assert [place.row for place in rows.places] == list(range(300))
        assert all(data[place.byte :].startswith(b"%d," % i) for i, place in enumerate(rows.places))


def test_with_multiline_cells_a_broken_quote_costs_its_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b'a,b\n1,"x\ny"\n2,"open\n3,"z"\n4,stray"\n5,"v\nw"\n6,"never\n7,q\n'
    for size in (1, 10, 1 << 20):
        monkeypatch.setattr(quoting, "PIECE_BYTES", size)
        rows = read(data, CsvFormat(multiline=True))
        assert [row["a"] for row in rows.good] == ["1", "3", "5", "7"]
        assert [item.raw for item in rows.unread] == [b'2,"open', b'4,stray"', b'6,"never']
        assert [data[item.place.byte :][:2] for item in rows.unread] == [b"2,", b"4,", b"6,"]
        assert [item.place.row for item in rows.unread] == [1, 3, 5]


def test_a_quote_that_swallows_more_than_a_row_may_hold_costs_its_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quoting, "LONGEST_LINE_BYTES", 5000)
    monkeypatch.setattr(quoting, "PIECE_BYTES", 1000)
    rows = read(b'a,b\n1,"open\n' + b"2,x\n" * 5000, CsvFormat(multiline=True))
    assert len(rows.good) == 5000
    assert [item.raw for item in rows.unread] == [b'1,"open']


CELL = st.text(st.sampled_from('ab01,"\u00fc\U0001f600 \t;') | st.characters(exclude_characters="\r\n", codec="utf-8"))
TABLE = st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=15))


@settings(deadline=None)
@given(table=TABLE, line_end=st.sampled_from(["\n", "\r\n"]), most_bytes=st.integers(1, 200), bom=st.booleans())
def test_all_stretches_together_hold_every_row_once_in_order_as_python_reads_them(
    table: list[list[str]], line_end: str, most_bytes: int, bom: bool
) -> None:
    names = [f"c{i}" for i in range(len(table[0]))]
    data = written([names, *table], line_end)
    rows = read((lines.BOM if bom else b"") + data, most_bytes=most_bytes)
    expected = list(csv.reader(io.StringIO(data.decode(), newline="")))[1:]
    assert rows.unread == []
    assert [[cell or "" for cell in row.values()] for row in rows.good] == expected


MULTILINE_CELL = st.text(st.sampled_from('ab,"\r\n\u00fc') | st.characters(codec="utf-8"))


@settings(deadline=None)
@given(st.lists(st.tuples(MULTILINE_CELL, MULTILINE_CELL), min_size=1, max_size=15), st.sampled_from(["\n", "\r\n"]))
def test_with_multiline_cells_every_row_is_as_python_reads_it(table: list[tuple[str, str]], line_end: str) -> None:
    data = written([["a", "b"], *table], line_end, all_quoted=True)  # else Python writes lone carriage returns bare
    rows = read(data, CsvFormat(multiline=True))
    assert rows.unread == []
    assert [(row["a"], row["b"]) for row in rows.good] == table


BAD = st.sampled_from([b"", b"1,a,b", b"x,a", b"1e999,a", b'1,"a', b'1,a"', b"1,\xfe", b"1,a\rb", b'"1"2,a', b"1 2,a"])


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 9) | BAD.filter(bool), max_size=20),
    st.integers(1, 100),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
)
def test_exactly_the_corrupt_lines_are_unread_with_their_places(
    items: list[int | bytes], most_bytes: int, line_end: bytes
) -> None:
    texts = [item if isinstance(item, bytes) else b'%d.5,"v%d"' % (item, item) for item in items]
    data = line_end.join([b"x,id", *texts])
    starts, place = [], len(b"x,id" + line_end)
    for text in texts:
        starts.append(place)
        place += len(text + line_end)
    rows = read(data, types=NUMBERS, most_bytes=most_bytes)
    good = [(item, start) for item, start in zip(items, starts, strict=True) if isinstance(item, int)]
    bad = [(item, start) for item, start in zip(items, starts, strict=True) if isinstance(item, bytes)]
    assert [(row["x"] - 0.5, place.byte) for row, place in zip(rows.good, rows.places, strict=True)] == good
    assert [row["id"] for row in rows.good] == [f"v{item}" for item, _ in good]
    assert [(item.raw, item.place.byte) for item in rows.unread] == bad


@pytest.mark.parametrize("cut", range(8, 30))
def test_a_byte_order_mark_inside_of_a_file_makes_its_row_unread_wherever_the_file_is_cut(cut: int) -> None:
    data = b"\xef\xbb\xbfa,b\n1,x\n\xef\xbb\xbf2,y\n3,z\n"
    schema = pa.schema([("a", pa.float64()), ("b", pa.string())])
    items = [
        item
        for start, stop in ((0, cut), (cut, None))
        for item in CsvFormat().read(memory_file(data), start, stop, ["a", "b"], schema, 10)
    ]
    rows = [row for item in items if isinstance(item, Block) for row in item.batch.to_pylist()]
    assert rows == [{"a": 1.0, "b": "x"}, {"a": 3.0, "b": "z"}]
    (unread,) = [item for item in items if isinstance(item, Unread)]
    assert "byte order mark inside of the file" in unread.reason
