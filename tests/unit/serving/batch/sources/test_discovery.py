"""What a path or URL stands for."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from widedeep.serving.batch.sources import digest, discover
from widedeep.serving.batch.spec import InputFile
from widedeep.serving.contract.errors import InvalidInput

TABLE = pa.table({"x": [1, 2], "text": ["a", "b"]})


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(TABLE, folder / path)


def paths_of(url: object) -> list[str]:
    return [file.path for file in discover(str(url), types={})[1]]


def test_a_file_is_named_by_itself(tmp_path: Path) -> None:
    write(tmp_path, "rows.parquet")
    spec, files = discover(str(tmp_path / "rows.parquet"), types={})
    stat = (tmp_path / "rows.parquet").stat()
    assert files == [InputFile("rows.parquet", stat.st_size, stat.st_mtime_ns)]
    assert (spec.format, spec.schema, spec.partitions) == ("parquet", TABLE.schema, ())


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "in/rows.parquet")
    monkeypatch.chdir(tmp_path)
    assert discover("in", types={})[0].url == str(tmp_path / "in")


def test_files_of_a_folder_are_sorted_by_path_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "b.parquet", "a/z.pq", "a.parquet", "_rejects/x.parquet", "a/.hidden.parquet", "a/_tmp/y.parquet")
    (tmp_path / "_job.json").write_text("{}")
    (tmp_path / "a" / ".x.crc").write_text("")
    assert paths_of(tmp_path) == ["a.parquet", "a/z.pq", "b.parquet"]


def test_a_hidden_root_is_read(tmp_path: Path) -> None:
    write(tmp_path, "_in/.rows.parquet", "_in/rows.parquet")
    assert paths_of(tmp_path / "_in") == ["rows.parquet"]
    assert paths_of(tmp_path / "_in" / ".rows.parquet") == [".rows.parquet"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["a.parquet", "b.parquet"]),
        ("[a].parquet", ["a.parquet"]),
        ("sub*/*.parquet", ["sub1/a.parquet", "sub2/c.parquet"]),
        ("sub*", ["sub1/a.parquet", "sub1/deep/d.parquet", "sub2/c.parquet"]),
        ("**/a.parquet", ["a.parquet", "sub1/a.parquet"]),
        ("s*/**/d.parquet", ["sub1/deep/d.parquet"]),
    ],
)
@pytest.mark.parametrize("scheme", ["local", "memory"])
def test_a_pattern_names_the_files_that_fit(tmp_path: Path, scheme: str, pattern: str, expected: list[str]) -> None:
    write(tmp_path, "a.parquet", "b.parquet", "sub1/a.parquet", "sub1/deep/d.parquet", "sub2/c.parquet", "_c.parquet")
    (tmp_path / "note.txt").write_text("not a row")
    url = str(tmp_path)
    if scheme == "memory":
        MemoryFileSystem().put(str(tmp_path), f"{tmp_path}", recursive=True)
        url = f"memory:/{tmp_path}"
    assert paths_of(f"{url}/{pattern}") == expected


def test_a_question_mark_in_a_path_stands_for_one_character(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", "ab.parquet")
    assert paths_of(tmp_path / "?.parquet") == ["a.parquet"]


def test_a_pattern_begins_at_its_first_wild_card(tmp_path: Path) -> None:
    write(tmp_path, "year=2026/month=1/a.parquet", "year=2026/month=2/b.parquet", "year=2025/month=1/c.parquet")
    spec, files = discover(f"{tmp_path}/year=2026/*/*.parquet", types={})
    assert [file.path for file in files] == ["month=1/a.parquet", "month=2/b.parquet"]
    assert spec.partitions == ("month",)


def test_a_path_that_exists_is_no_pattern(tmp_path: Path) -> None:
    write(tmp_path, "rows[1].parquet", "rows1.parquet")
    assert paths_of(tmp_path / "rows[1].parquet") == ["rows[1].parquet"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path, "in/rows.parquet", "else/more.parquet")
    (tmp_path / "in" / "there").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "there" / "back").symlink_to(tmp_path / "in")
    assert paths_of(tmp_path / "in")[:2] == ["rows.parquet", "there/back/rows.parquet"]
    assert len(paths_of(tmp_path / "in")) == 3


def test_whole_numbers_in_the_names_of_folders_are_int64_and_other_values_are_text(tmp_path: Path) -> None:
    write(tmp_path, "year=2026/month=01/land=a%20b/x.parquet")
    write(tmp_path, "year=-1/month=12/land=__HIVE_DEFAULT_PARTITION__/x.parquet")
    spec, _ = discover(str(tmp_path), types={})
    types = [("x", pa.int64()), ("text", pa.string()), ("year", pa.int64()), ("month", pa.string())]
    assert spec.schema == pa.schema([*types, ("land", pa.string())])
    assert spec.partitions == ("year", "month", "land")


def test_the_value_of_a_folder_stands_before_the_file_s_column(tmp_path: Path) -> None:
    write(tmp_path, "x=one/rows.parquet")
    assert discover(str(tmp_path), types={})[0].schema == pa.schema([("text", pa.string()), ("x", pa.string())])


def test_folders_of_different_partitions_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "year=2026/a.parquet", "month=1/b.parquet")
    with pytest.raises(
        InvalidInput, match=r"year=2026/a.parquet: expected folders for the columns \['month'\], as mont"
    ):
        paths_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "format_", "delimiter"),
    [
        ("a.csv", "x\n1\n", "csv", ","),
        ("a.CSV", "x\n1\n", "csv", ","),
        ("a.tsv", "x\n1\n", "csv", "\t"),
        ("a.jsonl", '{"x": 1}\n', "jsonl", ","),
        ("a.ndjson", '{"x": 1}\n', "jsonl", ","),
        ("a.json", '{"x": 1}\n', "jsonl", ","),
        ("a.jpeg", "?", "images", ","),
        ("a.webp", "?", "images", ","),
    ],
)
def test_the_suffix_tells_the_format(tmp_path: Path, name: str, text: str, format_: str, delimiter: str) -> None:
    (tmp_path / name).write_text(text)
    spec, _ = discover(str(tmp_path), types={})
    assert (spec.format, spec.delimiter) == (format_, delimiter)


def test_compressed_text_is_told_by_the_suffix_before(tmp_path: Path) -> None:
    with pa.CompressedOutputStream(str(tmp_path / "a.csv.gz"), "gzip") as stream:
        stream.write(b"x,y\n1,2\n")
    assert discover(str(tmp_path), types={"x": pa.int64()})[0].schema.names == ["x", "y"]


def test_columns_of_text_have_the_types_that_the_job_wants(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert discover(str(tmp_path), types={"x": pa.float64(), "z": pa.int64()})[0].schema == pa.schema(
        [("x", pa.float64()), ("y", pa.string())]
    )


def test_a_format_that_is_given_stands_before_the_suffixes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x|y\n1|2\n")
    spec, _ = discover(str(tmp_path), format="csv", types={}, delimiter="|")
    assert spec.schema.names == ["x", "y"]


def test_the_schema_is_that_of_the_first_file_with_anything_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("x\n1\n")
    assert discover(str(tmp_path), types={})[0].schema.names == ["x"]


def refuse(folder: Path, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        discover(str(folder), types={})


def test_what_is_no_input_is_refused_in_words(tmp_path: Path) -> None:
    refuse(tmp_path / "missing", "missing: expected a file, a folder or a pattern, there is nothing of this name")
    refuse(tmp_path, "expected files of rows, there is none$")
    refuse(tmp_path / "*.csv", "there is none that fits")
    (tmp_path / "a.csv").write_text("")
    refuse(tmp_path, "only empty files, such as a.csv")
    write(tmp_path, "b.parquet")
    refuse(tmp_path, r"expected files of one format, got a.csv \(csv\) and b.parquet \(parquet\)")
    (tmp_path / "a.csv").rename(tmp_path / "a.txt")
    refuse(tmp_path, r"a.txt: expected a suffix that tells the format \(.parquet, .*text also with .gz, ")


@pytest.mark.parametrize(
    ("name", "what"), [("a.parquet", "a Parquet"), ("a.arrow", "an Arrow IPC"), ("a.npz", "an NPZ")]
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(b"not at all")
    refuse(tmp_path, rf"a\.\w+: expected {what} file")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]), tmp_path / "a.parquet")
    refuse(tmp_path, r"a.parquet: expected each column once, got \['x'\] more than once")


@pytest.mark.skipif(os.name == "nt", reason="names are bytes only elsewhere")
def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).write_text("x\n")
    refuse(tmp_path, "expected a name in UTF-8")


def test_the_digest_changes_with_every_path_size_and_time() -> None:
    files = [InputFile("a", 1, 2), InputFile("b", 3, 4)]
    others = [
        [InputFile("a", 1, 2)],
        [InputFile("b", 3, 4), InputFile("a", 1, 2)],
        [InputFile("a", 1, 2), InputFile("b", 3, 5)],
        [InputFile("a", 1, 2), InputFile("b", 34, 0)],
        [InputFile("c", 1, 2), InputFile("b", 3, 4)],
    ]
    assert digest(files) == digest(list(files))
    assert len({digest(files), *map(digest, others)}) == 6


def test_a_file_system_of_fsspec_tells_when_a_file_was_changed() -> None:
    files = MemoryFileSystem()
    files.pipe_file("/changed/a.csv", b"x\n1\n")
    before = discover("memory://changed", types={})[1]
    files.pipe_file("/changed/a.csv", b"x\n2\n")
    after = discover("memory://changed", types={})[1]
    assert before[0].size == after[0].size
    assert 0 < before[0].mtime_ns < after[0].mtime_ns
