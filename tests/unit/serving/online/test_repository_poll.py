"""What a repository makes of changes on disk: real bundles, whose digests are checked; the graphs are not opened."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opened_versions import Opener
from small_bundle import make_bundle
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.errors import BundleError, ConfigurationError, NotFound, NotReady
from widedeep.serving.online.repository import Repository, Source
from widedeep.serving.online.view import State

Made = Callable[[str, int], Path]


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def opener() -> Opener:
    return Opener(lambda path: read_bundle(path).digest)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return bundles of their names and seeds, made once each."""
    folder = tmp_path_factory.mktemp("made")

    def make(name: str, seed: int) -> Path:
        path = folder / f"{name}-{seed}"
        if not path.exists():
            make_bundle(path, name=name, seed=seed)
        return path

    return make


@pytest.fixture
def disk(tmp_path: Path, made: Made) -> Path:
    """A repository of cats/1 and dogs/1."""
    for name in ("cats", "dogs"):
        put(tmp_path / "models", made, name, 1)
    return tmp_path / "models"


@pytest.fixture
def served(disk: Path, opener: Opener, clock: Clock) -> Repository[Any]:
    started: Repository[Any] = Repository(opener, clock=clock)
    started.start(Source(disk))
    opener.tried.clear()
    return started


def put(root: Path, made: Made, name: str, version: int, seed: int | None = None) -> Path:
    """Put a bundle into a repository, as a plain copy."""
    path = root / name / str(version)
    shutil.copytree(made(name, version if seed is None else seed), path, copy_function=shutil.copyfile)
    return path


def damage(path: Path) -> Path:
    with (path / "members" / "deep.onnx").open("ab") as file:
        file.write(b"x")
    return path


def polled(repository: Repository[Any]) -> None:
    """Poll until there is nothing more to do."""
    for _ in range(5):
        if repository.poll():
            return
    raise AssertionError("it never settles")


def states(repository: Repository[Any]) -> dict[str, tuple[State, str]]:
    return {f"{entry.name}/{entry.version}": (entry.state, entry.reason) for entry in repository.index()}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


READY = (State.READY, "")
OLDER = (State.UNAVAILABLE, "not among the newest versions served")


def test_a_repository_that_does_not_change_is_left_alone(served: Repository[Any], opener: Opener) -> None:
    view = served._view
    assert served.poll()
    assert served.poll()
    assert opener.tried == []
    assert served._view is view


def test_a_new_version_is_seen_at_once_and_served_once_it_has_settled(
    served: Repository[Any], opener: Opener, disk: Path, made: Made
) -> None:
    put(disk, made, "cats", 2)
    assert not served.poll()
    assert states(served)["cats/2"] == (State.UNAVAILABLE, "its files are still changing")
    during: list[Any] = []
    opener.during = lambda: during.append((served.get("cats").version, states(served)["cats/2"][0]))
    assert served.poll()
    assert during == [(1, State.LOADING)]
    assert served.get("cats").version == 2
    assert states(served) == {"cats/1": OLDER, "cats/2": READY, "dogs/1": READY}
    assert opener.open_now() == ["cats/2", "dogs/1"]


def test_a_new_model_is_served(served: Repository[Any], disk: Path, made: Made) -> None:
    put(disk, made, "owls", 7)
    polled(served)
    assert served.get("owls").version == 7


def test_a_folder_that_is_copied_file_by_file_is_no_error(
    served: Repository[Any], opener: Opener, disk: Path, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    whole, target = made("cats", 2), disk / "cats" / "2"
    (target / "members").mkdir(parents=True)
    polled(served)
    assert states(served)["cats/2"] == (State.UNAVAILABLE, "it has no bundle.json yet")
    for file in ("bundle.json", "samples.npz", "members/wide.onnx"):
        shutil.copyfile(whole / file, target / file)
        polled(served)
        assert opener.tried == []
    assert states(served)["cats/2"] == (State.UNAVAILABLE, "its file members/deep.onnx is not there yet")
    graph = (whole / "members" / "deep.onnx").read_bytes()
    for end in (100, 200, len(graph)):
        (target / "members" / "deep.onnx").write_bytes(graph[:end])
        assert not served.poll()
    polled(served)
    assert served.get("cats").version == 2
    assert warnings(caplog) == []
    assert served.load_failures() == {}


def test_a_broken_version_displaces_nothing_is_told_once_and_tried_again_only_when_it_changes(
    served: Repository[Any], opener: Opener, disk: Path, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    before = served.get("cats")
    broken = damage(put(disk, made, "cats", 2))
    for _ in range(4):
        polled(served)
    assert served.get("cats") is before
    assert opener.tried == ["cats/2"]
    assert states(served)["cats/1"] == READY
    state, reason = states(served)["cats/2"]
    assert state is State.UNAVAILABLE
    assert "deep.onnx has changed" in reason
    assert [line.split(":")[0] for line in warnings(caplog)] == ["model cats version 2 cannot be served"]
    assert served.load_failures() == {"cats": 1}
    shutil.copyfile(made("cats", 2) / "members" / "deep.onnx", broken / "members" / "deep.onnx")
    polled(served)
    assert served.get("cats").version == 2
    assert states(served)["cats/2"] == READY


def test_a_broken_model_keeps_no_other_from_being_updated(served: Repository[Any], disk: Path, made: Made) -> None:
    damage(put(disk, made, "cats", 2))
    put(disk, made, "dogs", 2)
    polled(served)
    assert {name: served.get(name).version for name in served.names()} == {"cats": 1, "dogs": 2}


def test_a_good_version_below_a_broken_one_is_served(
    served: Repository[Any], opener: Opener, disk: Path, made: Made
) -> None:
    put(disk, made, "cats", 2)
    damage(put(disk, made, "cats", 3))
    polled(served)
    assert served.get("cats").version == 2
    assert opener.tried == ["cats/3", "cats/2"]


def test_a_version_that_cannot_be_read_holds_up_no_other_and_the_index_says_so(
    served: Repository[Any], disk: Path, made: Made
) -> None:
    put(disk, made, "cats", 2)
    (disk / "cats" / "3").mkdir()
    (disk / "cats" / "3" / "bundle.json").symlink_to("/nowhere")
    polled(served)
    assert served.get("cats").version == 2
    assert states(served)["cats/3"] == (State.UNAVAILABLE, "it cannot be read: No such file or directory")


def test_a_model_behind_a_link_that_cannot_be_followed_holds_up_no_other(
    served: Repository[Any], disk: Path, made: Made
) -> None:
    (disk / "birds").symlink_to("x" * 300)  # like a mount that is gone: an error, and not "there is none"
    put(disk, made, "cats", 2)
    polled(served)
    assert served.get("cats").version == 2


def test_what_callers_read_of_a_broken_version_does_not_say_where_it_lies(
    served: Repository[Any], disk: Path, made: Made
) -> None:
    damage(put(disk, made, "cats", 2))
    polled(served)
    with pytest.raises(BundleError):
        served.load("cats")
    assert str(disk) not in states(served)["cats/2"][1]
    with pytest.raises(NotReady) as refused:
        served.get("cats", "2")
    assert str(disk) not in str(refused.value)


def test_a_version_replaced_in_place_is_loaded_anew(
    served: Repository[Any], opener: Opener, disk: Path, made: Made
) -> None:
    before = served.get("cats")
    shutil.rmtree(disk / "cats" / "1")
    put(disk, made, "cats", 1, seed=5)
    polled(served)
    assert served.get("cats").digest != before.digest
    assert before.closed
    assert opener.open_now() == ["cats/1", "dogs/1"]


def test_a_version_replaced_by_a_broken_one_stays_and_the_index_says_so(
    served: Repository[Any], disk: Path, made: Made
) -> None:
    before = served.get("cats")
    shutil.rmtree(disk / "cats" / "1")
    damage(put(disk, made, "cats", 1, seed=5))
    polled(served)
    assert served.get("cats") is before
    state, reason = states(served)["cats/1"]
    assert state is State.READY
    assert "has changed" in reason


def test_links_that_are_moved_at_once_are_followed(
    tmp_path: Path, opener: Opener, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Kubernetes and git-sync do it: the version is a link through a link that is renamed over."""
    for data, seed in (("..first", 1), ("..second", 2)):
        shutil.copytree(made("cats", seed), tmp_path / "cats" / data / "1", copy_function=shutil.copyfile)
    (tmp_path / "cats" / "..data").symlink_to("..first")
    (tmp_path / "cats" / "1").symlink_to("..data/1")
    served: Repository[Any] = Repository(opener)
    served.start(Source(tmp_path))
    assert served.poll()
    before = served.get("cats")
    (tmp_path / "cats" / "..new").symlink_to("..second")
    (tmp_path / "cats" / "..new").rename(tmp_path / "cats" / "..data")
    polled(served)
    assert served.get("cats").digest == read_bundle(made("cats", 2)).digest
    assert before.closed
    assert served.get("cats").path == tmp_path / "cats" / "..second" / "1"


def test_a_link_to_a_folder_that_holds_the_same_bundle_loads_nothing(
    tmp_path: Path, opener: Opener, made: Made
) -> None:
    for data in ("a", "b"):
        shutil.copytree(made("cats", 1), tmp_path / data, copy_function=shutil.copyfile)
    (tmp_path / "models" / "cats").mkdir(parents=True)
    link = tmp_path / "models" / "cats" / "1"
    link.symlink_to(tmp_path / "a")
    served: Repository[Any] = Repository(opener)
    served.start(Source(tmp_path / "models"))
    link.unlink()
    link.symlink_to(tmp_path / "b")
    polled(served)
    assert opener.tried == ["cats/1"]


def test_the_version_before_takes_over_when_the_newest_is_removed(
    served: Repository[Any], disk: Path, made: Made
) -> None:
    put(disk, made, "cats", 2)
    polled(served)
    shutil.rmtree(disk / "cats" / "2")
    polled(served)
    assert served.get("cats").version == 1
    assert states(served) == {"cats/1": READY, "dogs/1": READY}


def test_a_model_whose_folder_is_removed_is_let_go(served: Repository[Any], opener: Opener, disk: Path) -> None:
    shutil.rmtree(disk / "cats")
    assert not served.poll()
    assert served.get("cats").version == 1
    assert served.poll()
    with pytest.raises(NotFound, match="unknown model 'cats'; this server has 'dogs'"):
        served.get("cats")
    assert opener.open_now() == ["dogs/1"]


def test_a_model_whose_folder_is_gone_for_a_moment_stays(served: Repository[Any], disk: Path) -> None:
    before = served.get("cats")
    (disk / "cats").rename(disk / ".cats")
    served.poll()
    (disk / ".cats").rename(disk / "cats")
    polled(served)
    assert served.get("cats") is before


def emptied(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def test_a_model_whose_folder_is_emptied_is_served_on(served: Repository[Any], disk: Path) -> None:
    emptied(disk / "cats")
    polled(served)
    polled(served)
    assert served.get("cats").version == 1
    assert states(served)["cats/1"] == (State.READY, "its folder is gone")


@pytest.mark.parametrize("lose", [emptied, shutil.rmtree], ids=["emptied", "gone"])
def test_a_repository_that_is_lost_is_served_on(
    served: Repository[Any], disk: Path, lose: Callable[[Path], None], tmp_path: Path, made: Made
) -> None:
    lose(disk)
    for _ in range(3):
        with pytest.raises((ConfigurationError, OSError)):
            served.poll()
    assert [one.name for one in served.servables()] == ["cats", "dogs"]
    for name in ("cats", "dogs"):
        put(disk, made, name, 1)
    put(disk, made, "cats", 2)
    polled(served)
    assert served.get("cats").version == 2


def test_an_unloaded_model_stays_so_until_a_load_call(served: Repository[Any], disk: Path, made: Made) -> None:
    served.unload("cats")
    put(disk, made, "cats", 2)
    polled(served)
    with pytest.raises(NotReady, match="unloaded"):
        served.get("cats")
    served.load("cats")
    assert served.get("cats").version == 2
    put(disk, made, "cats", 3)
    polled(served)
    assert served.get("cats").version == 3


def test_an_unloaded_model_that_is_removed_and_put_again_is_a_new_one(
    served: Repository[Any], disk: Path, made: Made
) -> None:
    served.unload("cats")
    shutil.rmtree(disk / "cats")
    polled(served)
    assert set(states(served)) == {"dogs/1"}
    put(disk, made, "cats", 1)
    polled(served)
    assert served.get("cats").version == 1


def test_a_failure_that_may_go_by_itself_is_tried_again_after_growing_waits(  # noqa: PLR0917 - fixtures
    served: Repository[Any], opener: Opener, clock: Clock, disk: Path, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    put(disk, made, "cats", 2)
    opener.broken["cats/2"] = OSError("no space left")
    tries = []
    for second in range(0, 100, 10):
        clock.now_s = float(second)
        polled(served)
        tries.append(len(opener.tried))
    assert tries == [1, 1, 1, 2, 2, 2, 2, 2, 2, 3]
    assert len(warnings(caplog)) == 1
    opener.broken.clear()
    clock.now_s = 1000.0
    polled(served)
    assert served.get("cats").version == 2


def test_files_that_change_while_they_are_loaded_count_as_no_failure(
    served: Repository[Any], opener: Opener, disk: Path, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(disk, made, "cats", 2)
    served.poll()
    opener.during = lambda: damage(path)
    opener.broken["cats/2"] = BundleError("half a file")
    assert not served.poll()
    assert states(served)["cats/2"] == (State.UNAVAILABLE, "its files are still changing")
    assert warnings(caplog) == []


def test_of_several_versions_only_new_ones_are_opened(disk: Path, opener: Opener, made: Made) -> None:
    put(disk, made, "cats", 2)
    served: Repository[Any] = Repository(opener, max_versions=2)
    served.start(Source(disk))
    second = served.get("cats")
    opener.tried.clear()
    put(disk, made, "cats", 3)
    polled(served)
    assert opener.tried == ["cats/3"]
    assert served.versions("cats") == [second, served.get("cats")]
    assert opener.open_now() == ["cats/2", "cats/3", "dogs/1"]


def test_one_bundle_is_loaded_anew_under_the_name_it_has(tmp_path: Path, opener: Opener, made: Made) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(made("cats", 1), path)
    served: Repository[Any] = Repository(opener)
    served.start(Source(path))
    shutil.rmtree(path)
    shutil.copytree(made("dogs", 1), path)
    polled(served)
    assert served.names() == ["cats"]
    assert read_bundle(served.get("cats").path).name == "dogs"
    shutil.rmtree(path)
    with pytest.raises(ConfigurationError):
        served.poll()
    assert served.get("cats").version == 1


def test_a_repository_that_is_closed_loads_nothing(
    served: Repository[Any], opener: Opener, disk: Path, made: Made
) -> None:
    put(disk, made, "cats", 2)
    served.poll()
    served.close()
    served.poll()
    assert opener.tried == []
