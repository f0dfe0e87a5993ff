"""The mirror, over fsspec's store in memory."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_bundle import make_bundle
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.errors import BundleError, NotFound
from widedeep.serving.remote.layout import local_places
from widedeep.serving.remote.mirror import Mirror, run
from widedeep.serving.remote.storage import Storage
from widedeep.serving.remote.upload import push_bundle


class Shelf:
    """A repository in a store, and a mirror of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = Storage.open(f"memory://mirrored/{folder.name}/models")
        self.home = folder / "home"
        self.said: list[str] = []

    def put(self, place: str, seed: int = 0) -> str:
        make_bundle(self.folder / "made", seed=seed)
        return push_bundle(self.folder / "made", self.storage.at(place), force=True).digest

    def take(self, place: str) -> None:
        self.storage.remove([name for name in self.storage.list() if name.startswith(f"{place}/")])

    def damage(self, place: str) -> None:
        storage = self.storage.at(place)
        storage.files.pipe_file(f"{storage.root}/samples.npz", b"gone bad")

    def mirror(self, n_versions: int = 1, url: str = "") -> Mirror:
        storage = self.storage.at(url)
        return Mirror(storage, self.home, n_versions, say=lambda level, text: self.said.append(f"{level} {text}"))

    def copied(self) -> list[str]:
        return local_places(self.home / "models")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_the_newest_versions_of_every_model_are_copied(shelf: Shelf) -> None:
    for place in ("cats/1", "cats/2", "cats/10", "dogs/3"):
        shelf.put(place)
    current = shelf.mirror(n_versions=2).sync()
    assert shelf.copied() == ["cats/2", "cats/10", "dogs/3"]
    assert current.wanted == {"cats": [2, 10], "dogs": [3]}
    assert current.path == shelf.home / "models"


def test_the_folder_of_one_model_becomes_a_repository(shelf: Shelf) -> None:
    shelf.put("cats/1")
    assert shelf.mirror(url="cats").sync().wanted == {"cats": [1]}
    assert shelf.copied() == ["cats/1"]


def test_one_bundle_keeps_the_name_of_its_folder(shelf: Shelf) -> None:
    digest = shelf.put("cats/7")
    current = shelf.mirror(url="cats/7").sync()
    assert current.path.name == "7"
    assert read_bundle(current.path).digest == digest


def test_a_new_version_comes_and_the_old_one_stays_until_it_is_served_no_more(shelf: Shelf) -> None:
    shelf.put("cats/1")
    mirror = shelf.mirror()
    mirror.sync()
    shelf.put("cats/2", seed=2)
    assert mirror.sync().wanted == {"cats": [2]}
    assert shelf.copied() == ["cats/1", "cats/2"]


def test_a_version_replaced_in_the_store_is_replaced_here(shelf: Shelf) -> None:
    shelf.put("cats/1")
    mirror = shelf.mirror()
    mirror.sync()
    digest = shelf.put("cats/1", seed=5)
    mirror.sync()
    assert read_bundle(shelf.home / "models" / "cats" / "1").digest == digest


def test_a_version_taken_back_from_the_store_goes_once_the_one_before_is_here(shelf: Shelf) -> None:
    shelf.put("cats/1")
    shelf.put("cats/2", seed=2)
    mirror = shelf.mirror()
    mirror.sync()
    shelf.take("cats/2")
    mirror.sync()
    assert shelf.copied() == ["cats/1"]


def test_a_version_that_is_just_being_replaced_in_the_store_stays(shelf: Shelf) -> None:
    shelf.put("cats/1")
    shelf.put("cats/2", seed=2)
    mirror = shelf.mirror()
    mirror.sync()
    shelf.storage.remove(["cats/2/bundle.json"])
    mirror.sync()
    assert "cats/2" in shelf.copied()


def test_a_model_that_left_the_store_is_kept_until_the_next_start(shelf: Shelf) -> None:
    shelf.put("cats/1")
    shelf.put("dogs/1")
    mirror = shelf.mirror()
    mirror.sync()
    shelf.take("dogs/1")
    mirror.sync()
    assert shelf.copied() == ["cats/1", "dogs/1"]
    shelf.mirror().sync()
    assert shelf.copied() == ["cats/1"]


def test_a_damaged_new_version_is_told_once_and_tried_again_when_it_has_changed(shelf: Shelf) -> None:
    shelf.put("cats/1")
    mirror = shelf.mirror()
    mirror.sync()
    shelf.put("cats/2", seed=2)
    shelf.damage("cats/2")
    mirror.sync()
    mirror.sync()
    assert shelf.copied() == ["cats/1"]
    assert [line for line in shelf.said if line.startswith("warning")] == [
        line for line in shelf.said if "cats/2 is not brought" in line
    ]
    assert sum("cats/2 is not brought" in line for line in shelf.said) == 1
    shelf.put("cats/2", seed=2)
    mirror.sync()
    assert shelf.copied() == ["cats/1", "cats/2"]


def test_what_is_left_out_is_told_at_every_look_until_it_has_changed_or_gone(shelf: Shelf) -> None:
    for place in ("cats/1", "dogs/1"):
        shelf.put(place)
    mirror = shelf.mirror()
    assert mirror.sync().left_out == {}
    for place in ("cats/2", "dogs/2"):
        shelf.put(place, seed=2)
        shelf.damage(place)
    for _ in range(2):
        left_out = mirror.sync().left_out
        assert sorted(left_out) == ["cats/2", "dogs/2"]
        assert "samples.npz is damaged" in left_out["cats/2"]
    shelf.take("cats/2")
    shelf.put("dogs/2", seed=2)
    assert mirror.sync().left_out == {}


def test_one_bundle_that_was_damaged_in_the_store_is_left_out_under_the_name_it_has(shelf: Shelf) -> None:
    shelf.put("cats/7")
    mirror = shelf.mirror(url="cats/7")
    mirror.sync()
    shelf.put("cats/7", seed=2)
    shelf.damage("cats/7")
    assert list(mirror.sync().left_out) == [f"{read_bundle(shelf.home / 'bundle' / '7').name}/7"]


def test_a_damaged_only_version_is_an_error(shelf: Shelf) -> None:
    shelf.put("cats/1")
    shelf.damage("cats/1")
    with pytest.raises(BundleError, match=r"samples\.npz is"):
        shelf.mirror().sync()


def test_an_empty_store_is_an_error(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="expected a bundle"):
        shelf.mirror().sync()


def test_a_version_that_was_here_before_comes_back_when_the_newest_is_taken_from_the_store(shelf: Shelf) -> None:
    shelf.put("cats/1")
    mirror = shelf.mirror()
    mirror.sync()
    shelf.put("cats/2", seed=2)
    mirror.sync()
    shutil.rmtree(shelf.home / "models" / "cats" / "1")  # as the server does once it serves it no more
    shelf.take("cats/2")
    mirror.sync()
    assert shelf.copied() == ["cats/1"]


def test_a_new_model_that_is_damaged_keeps_no_other_from_being_brought(shelf: Shelf) -> None:
    for place in ("cats/1", "eels/1"):
        shelf.put(place)
    mirror = shelf.mirror()
    mirror.sync()
    shelf.put("dogs/1")
    shelf.damage("dogs/1")
    for place in ("cats/2", "eels/2"):
        shelf.put(place, seed=2)
    mirror.sync()
    assert shelf.copied() == ["cats/1", "cats/2", "eels/1", "eels/2"]
    assert sum("dogs/1 is not brought" in line for line in shelf.said) == 1


def test_what_cannot_be_written_is_told_once_and_tried_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put("cats/1")
    mirror = shelf.mirror()
    mirror.sync()
    shelf.put("cats/2", seed=2)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        assert [mirror.sync().is_short for _ in range(2)] == [True, True]
        assert "more bytes, 0 are free" in mirror.sync().left_out["cats/2"]
    assert [line for line in shelf.said if "more bytes, 0 are free" in line] == [shelf.said[-1]]
    assert not mirror.sync().is_short
    assert shelf.copied() == ["cats/1", "cats/2"]


def test_a_bundle_beside_the_models_of_a_repository_changes_nothing_here(shelf: Shelf) -> None:
    shelf.put("cats/1")
    mirror = shelf.mirror()
    mirror.sync()
    shelf.put("3")  # one folder too high
    mirror.sync()
    assert shelf.copied() == ["cats/1"]
    shelf.storage.files.pipe_file(f"{shelf.storage.root}/bundle.json", b"{}")
    with pytest.raises(BundleError, match=r"models: expected one bundle or a repository, found both"):
        mirror.sync()
    assert shelf.copied() == ["cats/1"]


def test_a_repository_that_becomes_a_bundle_does_so_at_the_next_start(shelf: Shelf) -> None:
    shelf.put("cats/1")
    mirror = shelf.mirror()
    mirror.sync()
    shelf.take("cats/1")
    shelf.put("")
    with pytest.raises(BundleError, match="the other way round"):
        mirror.sync()
    assert shelf.copied() == ["cats/1"]
    assert shelf.mirror().sync().path == shelf.home / "bundle" / "models"
    assert shelf.copied() == []


def test_pulls_that_came_to_nothing_leave_no_files(shelf: Shelf) -> None:
    shelf.put("cats/1")
    (shelf.home / "models" / "cats" / ".1.killed" / "old").mkdir(parents=True)
    mirror = shelf.mirror()
    mirror.sync()
    shelf.put("cats/2", seed=2)
    shelf.damage("cats/2")
    mirror.sync()
    assert sorted(path.name for path in shelf.home.rglob("*") if path.name.startswith(".")) == []
    assert not (shelf.home / "staging").exists()


def test_a_first_copy_that_was_cut_off_is_not_served(
    shelf: Shelf, tell: tuple[list[dict[str, object]], Callable[[dict[str, object]], None]]
) -> None:
    for place in ("cats/1", "dogs/1"):
        shelf.put(place)
    shelf.damage("cats/1")
    told, append = tell
    assert run(shelf.storage, shelf.home, n_versions=1, interval_s=0, tell=append) == 1
    assert shelf.copied() == ["dogs/1"]
    assert "samples.npz is damaged" in str(told[-1]["text"])


@pytest.fixture
def tell() -> tuple[list[dict[str, object]], Callable[[dict[str, object]], None]]:
    told: list[dict[str, object]] = []
    return told, told.append


def test_what_was_copied_before_serves_when_the_store_fails(
    shelf: Shelf, tell: tuple[list[dict[str, object]], Callable[[dict[str, object]], None]]
) -> None:
    shelf.put("cats/1")
    told, append = tell
    assert run(shelf.storage, shelf.home, n_versions=1, interval_s=0, tell=append) == 0
    shelf.take("cats/1")
    told.clear()
    assert run(shelf.storage, shelf.home, n_versions=1, interval_s=0, tell=append) == 0
    assert [list(message) for message in told] == [["say", "text"], ["lost"], ["current", "wanted"]]
    assert "expected a bundle" in str(told[1]["lost"])
    assert "going on with what was copied before" in str(told[0]["text"])
    shutil.rmtree(shelf.home)
    told.clear()
    assert run(shelf.storage, shelf.home, n_versions=1, interval_s=0, tell=append) == 1
    assert told[0]["failed"] == "NotFound"


def test_it_ends_without_a_word_when_its_server_has_been_killed(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "widedeep.serving.remote.mirror", f"file://{tmp_path}/nothing", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--versions", "1", "--interval-s", "0"], stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE
    ) as process:
        os.close(writer)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_process_that_takes_the_place_of_another_keeps_a_model_that_left_the_store(
    shelf: Shelf, tell: tuple[list[dict[str, object]], Callable[[dict[str, object]], None]]
) -> None:
    for place in ("cats/1", "dogs/1"):
        shelf.put(place)
    shelf.mirror().sync()
    shelf.take("cats/1")
    for is_served, copied in ((True, ["cats/1", "dogs/1"]), (False, ["dogs/1"])):
        assert run(shelf.storage, shelf.home, n_versions=1, interval_s=0, tell=tell[1], is_served=is_served) == 0
        assert shelf.copied() == copied


def test_what_serves_while_the_store_is_away_is_kept_when_it_is_back_without_it(shelf: Shelf) -> None:
    for place in ("cats/1", "dogs/1"):
        shelf.put(place)
    shelf.mirror().sync()
    shelf.take("cats/1")
    mirror = shelf.mirror()
    assert mirror.kept() is not None
    mirror.sync()
    assert shelf.copied() == ["cats/1", "dogs/1"]
