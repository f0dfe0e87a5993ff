from pathlib import Path

import pytest
from small_bundle import make_bundle
from widedeep.serving.contract.errors import NotFound
from widedeep.serving.remote.layout import choose, local_places, places


def test_a_bundle_a_model_and_a_repository_are_found_by_their_descriptions() -> None:
    assert places(["bundle.json", "members/deep.onnx"]) == [""]
    assert places(["10/bundle.json", "9/bundle.json", "9/samples.npz"]) == ["9", "10"]
    assert places(["b/1/bundle.json", "a/2/bundle.json"]) == ["a/2", "b/1"]


@pytest.mark.parametrize(
    "name",
    ["../1/bundle.json", "a/../bundle.json", "/1/bundle.json", ".hidden/1/bundle.json", "a/01/bundle.json"],
)
def test_what_is_no_model_or_version_is_passed_over(name: str) -> None:
    assert places([name]) == []


def test_places_on_disk_are_those_of_the_store(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals" / "1")
    (tmp_path / "animals" / "2").mkdir()
    assert local_places(tmp_path) == ["animals/1"]
    assert local_places(tmp_path / "animals" / "1") == [""]


def test_the_latest_version_is_the_greatest_number() -> None:
    assert choose(["9", "10"], "latest", "s3://b/m") == "10"
    assert choose(["9", "10"], "9", "s3://b/m") == "9"


def test_a_version_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(NotFound, match="no version '3'; it has 9, 10"):
        choose(["9", "10"], "3", "s3://b/m")


def test_a_version_is_chosen_of_one_model_only() -> None:
    with pytest.raises(NotFound, match="this is none"):
        choose(["a/1"], "1", "s3://b")
