"""The repository over folders that only look like bundles; what stands in for servables tells when it is closed."""

import hashlib
import logging
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from opened_versions import Opener
from small_bundle import make_bundle
from widedeep.serving.contract.errors import BundleError, ConfigurationError, NotFound, NotReady
from widedeep.serving.online.repository import Repository, Source, State


def put(root: Path, *versions: str) -> Path:
    """Make `<model>/<version>/bundle.json` for each name given."""
    for version in versions:
        (root / version).mkdir(parents=True, exist_ok=True)
        (root / version / "bundle.json").write_text("{}")
    return root


@pytest.fixture
def opener() -> Opener:
    return Opener(lambda path: hashlib.sha256((path / "bundle.json").read_bytes()).hexdigest())


def repository(path: Path, opener: Opener, **settings: Any) -> Repository:
    made = Repository(opener, **settings)
    made.start(Source(path))
    return made


def states(repository: Repository) -> dict[str, State]:
    return {f"{entry.name}/{entry.version}": entry.state for entry in repository.index()}


def lines(messages: Iterable[str]) -> str:
    return "\n".join(messages)


def test_a_repository_holds_models_by_folder_and_versions_by_number(tmp_path: Path) -> None:
    put(tmp_path, "cats/1", "cats/12", "dogs/0")
    assert Source(tmp_path).scan() == {
        "cats": {1: tmp_path / "cats/1", 12: tmp_path / "cats/12"},
        "dogs": {0: tmp_path / "dogs/0"},
    }


def test_everything_else_is_ignored_with_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "cats/1", "cats/01", "cats/v2", "cats/-3", "cats/.4.new", ".hidden/1")
    (tmp_path / "README.md").write_text("")
    (tmp_path / "cats" / "5").mkdir()
    (tmp_path / "empty").mkdir()
    with caplog.at_level(logging.INFO):
        assert Source(tmp_path).scan() == {"cats": {1: tmp_path / "cats/1"}}
    for ignored in ("cats/01", "cats/v2", "cats/-3", "cats/.4.new", "cats/5", ".hidden", "README.md"):
        assert f"ignored {tmp_path / ignored}:" in lines(caplog.messages)


@pytest.mark.parametrize(
    ("folder", "given", "served"),
    [("iris", "", ("animals", 1)), ("7", "", ("animals", 7)), ("0", "", ("animals", 0)), ("07", "pets", ("pets", 1))],
)
def test_one_bundle_is_named_by_the_flag_or_itself_and_numbered_by_its_folder(
    bundle_path: Path, tmp_path: Path, folder: str, given: str, served: tuple[str, int]
) -> None:
    shutil.copytree(bundle_path, tmp_path / folder)
    source = Source(tmp_path / folder, given)
    assert source.is_bundle
    assert source.scan() == {served[0]: {served[1]: tmp_path / folder}}


@pytest.mark.parametrize(
    ("folder", "name", "message"),
    [
        ("nowhere", "", "nowhere is not a folder; expected a repository or a bundle"),
        ("empty", "", "no <model>/<version>/bundle.json under"),
        ("models/cats", "", r"to serve one model, give its repository .*models$"),
        ("models", "pets", "a name can be given to one bundle only"),
    ],
)
def test_a_path_that_holds_nothing_to_serve_is_refused_with_the_reason(
    tmp_path: Path, folder: str, name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "models", "cats/1")
    with pytest.raises(ConfigurationError, match=message):
        Source(tmp_path / folder, name).scan()


def test_the_newest_version_answers_unless_one_is_named(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/2", "cats/9", "cats/10"), opener, max_versions=2)
    assert served.get("cats").version == 10
    assert served.get("cats", "9").version == 9
    assert states(served) == {"cats/2": State.UNAVAILABLE, "cats/9": State.READY, "cats/10": State.READY}
    with pytest.raises(NotReady, match="version 2 is UNAVAILABLE: not among the newest"):
        served.get("cats", "2")


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("dogs", "", "unknown model 'dogs'; this server has 'cats'"),
        ("", "", "unknown model ''"),
        ("cats", "3", "model 'cats' has no version '3'; it has 1"),
        ("cats", "01", "model 'cats' has no version '01'"),
        ("cats", "9" * 5000, "model 'cats' has no version '9{5000}'"),
        ("cats", "newest", "model 'cats' has no version 'newest'"),
    ],
)
def test_what_is_not_there_is_not_found_by_name(
    tmp_path: Path, opener: Opener, name: str, version: str, message: str
) -> None:
    with pytest.raises(NotFound, match=message):
        repository(put(tmp_path, "cats/1"), opener).get(name, version)


def test_a_start_with_a_version_that_cannot_be_served_is_an_error_that_names_it(tmp_path: Path, opener: Opener) -> None:
    opener.broken["dogs/1"] = BundleError("golden output differs")
    message = r"model 'dogs' version 1 cannot be served: .*dogs/1: golden output differs"
    with pytest.raises(BundleError, match=message):
        repository(put(tmp_path, "cats/1", "dogs/1"), opener)


def test_a_provider_that_is_missing_stays_a_configuration_error(tmp_path: Path, opener: Opener) -> None:
    opener.broken["cats/1"] = ConfigurationError("no such provider")
    with pytest.raises(ConfigurationError, match=r"model 'cats' version 1 .*no such provider"):
        repository(put(tmp_path, "cats/1"), opener)


def test_a_file_that_cannot_be_read_is_told_like_a_damaged_bundle(tmp_path: Path, opener: Opener) -> None:
    opener.broken["cats/1"] = PermissionError("permission denied")
    with pytest.raises(BundleError, match=r"model 'cats' version 1 .*permission denied"):
        repository(put(tmp_path, "cats/1"), opener)


def test_a_newer_version_takes_over_and_the_old_one_is_closed_after_it_is_replaced(
    tmp_path: Path, opener: Opener
) -> None:
    served = repository(put(tmp_path, "cats/1"), opener)
    put(tmp_path, "cats/2")
    seen: list[tuple[int, dict[str, State]]] = []
    opener.during = lambda: seen.append((served.get("cats").version, states(served)))
    served.load("cats")
    assert seen == [(1, {"cats/1": State.READY, "cats/2": State.LOADING})]
    assert served.get("cats").version == 2
    assert states(served) == {"cats/1": State.UNAVAILABLE, "cats/2": State.READY}
    assert opener.open_now() == ["cats/2"]


def test_loading_the_same_version_again_swaps_it(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1"), opener)
    before = served.get("cats")
    served.load("cats")
    assert served.get("cats") is not before
    assert opener.open_now() == ["cats/1"]


def test_a_load_that_fails_leaves_what_is_served_as_it_was(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1", "cats/2"), opener, max_versions=2)
    before = [served.get("cats", "1"), served.get("cats", "2")]
    put(tmp_path, "cats/3")
    opener.broken["cats/2"] = BundleError("damaged")
    with pytest.raises(BundleError, match="version 2"):
        served.load("cats")
    assert [served.get("cats", "1"), served.get("cats", "2")] == before
    assert opener.open_now() == ["cats/1", "cats/2"]
    assert states(served) == {"cats/1": State.READY, "cats/2": State.READY, "cats/3": State.UNAVAILABLE}
    with pytest.raises(NotReady, match="another version of the model failed to load"):
        served.get("cats", "3")


def test_a_version_that_fails_to_load_is_unavailable_for_a_reason(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1"), opener)
    put(tmp_path, "cats/2")
    opener.broken["cats/2"] = BundleError("damaged")
    with pytest.raises(BundleError):
        served.load("cats")
    assert served.get("cats").version == 1
    failed = served.index()[1]
    assert (failed.version, failed.state) == (2, State.UNAVAILABLE)
    assert "damaged" in failed.reason


def test_an_unforeseen_failure_leaves_no_version_loading(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1"), opener)
    put(tmp_path, "cats/2")
    opener.broken["cats/2"] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        served.load("cats")
    assert states(served) == {"cats/1": State.READY, "cats/2": State.UNAVAILABLE}


def test_a_version_that_is_gone_from_the_disk_goes_with_the_next_load(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1", "cats/2"), opener)
    shutil.rmtree(tmp_path / "cats/2")
    assert served.get("cats").version == 2
    served.load("cats")
    assert states(served) == {"cats/1": State.READY}
    assert opener.open_now() == ["cats/1"]


def test_a_new_model_can_be_loaded_and_an_unknown_one_cannot(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1"), opener)
    put(tmp_path, "dogs/4")
    served.load("dogs")
    assert [one.name for one in served.servables()] == ["cats", "dogs"]
    with pytest.raises(NotFound, match="no model 'owls' in"):
        served.load("owls")


def test_an_unloaded_model_is_unavailable_until_it_is_loaded_again(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1", "dogs/1"), opener)
    served.unload("cats")
    with pytest.raises(NotReady, match="model 'cats' version 1 is UNAVAILABLE: unloaded"):
        served.get("cats")
    assert opener.open_now() == ["dogs/1"]
    assert states(served) == {"cats/1": State.UNAVAILABLE, "dogs/1": State.READY}
    served.load("cats")
    assert served.get("cats").version == 1


def test_a_model_is_unloading_while_it_answers_what_it_has_accepted(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1"), opener)
    closing, may_close = threading.Event(), threading.Event()

    def close() -> None:
        closing.set()
        assert may_close.wait(20)

    opener.opened[0].close = close  # type: ignore[method-assign]  # a servable with work in hand
    unload = threading.Thread(target=served.unload, args=("cats",))
    unload.start()
    assert closing.wait(20)
    assert states(served) == {"cats/1": State.UNLOADING}
    with pytest.raises(NotReady, match="UNLOADING"):
        served.get("cats")
    may_close.set()
    unload.join(20)
    assert states(served) == {"cats/1": State.UNAVAILABLE}


def test_unloading_what_does_not_exist_is_an_error(tmp_path: Path, opener: Opener) -> None:
    with pytest.raises(NotFound, match="unknown model 'dogs'; this server has 'cats'"):
        repository(put(tmp_path, "cats/1"), opener).unload("dogs")


def test_closing_lets_go_of_everything(tmp_path: Path, opener: Opener) -> None:
    served = repository(put(tmp_path, "cats/1", "dogs/1"), opener)
    served.close()
    assert opener.open_now() == []
    with pytest.raises(NotReady, match="the server is stopping"):
        served.get("cats")


def test_one_bundle_can_be_loaded_anew(tmp_path: Path, opener: Opener) -> None:
    make_bundle(tmp_path / "bundle")
    served = repository(tmp_path / "bundle", opener)
    make_bundle(tmp_path / "bundle", seed=7)
    served.load("animals")
    assert states(served) == {"animals/1": State.READY}
    assert opener.open_now() == ["animals/1"]
