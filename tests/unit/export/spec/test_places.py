"""Where an export may write, on real folders."""

import os
from pathlib import Path

import pytest
from widedeep.export.spec.places import bundle_place, check_file
from widedeep.export.spec.problems import SpecError
from widedeep.export.spec.schema import Sheet, read_spec

LEAST = 'name = "churn"\n[data]\nheld_out = "rows.csv"\ntarget = "y"\n[members.m]\nfile = "m.onnx"\n'


def sheet(folder: Path, output: str = "") -> Sheet:
    (folder / "spec.toml").write_text(output + LEAST)
    return read_spec(folder / "spec.toml")


def test_a_new_folder_and_one_that_holds_a_bundle_or_nothing_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "bundle.json").write_text("{}")
    for name in ("new/1", "empty", "old"):
        assert bundle_place(sheet(tmp_path), tmp_path / name) == tmp_path / name
    assert bundle_place(sheet(tmp_path), None) == tmp_path / "models" / "churn" / "1"


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "models" / "churn").mkdir(parents=True)
    with pytest.raises(SpecError, match=r"^--output: .*models holds other things than a bundle"):
        bundle_place(sheet(tmp_path), tmp_path / "models")
    with pytest.raises(SpecError, match=r"spec\.toml:1: output: .*models holds other things than a bundle"):
        bundle_place(sheet(tmp_path, 'output = "models"\n'), None)


def test_a_file_is_no_place_for_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(SpecError, match=r"--output: .*models is a file; expected the bundle's folder"):
        bundle_place(sheet(tmp_path), tmp_path / "models")
    with pytest.raises(SpecError, match=r"output: .*churn/1 cannot be written: .*models is a file"):
        bundle_place(sheet(tmp_path), None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_named(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o555)
    with pytest.raises(SpecError, match=r"cannot be written: .*shut is read-only"):
        bundle_place(sheet(tmp_path), tmp_path / "shut" / "churn" / "1")


def test_a_folder_is_no_place_for_a_fused_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--fused: .* is a folder; expected the ONNX file to write"):
        check_file(tmp_path)
    check_file(tmp_path / "new" / "ensemble.onnx")
