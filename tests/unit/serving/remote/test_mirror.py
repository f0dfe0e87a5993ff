"""The mirror, over fsspec's store in memory."""

import shutil
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
    assert [list(message) for message in told] == [["say", "text"], ["current", "wanted"]]
    assert "going on with what was copied before" in str(told[0]["text"])
    shutil.rmtree(shelf.home)
    told.clear()
    assert run(shelf.storage, shelf.home, n_versions=1, interval_s=0, tell=append) == 1
    assert told[0]["failed"] == "NotFound"
