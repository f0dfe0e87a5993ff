"""What an export file may say, and how it is told what is wrong with it."""

from pathlib import Path

import pytest
from widedeep.export.spec.problems import SpecError
from widedeep.export.spec.reference import key_table
from widedeep.export.spec.schema import Place, read_spec

LEAST = """name = "churn"
[data]
held_out = "rows.parquet"
target = "churned"
[members.trees]
file = "trees.ubj"
"""
DOCUMENT = Path(__file__).parents[4] / "docs" / "export_spec.md"


def write(folder: Path, text: str) -> Path:
    path = folder / "churn.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    sheet = read_spec(write(tmp_path, LEAST))
    assert sheet.resolve("models/deep.keras") == tmp_path / "models" / "deep.keras"
    assert sheet.output == tmp_path / "models" / "churn" / "1"


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ('target = "churned"', Place(file=None, columns=("churned",))),
        ('target = ["a", "b"]', Place(file=None, columns=("a", "b"))),
        ('target = {file = "y.npy"}', Place(file="y.npy", columns=())),
    ],
)
def test_a_target_is_a_column_several_or_a_file(tmp_path: Path, key: str, place: Place) -> None:
    sheet = read_spec(write(tmp_path, LEAST.replace('target = "churned"', key)))
    assert sheet.spec.data.target == place


def test_scores_given_as_text_are_a_file(tmp_path: Path) -> None:
    sheet = read_spec(write(tmp_path, LEAST + 'scores = "oof.npz"'))
    assert sheet.spec.members["trees"].scores == Place(file="oof.npz", columns=())


def test_members_keep_the_order_of_the_file(tmp_path: Path) -> None:
    sheet = read_spec(write(tmp_path, LEAST + '[members.deep]\nfile = "a.keras"\n[members.also]\nfile = "b.keras"'))
    assert list(sheet.spec.members) == ["trees", "deep", "also"]


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("int_8 = true", ":7: [members.trees] int_8: unknown key; did you mean 'int8'?"),
        ("zzz = 1", ":7: [members.trees] zzz: unknown key; expected one of file, format, inputs, "),
        ("[ensembl]", ":7: [ensembl]: unknown key; did you mean 'ensemble'?"),
        ("[ensemble]\nfold = 3", ":8: [ensemble] fold: unknown key; did you mean 'folds'?"),
        ("[ensemble]\n\nfolds = 1", ":9: [ensemble] folds: expected greater than or equal to 2, got 1"),
        ('scores = {fil = "a"}', ":7: [members.trees] scores.fil: unknown key; did you mean 'file'?"),
        ("rounds = 0", ":7: [members.trees] rounds: expected greater than or equal to 1, got 0"),
        ("int8 = 1", ":7: [members.trees] int8: expected a valid boolean, got 1"),
        ('trusted = "a.B"', ":7: [members.trees] trusted: expected a valid array, got 'a.B'"),
        ("inputs = [1]", ":7: [members.trees] inputs.0: expected a valid string, got 1"),
        ('[inputs.x]\ndtype = "float"', ":8: [inputs.x] dtype: expected 'float16', 'float32', "),
        ("[inputs.x]\nsize = [8]", ":7: [inputs.x]: size: expected [height, width]"),
        ('[inputs.x]\nfolder = "a"', ":7: [inputs.x]: `folder` and `files` go together"),
        ("[inputs]\nx = 1", ":8: [inputs] x: expected a valid table, got 1"),
        ("[members.deep]", ":7: [members.deep] file: is missing"),
        ("= 1", " is no TOML: "),
    ],
)
def test_a_wrong_key_is_named_with_file_line_section_and_what_is_expected(
    tmp_path: Path, added: str, said: str
) -> None:
    path = write(tmp_path, LEAST + added + "\n")
    with pytest.raises(SpecError) as error:
        read_spec(path)
    assert str(error.value).startswith(f"{path}{said}")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "churn"\n', "", ": name: is missing"),
        ('"churn"', '"my churn"', ":1: name: expected letters, digits, '_', '.' and '-', at most 128, got 'my churn'"),
        (
            '"churn"',
            '"churn"\nclasses = ["no", 1]',
            ":2: classes: expected labels that are all text or all whole numbers",
        ),
        ('held_out = "rows.parquet"\n', "", ":2: [data]: expected either `held_out` or `rows`"),
        ("held_out", 'rows = "a.csv"\nheld_out', ":2: [data]: expected either `held_out` or `rows`"),
        ('[members.trees]\nfile = "trees.ubj"', "[members]", ":5: [members]: expected at least one"),
        ("name", "nmae", ":1: nmae: unknown key; did you mean 'name'?"),
    ],
)
def test_what_is_missing_or_contradicts_itself_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = write(tmp_path, LEAST.replace(old, new, 1))
    with pytest.raises(SpecError) as error:
        read_spec(path)
    assert str(error.value).startswith(f"{path}{said}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.toml does not exist"):
        read_spec(tmp_path / "none.toml")


def test_the_documented_keys_are_those_of_the_schema() -> None:
    assert key_table() in DOCUMENT.read_text(), f"docs/export_spec.md must hold this table:\n{key_table()}"
