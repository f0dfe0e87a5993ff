import sys
from pathlib import Path

import pytest
from widedeep.serving.contract.errors import ConfigurationError, StorageError
from widedeep.serving.remote.storage import Brake, Stopped, Storage, find_files, part_bytes


def test_files_are_put_listed_read_and_removed_by_relative_names(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    sent: list[int] = []
    storage = Storage.open("memory://shelf/model").at("1")
    storage.put("members/a.onnx", tmp_path / "file", sent.append)
    assert {name: file.size for name, file in storage.list().items()} == {"members/a.onnx": 10}
    assert storage.read("members/a.onnx", 2, 5) == b"234"
    storage.remove(["members/a.onnx"])
    assert storage.list() == {}


def test_a_folder_beside_with_a_longer_name_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    Storage.open("memory://beside/10").put("bundle.json", tmp_path / "file", lambda _: None)
    assert Storage.open("memory://beside/1").list() == {}


def test_what_is_missing_is_not_there_rather_than_unreachable() -> None:
    with pytest.raises(FileNotFoundError):
        Storage.open("memory://nothing").read("bundle.json")


def test_a_refusal_names_the_url_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    storage = Storage.open(f"file://{tmp_path}")
    with pytest.raises(StorageError, match=r"cannot read folder: IsADirectoryError"):
        storage.read("folder")


def test_a_url_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="may hold no password") as caught:
        find_files("s3://key:hush-hush@bucket/models")
    assert "hush" not in str(caught.value)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        find_files("nowhere://bucket/models")


@pytest.mark.parametrize(("scheme", "library", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gs")])
def test_a_missing_library_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, scheme: str, library: str, extra: str
) -> None:
    from fsspec.registry import _registry

    monkeypatch.setitem(sys.modules, library, None)
    for name in (scheme, "s3a", "gcs"):
        monkeypatch.delitem(_registry, name, raising=False)
    with pytest.raises(ConfigurationError, match=rf"widedeep\[{extra}\]"):
        find_files(f"{scheme}://bucket/models")


def test_parts_grow_so_that_there_are_ten_thousand_at_most() -> None:
    assert part_bytes(1) == 8 << 20
    assert -(-(1 << 40) // part_bytes(1 << 40)) <= 10_000


def test_a_brake_ends_what_goes_on() -> None:
    brake = Brake()
    brake.check()
    brake.pull()
    with pytest.raises(Stopped):
        brake.check()
