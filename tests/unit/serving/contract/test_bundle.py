import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bundle import make_bundle
from widedeep.serving.contract.bundle import FORMAT, read_bundle, read_samples, write_bundle
from widedeep.serving.contract.errors import BundleError


@pytest.fixture
def bundle(bundle_path: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(bundle_path, tmp_path / "copy"))


@pytest.fixture(scope="module")
def fused_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a fused graph, not to be changed."""
    path = tmp_path_factory.mktemp("fused") / "animals"
    make_bundle(path, fused=True)
    return path


@pytest.fixture
def fused(fused_path: Path, tmp_path: Path) -> Path:
    """A copy of the bundle with a fused graph that the test may damage."""
    return Path(shutil.copytree(fused_path, tmp_path / "copy"))


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((path / "bundle.json").read_text())
    change(data)
    (path / "bundle.json").write_text(json.dumps(data))


def test_a_bundle_reads_back_as_written(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert [member.name for member in read.members] == ["deep", "wide"]
    assert read.classes == ("cat", "dog", "owl")
    assert [spec.name for spec in read.outputs] == ["probabilities", "label"]
    assert [spec.name for spec in read.score_outputs] == ["scores/deep", "scores/wide"]


def test_samples_read_back_with_strings_as_objects(bundle: Path) -> None:
    samples = read_samples(bundle)
    assert samples.inputs["image"].shape == (5, 2, 4)
    assert samples.outputs["label"].dtype == object
    assert set(samples.outputs["label"].ravel()) <= {"cat", "dog", "owl"}


def test_a_changed_file_is_refused_by_name(bundle: Path) -> None:
    with (bundle / "members/wide.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"members/wide.onnx has changed: expected SHA-256 \w{64}, got \w{64}"):
        read_bundle(bundle)


def test_a_missing_file_is_refused_by_name(bundle: Path) -> None:
    (bundle / "samples.npz").unlink()
    with pytest.raises(BundleError, match=r"samples.npz is missing"):
        read_bundle(bundle)


def test_an_unlisted_file_is_refused_by_name(bundle: Path) -> None:
    (bundle / "members/notes.txt").write_text("hello")
    with pytest.raises(BundleError, match=r"members/notes.txt is not listed"):
        read_bundle(bundle)


def test_a_symlink_is_refused_even_to_the_right_bytes(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "members/wide.onnx", tmp_path / "elsewhere")
    (bundle / "members/wide.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"wide.onnx is a symlink"):
        read_bundle(bundle)


def test_a_pipe_is_refused_instead_of_waited_for(bundle: Path) -> None:
    (bundle / "members/wide.onnx").unlink()
    os.mkfifo(bundle / "members/wide.onnx")
    with pytest.raises(BundleError, match=r"wide.onnx is no plain file"):
        read_bundle(bundle)


def test_a_newer_major_format_is_refused(bundle: Path) -> None:
    edit(bundle, lambda data: data.update(format="2.0"))
    with pytest.raises(BundleError, match=r"format 2.0 is newer than 1"):
        read_bundle(bundle)


def test_unknown_keys_and_newer_minor_formats_are_ignored(bundle: Path) -> None:
    edit(bundle, lambda data: data.update(format="1.9", added_later={"x": 1}))
    assert read_bundle(bundle).name == "animals"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("inputs"), "KeyError: 'inputs'"),
        (lambda d: d.update(name="../evil"), "bundle name"),
        (lambda d: d["members"][0].update(file="../../etc/passwd"), "expected its file at members/deep.onnx"),
        (lambda d: d["members"][0].update(name="../x", file="members/../x.onnx"), "member name"),
        (lambda d: d["members"][1].update(name="deep", file="members/deep.onnx"), "member names must be unique"),
        (lambda d: d["members"][0].update(inputs=["sound"]), r"takes inputs \['sound'\]"),
        (lambda d: d.update(classes=["cat", "dog"]), "2 classes for a classification with 3 outputs"),
        (lambda d: d.update(classes=["cat", "dog", 1]), "all strings or all integers"),
        (lambda d: d.update(classes=[1, 2, 1 << 63]), "all integers of 64 bits"),
        (lambda d: d.update(n_outputs=0, classes=[]), "classification with 0 outputs: expected 2 to"),
        (lambda d: d.update(n_outputs=1, classes=["cat"]), "classification with 1 outputs: expected 2 to"),
        (lambda d: d.update(task="regression", n_outputs=10**15, classes=[]), r"expected 1 to 1048576"),
        (lambda d: d.update(n_outputs=float("inf")), "OverflowError"),
        (lambda d: d["combiner"].update(weights=[1.0]), "combiner of 1 members in a bundle of 2"),
        (lambda d: d.update(evidence={"../x": "0"}), "expected a plain file name"),
        (lambda d: d.update(task="ranking"), "task 'ranking': expected one of classification, regression"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(bundle: Path, change: Any, message: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=message):
        read_bundle(bundle)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "x"}', "[" * 100_000], ids=lambda text: text[:9])
def test_a_description_that_is_no_json_object_is_refused(bundle: Path, text: str) -> None:
    (bundle / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle.json"):
        read_bundle(bundle)


def test_text_that_no_message_can_carry_is_refused(bundle: Path) -> None:
    edit(bundle, lambda data: data.update(classes=["cat", "dog", "\ud800"]))
    with pytest.raises(BundleError, match=r"bundle.json is not JSON: .*surrogates not allowed"):
        read_bundle(bundle)


def test_a_folder_without_description_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        read_bundle(tmp_path)


def test_writing_again_replaces_the_bundle_and_leaves_nothing_behind(bundle: Path) -> None:
    read = read_bundle(bundle)
    graphs = {member.name: (bundle / member.file).read_bytes() for member in read.members}
    written = write_bundle(bundle, read, graphs, read_samples(bundle), {"history.json": b"{}"})
    assert written.digest != read.digest
    assert (bundle / "evidence/history.json").read_bytes() == b"{}"
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["copy"]


def test_the_same_content_gives_the_same_digest(bundle: Path, tmp_path: Path) -> None:
    read = read_bundle(bundle)
    graphs = {member.name: (bundle / member.file).read_bytes() for member in read.members}
    assert write_bundle(tmp_path / "again", read, graphs, read_samples(bundle)).digest == read.digest


def test_a_failed_write_leaves_the_old_bundle(bundle: Path) -> None:
    read = read_bundle(bundle)
    with pytest.raises(KeyError):
        write_bundle(bundle, read, {"deep": b""}, read_samples(bundle))
    assert read_bundle(bundle).digest == read.digest
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["copy"]


def flip_a_byte(data: bytes) -> bytes:
    return data[:150] + bytes([data[150] ^ 255]) + data[151:]


def one_array(_: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize("change", [flip_a_byte, one_array, lambda data: data[:200], lambda _: b"", lambda _: b"text"])
def test_samples_that_are_no_archive_are_refused_by_name(bundle: Path, change: Callable[[bytes], bytes]) -> None:
    data = (bundle / "samples.npz").read_bytes()
    (bundle / "samples.npz").write_bytes(change(data))
    with pytest.raises(BundleError, match=r"samples\.npz cannot be read: "):
        read_samples(bundle)


def test_samples_hold_no_pickle(bundle: Path) -> None:
    with np.load(bundle / "samples.npz", allow_pickle=False) as archive:
        assert all(archive[key].dtype != object for key in archive.files)


def test_a_certificate_with_sizes_of_other_outputs_is_refused(bundle: Path) -> None:
    edit(bundle, lambda data: data["members"][0]["certificate"].update(sizes=[1.0, 1.0]))
    with pytest.raises(BundleError, match="member 'deep': its certificate states 2 sizes for 3 outputs"):
        read_bundle(bundle)


@pytest.mark.parametrize("what", ["a folder of other things", "a file"])
def test_nothing_but_a_bundle_is_replaced(bundle: Path, tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    if what == "a file":
        place.write_text("mine")
    else:
        (place / "model").mkdir(parents=True)
    read = read_bundle(bundle)
    graphs = {member.name: (bundle / member.file).read_bytes() for member in read.members}
    with pytest.raises(BundleError, match=rf"{place} (holds other things than a bundle|is a file)"):
        write_bundle(place, read, graphs, read_samples(bundle))
    assert place.read_text() == "mine" if what == "a file" else (place / "model").is_dir()


def test_a_fused_graph_reads_back_as_written(fused: Path) -> None:
    bundle = read_bundle(fused)
    assert bundle.fused is not None
    assert (bundle.fused.file, bundle.fused.members) == ("fused.onnx", ("deep", "wide"))
    assert bundle.fused.inputs == ("image", "tabular")
    assert bundle.fused.opset == {"": 17}
    graphs = {member.name: (fused / member.file).read_bytes() for member in bundle.members}
    one = (fused / "fused.onnx").read_bytes()
    again = write_bundle(fused, bundle, graphs, read_samples(fused), fused=one)
    assert (again.digest, again.fused) == (bundle.digest, bundle.fused)


def test_a_bundle_of_the_format_before_fused_graphs_is_read(bundle: Path) -> None:
    assert FORMAT == (1, 1)
    edit(bundle, lambda data: data.update(format="1.0"))
    assert "fused" not in json.loads((bundle / "bundle.json").read_text())
    assert read_bundle(bundle).fused is None


def test_a_changed_fused_graph_is_refused_by_name(fused: Path) -> None:
    with (fused / "fused.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"fused\.onnx has changed: expected SHA-256"):
        read_bundle(fused)


def test_a_missing_fused_graph_is_refused_by_name(fused: Path) -> None:
    (fused / "fused.onnx").unlink()
    with pytest.raises(BundleError, match=r"fused\.onnx is missing"):
        read_bundle(fused)


def test_a_fused_graph_that_is_not_listed_is_refused_by_name(fused: Path) -> None:
    edit(fused, lambda data: data.pop("fused"))
    with pytest.raises(BundleError, match=r"fused\.onnx is not listed"):
        read_bundle(fused)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["fused"].update(members=["wide", "deep"]),
            r"fused graph of \['wide', 'deep'\]; ",
        ),
        (
            lambda d: d["fused"].update(members=["deep"]),
            r"graph of \['deep'\]; the combiner uses \['deep', 'wide'\]",
        ),
        (lambda d: d["combiner"].update(weights=[0.0, 1.0]), r"the combiner uses \['wide'\]"),
        (lambda d: d["combiner"].update(weights=[0.0, 0.0]), "whose combiner uses no member"),
        (lambda d: d["fused"].update(inputs=["image"]), r"inputs \['image'\]; its members take \['image', 'tabular'\]"),
        (lambda d: d["fused"].update(inputs=["image", "sound"]), r"takes inputs \['image', 'sound'\]"),
        (lambda d: d["fused"].update(file="members/deep.onnx"), "expected its file at fused.onnx"),
        (lambda d: d["fused"]["certificate"].update(sizes=[1.0]), "fused graph: its certificate states 1 sizes for 3"),
        (lambda d: d["fused"].pop("opset"), "KeyError: 'opset'"),
        (lambda d: d.update(fused={}), "KeyError: 'members'"),
    ],
)
def test_a_fused_graph_of_another_ensemble_is_refused(fused: Path, change: Any, message: str) -> None:
    edit(fused, change)
    with pytest.raises(BundleError, match=message):
        read_bundle(fused)


def test_a_fused_graph_is_written_with_its_description_or_not_at_all(fused: Path, tmp_path: Path) -> None:
    bundle, samples = read_bundle(fused), read_samples(fused)
    graphs = {member.name: (fused / member.file).read_bytes() for member in bundle.members}
    with pytest.raises(BundleError, match=r"fused\.onnx is missing"):
        write_bundle(tmp_path / "new", bundle, graphs, samples)
    with pytest.raises(BundleError, match=r"fused\.onnx is not listed"):
        write_bundle(tmp_path / "new", replace(bundle, fused=None), graphs, samples, fused=b"graph")
    assert not (tmp_path / "new").exists()


def test_evidence_may_have_the_name_of_the_fused_graph(fused: Path) -> None:
    bundle = read_bundle(fused)
    graphs = {member.name: (fused / member.file).read_bytes() for member in bundle.members}
    one = (fused / "fused.onnx").read_bytes()
    written = write_bundle(fused, bundle, graphs, read_samples(fused), {"fused.onnx": b"note"}, fused=one)
    assert written.evidence["fused.onnx"] != (written.fused and written.fused.sha256)
