"""Files appear whole or not at all, on this machine's file system, on others, and in object stores."""

import pickle
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from batch_outputs import remote_url
from widedeep.serving.batch.store.output import SPOOL_BYTES, Output


@pytest.fixture(params=["local", "memory", "oss"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    made = Output(str(tmp_path / "out") if request.param == "local" else remote_url(request.param))
    made.make()
    return made


def write_half(output: Output, name: str) -> None:
    """Begin to write a file and be interrupted."""
    with suppress(KeyboardInterrupt), output.create(name) as sink:
        sink.write(b"half")
        raise KeyboardInterrupt


def test_a_file_that_is_written_is_there_with_its_content_and_nothing_else_is(output: Output) -> None:
    output.write("_job.json", b"content")
    assert output.read("_job.json") == b"content"
    assert [name for name in output.names() if name != "_tmp"] == ["_job.json"]
    assert output.names("_tmp") == []


def test_a_file_is_not_there_before_it_is_whole(output: Output) -> None:
    with output.create("part-000000.csv") as sink:
        sink.write(b"half")
        assert "part-000000.csv" not in output.names()
    assert output.read("part-000000.csv") == b"half"


def test_an_error_while_it_is_written_leaves_the_file_that_was_there(output: Output) -> None:
    output.write("a", b"before")
    write_half(output, "a")
    assert output.read("a") == b"before"
    assert output.names("_tmp") == []


def test_an_error_while_it_is_written_leaves_nothing_where_nothing_was(output: Output) -> None:
    write_half(output, "_done/a")
    assert output.names("_done") == []


def test_a_file_takes_the_place_of_one_of_its_name(output: Output) -> None:
    output.write("a", b"before")
    output.write("a", b"after")
    assert output.read("a") == b"after"


def test_a_file_larger_than_memory_keeps_is_whole(output: Output) -> None:
    pieces = [bytes([i]) * (1 << 20) for i in range((SPOOL_BYTES >> 20) + 3)]
    with output.create("large") as sink:
        for piece in pieces:
            sink.write(piece)
    assert output.read("large") == b"".join(pieces)


def test_names_are_those_of_one_folder_and_of_none_where_it_is_missing(output: Output) -> None:
    for name in ("_done/b", "_done/a", "c"):
        output.write(name, b"")
    assert output.names("_done") == ["a", "b"]
    assert output.names("_rejects") == []
    assert set(output.names()) - {"_tmp"} == {"_done", "c"}


def test_lines_come_without_their_ends_however_long_they_are(output: Output) -> None:
    lines = [b"a", b"", b"b" * 3_000_000, b"c"]
    output.write("lines", b"\n".join(lines))
    assert list(output.lines("lines")) == lines
    output.write("lines", b"\n".join(lines) + b"\n")
    assert list(output.lines("lines")) == lines


def test_removing_a_file_twice_is_no_error(output: Output) -> None:
    output.write("a", b"")
    output.remove("a")
    output.remove("a")
    assert not output.exists("a")


def test_what_never_became_whole_is_removed(output: Output) -> None:
    output.write("_tmp/half", b"")
    output.empty_tmp()
    assert output.names("_tmp") == []
    output.empty_tmp()


def test_a_missing_file_is_not_found(output: Output) -> None:
    with pytest.raises(FileNotFoundError):
        output.read("none")


def test_a_copy_in_another_process_writes_to_the_same_folder(output: Output) -> None:
    copy = pickle.loads(pickle.dumps(output))  # noqa: S301  # of this test's own
    copy.write("a", b"content")
    assert output.read("a") == b"content"


def test_a_put_that_fails_half_way_leaves_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(remote_url("oss"))

    def fail(source: object, sink: pa.NativeFile, length: int) -> None:
        sink.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("widedeep.serving.batch.store.output.shutil.copyfileobj", fail)
    with pytest.raises(KeyboardInterrupt):
        output.write("a", b"content")
    assert output.names() == []
