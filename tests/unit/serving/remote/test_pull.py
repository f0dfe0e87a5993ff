"""Push and pull between folders and fsspec's store in memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_bundle import make_bundle
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.errors import BundleError, NotFound, StorageError
from widedeep.serving.remote.download import pull_bundle
from widedeep.serving.remote.storage import Storage
from widedeep.serving.remote.upload import push_bundle


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage.open(f"memory://{tmp_path.name}/animals/1")


def write(storage: Storage, name: str, data: bytes) -> None:
    storage.files.pipe_file(f"{storage.root}/{name}", data)


def test_what_was_pushed_comes_back_the_same(bundle_path: Path, store: Storage, tmp_path: Path) -> None:
    pushed = push_bundle(bundle_path, store)
    pulled = pull_bundle(store, tmp_path / "out")
    assert read_bundle(tmp_path / "out").digest == pushed.digest == pulled.digest
    assert pulled.moved == pulled.size == pushed.size
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_pulling_again_moves_nothing(bundle_path: Path, store: Storage, tmp_path: Path) -> None:
    push_bundle(bundle_path, store)
    pull_bundle(store, tmp_path / "out")
    assert pull_bundle(store, tmp_path / "out").moved == 0


def test_a_damaged_copy_is_brought_anew(bundle_path: Path, store: Storage, tmp_path: Path) -> None:
    push_bundle(bundle_path, store)
    pull_bundle(store, tmp_path / "out")
    (tmp_path / "out" / "samples.npz").write_bytes(b"gone bad")
    pull_bundle(store, tmp_path / "out")
    read_bundle(tmp_path / "out")


def test_another_bundle_is_replaced_only_by_force(bundle_path: Path, tmp_path: Path, store: Storage) -> None:
    push_bundle(bundle_path, store)
    other = make_bundle(tmp_path / "other", seed=7)
    with pytest.raises(BundleError, match=r"holds another bundle.*--force"):
        pull_bundle(store, tmp_path / "other")
    assert read_bundle(tmp_path / "other").digest == other.digest
    pull_bundle(store, tmp_path / "other", force=True)
    assert read_bundle(tmp_path / "other").digest == read_bundle(bundle_path).digest


def test_a_pushed_version_is_replaced_only_by_force(bundle_path: Path, tmp_path: Path, store: Storage) -> None:
    push_bundle(bundle_path, store)
    other = make_bundle(tmp_path / "other", seed=7)
    with pytest.raises(BundleError, match=r"holds another bundle.*--force"):
        push_bundle(tmp_path / "other", store)
    push_bundle(tmp_path / "other", store, force=True)
    assert pull_bundle(store, tmp_path / "out").digest == other.digest


def test_files_that_the_new_bundle_lacks_leave_the_store(bundle_path: Path, store: Storage) -> None:
    write(store, "members/old.onnx", b"left behind")
    push_bundle(bundle_path, store)
    assert "members/old.onnx" not in store.list()


def test_a_bundle_is_not_pushed_among_other_things(bundle_path: Path, store: Storage) -> None:
    write(store, "notes/thesis.tex", b"precious")
    with pytest.raises(BundleError, match=r"holds other things than a bundle, such as notes"):
        push_bundle(bundle_path, store, force=True)
    assert set(store.list()) == {"notes/thesis.tex"}


@pytest.mark.parametrize("model", ["members", "evidence"])
def test_a_bundle_is_not_pushed_over_a_repository_whose_models_are_called_like_its_folders(
    bundle_path: Path, store: Storage, model: str
) -> None:
    push_bundle(bundle_path, store.at(f"{model}/1"))
    before = set(store.list())
    with pytest.raises(BundleError, match=rf"holds other things than a bundle, such as {model}/1/"):
        push_bundle(bundle_path, store, force=True)
    assert set(store.list()) == before


def test_what_came_to_the_target_during_the_pull_is_not_replaced(
    bundle_path: Path, store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_bundle(bundle_path, store)
    read = type(store.files).cat_file

    def write_meanwhile(files: Any, path: str, **options: Any) -> bytes:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "thesis.tex").write_text("precious")
        return bytes(read(files, path, **options))

    monkeypatch.setattr(type(store.files), "cat_file", write_meanwhile)
    with pytest.raises(BundleError, match="only a bundle is replaced"):
        pull_bundle(store, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_a_bundle_is_not_pulled_over_other_things(bundle_path: Path, store: Storage, tmp_path: Path) -> None:
    push_bundle(bundle_path, store)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(BundleError, match="only a bundle is replaced"):
        pull_bundle(store, tmp_path / "out", force=True)


def test_a_damaged_bundle_is_not_pushed(tmp_path: Path, store: Storage) -> None:
    make_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "members" / "deep.onnx").write_bytes(b"not the graph")
    with pytest.raises(BundleError, match=r"deep\.onnx has changed"):
        push_bundle(tmp_path / "bundle", store)
    assert store.list() == {}


def test_what_the_store_damages_never_becomes_a_version(
    bundle_path: Path, store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = type(store.files).put_file

    def damage(files: Any, local: str, remote: str, **options: Any) -> None:
        put(files, local, remote, **options)
        if remote.endswith("wide.onnx"):
            files.pipe_file(remote, bytes(Path(local).stat().st_size))

    monkeypatch.setattr(type(store.files), "put_file", damage)
    with pytest.raises(StorageError, match=r"wide\.onnx is not what was sent"):
        push_bundle(bundle_path, store)
    assert "bundle.json" not in store.list()


def test_a_damaged_file_is_refused_and_nothing_appears(bundle_path: Path, store: Storage, tmp_path: Path) -> None:
    push_bundle(bundle_path, store)
    size = store.list()["members/wide.onnx"].size
    write(store, "members/wide.onnx", bytes(size))
    with pytest.raises(BundleError, match=r"animals/1: members/wide\.onnx is damaged: expected SHA-256"):
        pull_bundle(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_missing_in_the_store_is_named(bundle_path: Path, store: Storage, tmp_path: Path) -> None:
    push_bundle(bundle_path, store)
    store.remove(["members/wide.onnx"])
    with pytest.raises(BundleError, match=r"members/wide\.onnx is missing"):
        pull_bundle(store, tmp_path / "out")


def test_a_bundle_replaced_during_the_pull_is_pulled_as_it_is_then(
    bundle_path: Path, store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_bundle(bundle_path, store)
    other = make_bundle(tmp_path / "other", seed=7)
    read = type(store.files).cat_file
    others: list[str] = []

    def replace_first(files: Any, path: str, **options: Any) -> bytes:
        if path.endswith(".onnx") and not others:
            others.append(path)
            push_bundle(tmp_path / "other", store, force=True)
        return bytes(read(files, path, **options))

    monkeypatch.setattr(type(store.files), "cat_file", replace_first)
    assert pull_bundle(store, tmp_path / "out").digest == other.digest
    read_bundle(tmp_path / "out")


def test_where_there_is_no_bundle_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"has no bundle\.json"):
        pull_bundle(Storage.open("memory://nothing/here"), tmp_path / "out")


@pytest.mark.parametrize("name", ["../../escape", "/etc/escape", "a\\b", "..", "", "new\nline"])
def test_a_description_that_leads_out_of_its_folder_is_refused(
    bundle_path: Path, store: Storage, tmp_path: Path, name: str
) -> None:
    push_bundle(bundle_path, store)
    described = json.loads(store.read("bundle.json"))
    described["evidence"] = {name: "0" * 64}
    write(store, "bundle.json", json.dumps(described).encode())
    with pytest.raises(BundleError, match="expected a plain file name"):
        pull_bundle(store, tmp_path / "deep" / "out")
    assert not [path for path in tmp_path.rglob("*escape*") if path.is_file()]
    assert not (tmp_path / "deep" / "out").exists()


def test_between_folders_a_push_is_one_rename(bundle_path: Path, tmp_path: Path) -> None:
    local = Storage.open(str(tmp_path / "shelf" / "1"))
    push_bundle(bundle_path, local)
    assert read_bundle(tmp_path / "shelf" / "1").digest == read_bundle(bundle_path).digest
    assert [path.name for path in (tmp_path / "shelf").iterdir()] == ["1"]
