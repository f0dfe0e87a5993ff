import logging
import os
import time
from pathlib import Path

import pytest
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.watched import Contents, Watched

LONG_AGO_NS = 1_000_000_000 * 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def read(contents: Contents) -> str:
    text = b"".join(contents).decode()
    if "bad" in text:
        raise ConfigurationError(f"bad file: {text}")
    return text


def write(path: Path, text: str, *, modified_ns: int = LONG_AGO_NS) -> None:
    path.write_text(text)
    os.utime(path, ns=(modified_ns, modified_ns))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    write(path, "first")
    return path


def test_a_change_is_seen_with_the_next_look(path: Path) -> None:
    clock = Clock()
    watched = Watched([path], read, every_s=1, clock=clock)
    write(path, "second", modified_ns=LONG_AGO_NS + 1)
    assert watched.current() == "first"
    clock.now_s = 1
    assert watched.current() == "second"


def test_what_has_not_changed_is_not_read_again(path: Path) -> None:
    reads: list[Contents] = []
    watched = Watched([path], reads.append, every_s=0)
    watched.current()
    watched.current()
    assert len(reads) == 1


def test_two_changes_within_one_tick_of_the_clock_are_both_seen(path: Path) -> None:
    """Neither time nor size nor inode tells them apart."""
    now_ns = time.time_ns()
    write(path, "abc", modified_ns=now_ns)
    watched = Watched([path], read, every_s=0)
    write(path, "xyz", modified_ns=now_ns)
    assert watched.current() == "xyz"


def test_a_file_that_is_replaced_by_one_of_the_same_time_and_size_is_seen(path: Path, tmp_path: Path) -> None:
    watched = Watched([path], read, every_s=0)
    write(tmp_path / "other", "FIRST")
    (tmp_path / "other").replace(path)
    assert watched.current() == "FIRST"


def test_what_makes_no_sense_changes_nothing_and_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched([path], read, every_s=0)
    write(path, "bad", modified_ns=LONG_AGO_NS + 1)
    with caplog.at_level(logging.ERROR):
        assert [watched.current() for _ in range(3)] == ["first"] * 3
        path.unlink()
        assert [watched.current() for _ in range(3)] == ["first"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "bad file: bad; what was read before stays in force",
        f"{path} cannot be read: No such file or directory; what was read before stays in force",
    ]
    write(path, "third")
    assert watched.current() == "third"


def test_what_was_good_is_taken_again_after_what_was_not(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched([path], read, every_s=0)
    for text in ("bad", "first", "bad"):
        write(path, text, modified_ns=time.time_ns())
        with caplog.at_level(logging.ERROR):
            assert watched.current() == "first"
    assert len(caplog.records) == 2


def test_what_could_not_be_read_for_a_while_is_read_though_no_file_has_changed(path: Path) -> None:
    """A process may be out of descriptors when a certificate is renewed."""
    fails = [True]

    def read_sometimes(contents: Contents) -> str:
        if contents == (b"second",) and fails:
            fails.pop()
            raise OSError("too many open files")
        return read(contents)

    watched = Watched([path], read_sometimes, every_s=0)
    write(path, "second", modified_ns=LONG_AGO_NS + 1)
    assert [watched.current(), watched.current()] == ["first", "second"]


def test_the_same_trouble_is_told_again_after_it_was_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched([path], read, every_s=0)
    for _ in range(2):
        path.rename(path.with_suffix(".away"))
        assert watched.current() == "first"
        path.with_suffix(".away").rename(path)
        assert watched.current() == "first"
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 2


def test_the_first_reading_must_succeed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path / 'none'} cannot be read"):
        Watched([tmp_path / "none"], read, every_s=0)
