"""A bundle that was sent to a machine: real folders, several processes at once."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_ensembles import text_labels, two_classes
from widedeep.serving.batch.engines.shipping import BundleAddress, BundleMissing, bundle_here
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.errors import BundleError

# Fetches the bundle of the first argument from the folder of the second, counting in the file of the third.
PROCESS = """
import shutil, sys, time
from pathlib import Path
from widedeep.serving.batch.engines.shipping import BundleAddress, bundle_here
def fetch(folder):
    with open(sys.argv[3], "a") as log:
        log.write("x")
    time.sleep(0.3)
    shutil.copytree(sys.argv[2], folder, dirs_exist_ok=True)
print(bundle_here(BundleAddress("/nowhere", "1", sys.argv[1]), fetch))
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder for temporary files."""
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def bundle(folder: Path, make: Callable[[Path], Any] = text_labels) -> tuple[Path, BundleAddress]:
    """Write a bundle; return its folder, and its address on a machine that does not see it."""
    folder.mkdir()
    make(folder / "1")
    return folder / "1", BundleAddress("/nowhere", "1", read_bundle(folder / "1").digest)


def copy_of(path: Path) -> Callable[[Path], None]:
    def fetch(folder: Path) -> None:
        shutil.copytree(path, folder, dirs_exist_ok=True)

    return fetch


def never(_: Path) -> None:
    raise AssertionError("fetched once more")


def test_a_bundle_at_its_path_is_taken_as_it_is(tmp_path: Path, shelf: Path) -> None:
    path, _ = bundle(tmp_path / "a")
    assert bundle_here(BundleAddress.of(str(path)), never) == str(path)


def test_another_bundle_at_that_path_is_not_taken(tmp_path: Path, shelf: Path) -> None:
    path, _ = bundle(tmp_path / "a")
    other, _ = bundle(tmp_path / "b", two_classes)
    address = BundleAddress(str(other), "1", read_bundle(path).digest)
    assert read_bundle(Path(bundle_here(address, copy_of(path)))).digest == address.digest


def test_a_machine_that_lacks_it_and_was_not_sent_it_says_so(tmp_path: Path, shelf: Path) -> None:
    _, address = bundle(tmp_path / "a")
    with pytest.raises(BundleMissing, match=r"/nowhere: expected the bundle with digest [0-9a-f]{64} on this machine"):
        bundle_here(address, None)


def test_a_bundle_is_fetched_once_and_is_of_this_user_alone(tmp_path: Path, shelf: Path) -> None:
    path, address = bundle(tmp_path / "a")
    place = Path(bundle_here(address, copy_of(path)))
    assert bundle_here(address, never) == str(place)
    assert [folder.stat().st_mode & 0o777 for folder in (place.parents[1], place.parents[2])] == [0o700, 0o700]
    assert read_bundle(place).digest == address.digest


def test_processes_that_come_at_once_fetch_it_once(tmp_path: Path, shelf: Path) -> None:
    path, address = bundle(tmp_path / "a")
    log = tmp_path / "log"
    command = [sys.executable, "-c", PROCESS, address.digest, str(path), str(log)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in running}) == 1
    assert [process.returncode for process in running] == [0] * 4
    assert log.read_text() == "x"


def test_what_was_damaged_on_the_way_is_refused_and_fetched_anew(tmp_path: Path, shelf: Path) -> None:
    path, address = bundle(tmp_path / "a")

    def damaged(folder: Path) -> None:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        (folder / "samples.npz").write_bytes(b"")

    with pytest.raises(BundleError, match=r"samples\.npz has changed"):
        bundle_here(address, damaged)
    assert read_bundle(Path(bundle_here(address, copy_of(path)))).digest == address.digest


def test_a_bundle_that_no_process_uses_goes_when_another_comes(tmp_path: Path, shelf: Path) -> None:
    old, old_address = bundle(tmp_path / "old", two_classes)
    command = [sys.executable, "-c", PROCESS, old_address.digest, str(old), str(tmp_path / "log")]
    place = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    assert place.is_dir()
    (place.parents[1] / f"{'0' * 64}.new").mkdir()
    path, address = bundle(tmp_path / "a")
    kept = Path(bundle_here(address, copy_of(path)))
    assert sorted(entry.name for entry in kept.parents[1].iterdir() if entry.suffix != ".lock") == [address.digest]


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, shelf: Path) -> None:
    path, address = bundle(tmp_path / "a")
    place = Path(bundle_here(address, copy_of(path)))
    place.parents[1].chmod(0o777)
    other, other_address = bundle(tmp_path / "b", two_classes)
    with pytest.raises(BundleError, match="expected a folder of this user's alone"):
        bundle_here(other_address, copy_of(other))
