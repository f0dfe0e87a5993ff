import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from widedeep.serving.engine.cache import Cache, Key

KEY = Key("plans", digest="d" * 64, machine="m" * 64, options="threads=1")
PLAN: dict[str, Any] = {"chunk_rows": 2, "seconds": [0.25, 1e-6], "name": "é"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> Cache:
    return Cache.open(folder)


def entry_of(cache: Cache, key: Key = KEY) -> Path:
    found = cache.find(key)
    assert found is not None
    return found


def test_a_document_is_read_as_it_was_written_by_another_cache_of_the_folder(folder: Path) -> None:
    Cache.open(folder).write(KEY, PLAN)
    assert Cache.open(folder).read(KEY) == PLAN


def test_nothing_is_known_at_first(cache: Cache) -> None:
    assert cache.read(KEY) is None


@pytest.mark.parametrize("part", ["kind", "digest", "machine", "options"])
def test_every_part_of_the_key_tells_entries_apart(cache: Cache, part: str) -> None:
    other = replace(KEY, **{part: "other"})
    cache.write(KEY, PLAN)
    assert cache.read(other) is None
    cache.write(other, {})
    assert (cache.read(KEY), cache.read(other)) == (PLAN, {})


def test_a_document_replaces_an_earlier_one(cache: Cache) -> None:
    cache.write(KEY, PLAN)
    cache.write(KEY, {"chunk_rows": 8})
    assert cache.read(KEY) == {"chunk_rows": 8}
    assert len(list(entry_of(cache).parent.iterdir())) == 1


@pytest.mark.parametrize("name", ["document.json", "entry.json"])
@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\x00", b"[]", b"null", b'{"chunk_rows": 3}', b'{"key": 1, "files": []}']
)
def test_a_damaged_entry_counts_as_absent_and_is_written_again(cache: Cache, name: str, data: bytes) -> None:
    cache.write(KEY, PLAN)
    (entry_of(cache) / name).write_bytes(data)
    assert cache.read(KEY) is None
    cache.write(KEY, PLAN)
    assert cache.read(KEY) == PLAN


@pytest.mark.parametrize("name", ["document.json", "entry.json"])
def test_an_entry_that_lacks_a_file_counts_as_absent_and_is_written_again(cache: Cache, name: str) -> None:
    cache.write(KEY, PLAN)
    (entry_of(cache) / name).unlink()
    assert cache.read(KEY) is None
    cache.write(KEY, PLAN)
    assert cache.read(KEY) == PLAN


def test_an_entry_under_the_name_of_another_is_not_taken_for_it(cache: Cache) -> None:
    other = replace(KEY, digest="0" * 64)
    cache.write(other, PLAN)
    foreign = entry_of(cache, other)
    foreign.rename(foreign.with_name(KEY.name))
    assert cache.read(KEY) is None


def test_a_file_where_the_entry_should_be_is_replaced(cache: Cache, folder: Path) -> None:
    (folder / KEY.name).write_text("in the way")
    assert cache.read(KEY) is None
    cache.write(KEY, PLAN)
    assert cache.read(KEY) == PLAN


def test_a_file_changed_by_one_bit_makes_its_entry_count_as_absent(cache: Cache) -> None:
    cache.obtain(KEY, lambda entry: (entry / "weights").write_bytes(bytes(1000)))
    weights = entry_of(cache) / "weights"
    weights.write_bytes(bytes(999) + b"\x01")
    assert cache.find(KEY) is None


def test_what_is_obtained_is_made_once(cache: Cache) -> None:
    made: list[Path] = []

    def make(entry: Path) -> None:
        made.append(entry)
        (entry / "graph").write_text("graph")

    first, second = cache.obtain(KEY, make), cache.obtain(KEY, make)
    assert first is not None
    assert first == second
    assert (first / "graph").read_text() == "graph"
    assert len(made) == 1


def test_what_cannot_be_made_is_not_there_and_leaves_nothing(
    cache: Cache, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def make(entry: Path) -> None:
        (entry / "half").write_text("half")
        raise OSError(28, "No space left on device")

    assert cache.obtain(KEY, make) is None
    assert cache.obtain(KEY, make) is None
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text


def test_an_entry_can_be_kept_open_while_it_is_replaced(cache: Cache) -> None:
    cache.write(KEY, PLAN)
    with (entry_of(cache) / "document.json").open() as file:
        cache.write(KEY, {})
        assert json.load(file) == PLAN


def test_the_folder_is_created_for_this_user_alone(folder: Path) -> None:
    Cache.open(folder / "deep" / "er")
    assert (folder / "deep" / "er").stat().st_mode & 0o777 == 0o700


def assert_keeps_nothing(cache: Cache) -> None:
    cache.write(KEY, PLAN)
    assert cache.read(KEY) is None
    assert cache.obtain(KEY, lambda entry: (entry / "graph").write_text("graph")) is None


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777, 0o707])
def test_a_folder_that_others_may_enter_is_not_used(folder: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir()
    folder.chmod(mode)
    assert_keeps_nothing(Cache.open(folder))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{folder} is open to other users (mode {mode:o}, expected 700)" in caplog.text
    assert not list(folder.iterdir())


def test_a_folder_of_another_user_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(0o700)
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert_keeps_nothing(Cache.open(folder))
    assert f"{folder} belongs to user {owner}, not to {owner + 1}" in caplog.text


def test_a_folder_that_cannot_be_created_is_done_without(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("a file is in the way")
    assert_keeps_nothing(Cache.open(folder / "cache"))
    assert len(caplog.records) == 1
    assert "cache folder cannot be used" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_done_without(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir(0o500)
    assert_keeps_nothing(Cache.open(folder))
    assert len(caplog.records) == 1


def test_a_kernel_file_system_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    assert_keeps_nothing(Cache.open("/proc/self/widedeep"))
    assert len(caplog.records) == 1


def test_no_folder_keeps_nothing_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert_keeps_nothing(Cache.open(""))
        assert_keeps_nothing(Cache(None))
    assert not caplog.records


def test_the_least_recently_used_entries_go_first(folder: Path) -> None:
    keys = [replace(KEY, options=str(i)) for i in range(4)]
    cache = Cache.open(folder, max_bytes=3500)

    def keep(key: Key) -> None:
        cache.obtain(key, lambda entry: (entry / "graph").write_bytes(bytes(700)))

    for age, key in zip((30, 20, 10), keys[:3], strict=True):
        keep(key)
        then = time.time() - age
        os.utime(folder / key.name, (then, then))
    assert cache.find(keys[0]) is not None  # which makes it the latest
    keep(keys[3])
    assert [cache.find(key) is not None for key in keys] == [True, False, True, True]


def test_a_folder_that_is_no_entry_is_left_alone(folder: Path) -> None:
    cache = Cache.open(folder, max_bytes=1)
    (folder / "remote").mkdir()
    (folder / "remote" / "file").write_bytes(bytes(100))
    os.utime(folder / "remote", (0, 0))
    cache.write(KEY, PLAN)
    assert (folder / "remote" / "file").exists()


def test_what_exceeds_the_limit_alone_is_not_kept(folder: Path) -> None:
    cache = Cache.open(folder, max_bytes=2000)
    cache.write(KEY, PLAN)
    assert cache.obtain(replace(KEY, kind="graph"), lambda entry: (entry / "g").write_bytes(bytes(3000))) is None
    assert cache.read(KEY) == PLAN


def test_what_a_dead_process_left_goes_but_not_what_another_is_making(cache: Cache, folder: Path) -> None:
    left, fresh = folder / ".new-left", folder / ".new-fresh"
    for path in (left, fresh):
        path.mkdir()
        (path / "half").write_text("half")
    then = time.time() - 7200
    os.utime(left, (then, then))
    cache.write(KEY, PLAN)
    assert (left.exists(), fresh.exists()) == (False, True)


WRITE_AND_READ = """
for i in range(30):
    cache.write(key, {"by": number, "fill": [number] * 1000})
    read = cache.read(key)
    assert read is None or read["fill"] == [read["by"]] * 1000
"""

OBTAIN = """
def make(entry):
    (folder.parent / f"made-by-{number}").touch()
    time.sleep(0.2)
    (entry / "graph").write_text("graph")

assert (cache.obtain(key, make) / "graph").read_text() == "graph"
"""


def run_in_processes(code: str, folder: Path) -> None:
    """Run code in four processes at once, each with its `number` and the `cache` in `folder`."""
    start = f"""
import sys, time
from pathlib import Path
from widedeep.serving.engine.cache import Cache, Key
number, folder, key = int(sys.argv[1]), Path(sys.argv[2]), {KEY!r}
cache = Cache.open(folder)
"""
    processes = [subprocess.Popen([sys.executable, "-c", start + code, str(i), str(folder)]) for i in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4


def test_processes_that_write_at_once_never_leave_a_mixture(folder: Path, cache: Cache) -> None:
    run_in_processes(WRITE_AND_READ, folder)
    assert cache.read(KEY) is not None
    assert {path.name for path in folder.iterdir()} == {KEY.name}


def test_of_processes_that_ask_at_once_one_makes_it(folder: Path) -> None:
    run_in_processes(OBTAIN, folder)
    assert len(list(folder.parent.glob("made-by-*"))) == 1
