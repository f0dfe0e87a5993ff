from pathlib import Path

import pytest
from report_evidence import evidence_of
from small_bundle import softmax_graph
from widedeep.export.report.cli import report
from widedeep.serving.contract.bundle import Samples, read_bundle, write_bundle
from widedeep.serving.contract.errors import BundleError, ConfigurationError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    graph = softmax_graph("tabular", (3,), 3, 0)
    path = tmp_path / "animals" / "1"
    write_bundle(path, evidence_of().bundle, {"deep_0": graph, "wide_1": graph}, Samples({}, {}))
    return path


def test_the_file_is_written_whole_and_replaces_an_older_one(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.html"
    file.write_text("old")

    assert report([str(bundle), "--output", str(file)]) == 0

    assert file.read_text().startswith("<!DOCTYPE html>")
    assert str(file) in capsys.readouterr().out
    assert sorted(place.name for place in tmp_path.iterdir()) == ["animals", "out.html"]


def test_a_file_inside_the_bundle_would_spoil_it_and_is_refused(bundle: Path) -> None:
    with pytest.raises(ConfigurationError, match="no other files"):
        report([str(bundle), "--output", str(bundle / "evidence.html")])

    read_bundle(bundle)


@pytest.mark.parametrize(("name", "words"), [("animals", "is a folder"), ("none/out.html", "there is no folder")])
def test_a_place_that_cannot_hold_the_file_is_refused(bundle: Path, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        report([str(bundle), "--output", str(tmp_path / name)])


def test_what_is_no_bundle_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        report([str(tmp_path / "nothing"), "--output", str(tmp_path / "out.html")])

    assert not list(tmp_path.iterdir())
