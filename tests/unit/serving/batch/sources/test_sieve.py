from typing import Any

import pyarrow as pa
from widedeep.serving.batch.rows import Block, Place, Unread
from widedeep.serving.batch.sources.lines import Piece, Spans, line_spans
from widedeep.serving.batch.sources.sieve import read_rows


class Numbers:
    """Lines of digits; keeps the number of rows of every `convert`."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def spans(self, data: bytes) -> Spans:
        return line_spans(data)

    def accepts(self, piece: Piece) -> bool:
        return b"?" not in piece.data

    def faults(self, piece: Piece, spans: Spans) -> list[str]:
        return ["unsure" if b"?" in piece.data[start:stop] else "" for start, stop in spans]

    def convert(self, data: bytes, n_rows: int) -> Any | None:
        self.calls.append(n_rows)
        rows = data.split()
        return pa.record_batch({"a": list(map(int, rows))}) if all(row.isdigit() for row in rows) else None

    def explain(self, raw: bytes) -> str:
        return f"no digits: {raw!r}"


def read(data: bytes, batch_rows: int = 10_000) -> tuple[list[list[int]], list[Unread], list[Place], list[int]]:
    parser = Numbers()
    found = list(read_rows([Piece(data, 100)], parser, "f", batch_rows, numbered=True))
    blocks = [item for item in found if isinstance(item, Block)]
    unread = [item for item in found if isinstance(item, Unread)]
    places = [block.locate(i) for block in blocks for i in range(block.batch.num_rows)]
    return [block.batch.column("a").to_pylist() for block in blocks], unread, places, parser.calls


def test_a_good_piece_is_parsed_once_and_handed_on_in_blocks() -> None:
    rows, unread, places, calls = read(b"1\n2\n\n3\n", batch_rows=2)
    assert (rows, unread, calls) == ([[1, 2], [3]], [], [3])
    assert places == [Place("f", 0, 100), Place("f", 1, 102), Place("f", 2, 105)]


def test_one_bad_row_among_many_is_found_in_few_calls() -> None:
    n = 4096
    lines = [b"%d" % i for i in range(n)]
    lines[1234] = b"x"
    rows, unread, places, calls = read(b"\n".join(lines))
    assert rows == [[i for i in range(n) if i != 1234]]
    assert [(item.place.row, item.raw, item.reason) for item in unread] == [(1234, b"x", "no digits: b'x'")]
    assert [place.row for place in places] == rows[0]
    assert len(calls) == 1 + 2 * 12  # the whole, and both halves of 12 parts
    assert sum(calls) < 3.1 * n


def test_what_faults_tell_of_rows_spares_the_halving() -> None:
    rows, unread, places, calls = read(b"1\n?\n2\n?\n")
    assert (rows, calls) == ([[1, 2]], [2])
    assert [item.place for item in unread] == [Place("f", 1, 102), Place("f", 3, 106)]
    assert [place.row for place in places] == [0, 2]


def test_a_piece_of_bad_rows_only_yields_no_block() -> None:
    rows, unread, _, _ = read(b"x\ny\n")
    assert rows == []
    assert [item.raw for item in unread] == [b"x", b"y"]
