import json
import math
import pickle
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_files import memory_file
from text_rows import Rows, read_all
from widedeep.serving.batch.rows import Place
from widedeep.serving.batch.sources import lines
from widedeep.serving.batch.sources.jsonl import JsonLinesFormat
from widedeep.serving.contract.errors import InvalidInput

FORM = JsonLinesFormat()
TYPES = {"x": pa.float64(), "n": pa.int64(), "flag": pa.bool_(), "v": pa.list_(pa.float32())}
SCHEMA = pa.schema([*TYPES.items(), ("id", pa.string())])


def read(data: bytes, schema: Any = SCHEMA, **options: Any) -> Rows:
    return read_all(FORM, memory_file(data, "rows.jsonl"), schema, **options)


def schema(*rows: Any, types: dict[str, Any] | None = None) -> dict[str, Any]:
    data = b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    return {item.name: item.type for item in FORM.schema(memory_file(data, "rows.jsonl"), types or {})}


def test_the_schema_is_that_of_the_first_rows_with_the_types_wanted() -> None:
    found = schema({"n": 1, "v": [1, 2], "id": "a"}, {"n": 1.5, "v": [2], "new": True}, types=TYPES)
    assert found == {"n": pa.int64(), "v": pa.list_(pa.float32()), "id": pa.string(), "new": pa.bool_()}


def test_dates_and_what_is_null_throughout_are_text() -> None:
    found = schema({"day": "2026-01-01", "days": ["2026-01-01T00:00:00"], "none": None, "empty": [], "at": {"d": None}})
    text, texts = pa.string(), pa.list_(pa.string())
    assert found == {"day": text, "days": texts, "none": text, "empty": texts, "at": pa.struct([("d", text)])}


def test_where_rows_disagree_the_first_type_counts_and_bad_lines_do_not() -> None:
    rows = [{"a": None, "b": 1, "c": [1]}, b"oops", {"a": "x", "b": "y"}, {"a": 2, "b": 2.5, "c": [0.5]}, b'{"a":']
    assert schema(*rows, {"c": [[0.5]]}) == {"a": pa.string(), "b": pa.float64(), "c": pa.list_(pa.float64())}


@pytest.mark.parametrize("data", [b"", b"\n \n", b"null\n", b"[1]\n2\n", b"a,b\n1,2\n"])
def test_a_file_without_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"rows\.jsonl: expected lines that are JSON objects"):
        FORM.schema(memory_file(data, "rows.jsonl"), {})


def test_lacking_fields_are_null_and_fields_without_a_column_are_ignored() -> None:
    rows = read(b'{"x": 1, "other": [{"deep": null}]}\n{}\n{"v": [1, null], "id": "2026-01-01"}\n')
    empty: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    assert rows.unread == []
    assert rows.good == [empty | {"x": 1.0}, empty, empty | {"v": [1.0, None], "id": "2026-01-01"}]


def test_numbers_may_be_nan_or_infinite() -> None:
    rows = read(b'{"x": NaN}\n{"x": -Infinity}\n')
    assert math.isnan(rows.good[0]["x"])
    assert rows.good[1]["x"] == -math.inf


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"x": "1"}', "column 'x': expected double, got '\"1\"'"),
        (b'{"x": 1e999}', "Number too big to be stored in double"),
        (b'{"n": 3.0}', "column 'n': expected int64, got '3.0'"),
        (b'{"n": 99999999999999999999}', "column 'n': expected int64, got '99999999999999999999'"),
        (b'{"flag": 1}', "column 'flag': expected bool, got '1'"),
        (b'{"id": 7}', "column 'id': expected string, got '7'"),
        (b'{"v": [1, "a"]}', "column 'v': expected list<item: float>, got '[1, \"a\"]'"),
        (b'{"v": 1}', "column 'v': expected list<item: float>, got '1'"),
        (b'{"x": 1, "x": 2}', "column 'x': expected double, got '2' (Column(/x) was specified twice)"),
        (b'{"id": "\\ud800"}', "The surrogate pair in string is invalid"),
        (b"[1, 2]", "expected a JSON object, got '[1, 2]'"),
        (b"null", "expected a JSON object, got 'null'"),
        (b"7", "expected a JSON object"),
        (b'{"x": 1', "expected a JSON object"),
        (b'{"x": 1,}', "expected a JSON object, got '{\"x\": 1,}': "),
        (b'{"x": 1}{"x": 2}', "Extra data"),
        (b'{"x": 1}null{"x": 2}', "Extra data"),
        (b'{"x": 1} null', "expected a JSON object"),
        (b"{'x': 1}", "expected a JSON object"),
        (b'{"other": "\xff"}', "expected UTF-8, got"),
        (b'{"other": oops}', "expected a JSON object"),
        (b"\x00", "expected a JSON object"),
    ],
)
def test_a_line_that_does_not_fit_is_unread_and_its_neighbours_are_rows(line: bytes, reason: str) -> None:
    rows = read(b'{"x": 1}\n' + line + b'\n{"x": 2}\n')
    assert [row["x"] for row in rows.good] == [1.0, 2.0]
    [unread] = rows.unread
    assert reason in unread.reason
    assert (unread.place, unread.raw) == (Place("rows.jsonl", 1, 9), line)


def test_an_object_on_several_lines_is_no_row_even_if_two_stand_on_another() -> None:
    rows = read(b'{"x":\n1}\n{"x": 2}{"x": 3}\n{"x": 4}\n{"v": [{}\n]}\n')
    assert [row["x"] for row in rows.good] == [4.0]
    assert [item.raw for item in rows.unread] == [b'{"x":', b"1}", b'{"x": 2}{"x": 3}', b'{"v": [{}', b"]}"]


def test_a_deeply_nested_line_does_no_harm() -> None:
    deep = b'{"x": 1, "other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    rows = read(deep + b"\n" + deep[:-2] + b'}\n{"x": 2}\n')
    assert [row["x"] for row in rows.good] == [1.0, 2.0]
    assert len(rows.unread) == 1


def test_blank_lines_and_blanks_around_rows_are_skipped() -> None:
    data = b'\xef\xbb\xbf{"x": 1}\r\n\r\n  \n\t{"x": 2} \n\n{"x": 3}'
    rows = read(data)
    assert [row["x"] for row in rows.good] == [1.0, 2.0, 3.0]
    assert [place.byte for place in rows.places] == [3, data.index(b"\t{"), data.index(b'{"x": 3}')]
    assert [place.row for place in rows.places] == [0, 1, 2]


def test_a_type_that_json_has_no_way_to_is_refused() -> None:
    half = pa.schema([("x", pa.float64()), ("h", pa.float16())])
    with pytest.raises(InvalidInput, match=r"rows\.jsonl: cannot read .*'h' as halffloat"):
        read(b'{"x": 1}\n', half)


def test_the_format_can_be_sent_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(FORM)) == FORM  # noqa: S301


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "x": st.none() | st.floats(allow_nan=False),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "v": st.none() | st.lists(st.integers(-1000, 1000), max_size=3),
        "id": st.none() | st.text(),
        "other": st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
    },
)
BAD = st.sampled_from([b"null", b"[]", b"{", b'{"x": "a"}', b'{"n": 1.5}', b"}{", b'{"id": "\xff"}', b"{}{}", b"x"])


@settings(deadline=None)
@given(
    st.lists(VALUES | BAD, max_size=15),
    st.integers(20, 400),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.booleans(),
    st.sampled_from([20, 1 << 20]),
)
def test_all_stretches_together_hold_every_row_once_as_python_reads_it_but_the_corrupt_ones(
    items: list[dict[str, Any] | bytes], most_bytes: int, line_end: bytes, ascii_only: bool, piece_bytes: int
) -> None:
    texts = [
        i if isinstance(i, bytes) else json.dumps(i, ensure_ascii=ascii_only).encode(errors="ignore") for i in items
    ]
    starts, place = [], 0
    for text in texts:
        starts.append(place)
        place += len(text + line_end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "PIECE_BYTES", piece_bytes)
        rows = read(line_end.join(texts), most_bytes=most_bytes)
    numbered = list(zip(items, texts, starts, strict=True))
    good = [(json.loads(text), start) for item, text, start in numbered if not isinstance(item, bytes)]
    assert [place.byte for place in rows.places] == [start for _, start in good]
    assert rows.good == [{name: row.get(name) for name in SCHEMA.names} for row, _ in good]
    assert [(i.raw, i.place.byte) for i in rows.unread] == [(t, s) for i, t, s in numbered if isinstance(i, bytes)]
