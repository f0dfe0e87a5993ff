import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_files import memory_file
from pyarrow import fs
from text_rows import read_all
from widedeep.serving.batch.sources import lines
from widedeep.serving.batch.sources.csv import CsvFormat
from widedeep.serving.batch.sources.format import OpenFile
from widedeep.serving.batch.sources.jsonl import JsonLinesFormat
from widedeep.serving.batch.sources.lines import cuts, line_spans, read_pieces
from widedeep.serving.contract.errors import InvalidInput

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, "zstd").to_pybytes(),  # type: ignore[no-any-return]
    ".lz4": lambda data: pa.compress(data, "lz4").to_pybytes(),  # type: ignore[no-any-return]
}


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20_000))
def test_stretches_are_of_equal_size_and_cover_every_byte_once(size: int, most_bytes: int) -> None:
    stretches = cuts(memory_file(b"x" * size), most_bytes)
    assert [start for start, _, _ in stretches] == [0, *(stop for _, stop, _ in stretches[:-1])]
    assert stretches[-1][1] == size
    assert all(n == stop - start <= most_bytes for start, stop, n in stretches)
    assert max(n for *_, n in stretches) - min(n for *_, n in stretches) <= 1


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"", b"a", b"bc\r", b"\xef\xbb\xbf", b"d" * 50])), st.integers(1, 60), st.integers(0, 9)
)
def test_every_line_is_in_one_piece_with_its_surroundings(parts: list[bytes], most_bytes: int, margin: int) -> None:
    data = b"\n".join(parts)
    file = memory_file(data)
    place = 3 if data.startswith(lines.BOM) else 0
    for start, stop, _ in cuts(file, most_bytes):
        for piece in read_pieces(file, start, stop, margin):
            assert piece.offset == place
            assert start <= piece.offset < stop
            assert piece.before == data[max(0, place - margin) : place]
            place += len(piece.data)
            assert piece.data == data[piece.offset : place]
            assert piece.after == data[place : place + margin]
            assert piece.data.endswith(b"\n") or place == len(data)
    assert place == len(data)


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"", b"a", b"bc", b"\r", b"d\re"])), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_lines_are_found_without_their_ends_and_empty_ones_are_not(
    parts: list[bytes], line_end: bytes, ended: bool
) -> None:
    data = line_end.join(parts) + (line_end if ended else b"")
    expected = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    spans = line_spans(data)
    assert spans.dtype == np.int64
    assert [data[start:stop] for start, stop in spans] == [line for line in expected if line]


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
@pytest.mark.parametrize("multiline", [False, True])
def test_compressed_files_are_one_stretch_with_places_in_the_text(suffix: str, multiline: bool) -> None:
    text = b"a,b\n" + b"".join(b"%05d,x\n" % i for i in range(2000)) + b"bad\n"
    file = memory_file(COMPRESS[suffix](text), "rows.csv" + suffix)
    form = CsvFormat(multiline=multiline)
    assert form.cuts(file, 100) == [(0, None, file.size)]
    rows = read_all(form, file, form.schema(file, {"a": pa.int64()}), most_bytes=100)
    assert [row["a"] for row in rows.good] == list(range(2000))
    assert [place.byte for place in rows.places] == [4 + 8 * i for i in range(2000)]
    assert [item.place.byte for item in rows.unread] == [len(text) - 4]


def test_several_compressed_streams_in_one_file_are_read_one_after_the_other() -> None:
    file = memory_file(gzip.compress(b'{"a": 1}\n') + gzip.compress(b'{"a": 2}\n'), "rows.jsonl.gz")
    form = JsonLinesFormat()
    assert read_all(form, file, form.schema(file, {})).good == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"no" + data])
def test_damaged_compressed_files_are_refused(suffix: str, damage: Callable[[bytes], bytes]) -> None:
    text = np.random.default_rng(0).bytes(20_000).hex().encode()
    file = memory_file(damage(COMPRESS[suffix](b"a\n" + text)), "rows.csv" + suffix)
    with pytest.raises(InvalidInput, match=f"rows.csv{suffix}: expected a file compressed with"):
        list(CsvFormat().read(file, 0, None, ["a"], pa.schema([("a", pa.string())]), 10))


def test_a_file_that_is_not_there_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    for name in ("rows.csv", "rows.csv.gz"):
        with pytest.raises(FileNotFoundError):
            CsvFormat().schema(OpenFile(fs.LocalFileSystem(), str(tmp_path / name), name, 10), {})


def test_files_on_disk_are_read_from_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a\n" + b"".join(b"%07d\n" % i for i in range(100_000)))
    file = OpenFile(fs.LocalFileSystem(), str(path), "rows.csv", path.stat().st_size)
    rows = read_all(CsvFormat(), file, pa.schema([("a", pa.int64())]), most_bytes=250_000, batch_rows=4096)
    assert [row["a"] for row in rows.good] == list(range(100_000))


@pytest.mark.parametrize("stop", [None, 10_000])
def test_a_line_longer_than_the_limit_is_refused_with_its_place(
    stop: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE_BYTES", 300_000)
    monkeypatch.setattr(lines, "PIECE_BYTES", 1000)
    file = memory_file(b"a\n" + b"x" * 1_000_000 + b"\ny\n")
    with pytest.raises(InvalidInput, match=r"rows.csv: expected lines of at most 300000 bytes, .* at byte"):
        list(CsvFormat().read(file, 0, stop, ["a"], pa.schema([("a", pa.string())]), 10))


def test_lines_longer_than_a_piece_are_read() -> None:
    long = "x" * (3 * lines.PIECE_BYTES)
    rows = read_all(
        CsvFormat(), memory_file(f"a\n1\n{long}\n2\n".encode()), pa.schema([("a", pa.string())]), most_bytes=1_000_000
    )
    assert [row["a"] for row in rows.good] == ["1", long, "2"]
