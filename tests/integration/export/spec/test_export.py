"""`widedeep export SPEC`, called as a user calls it, on real model files and data files."""

import contextlib
import io
import json
import re
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from widedeep.serving.cli import main
from widedeep.serving.contract.bundle import read_bundle, read_samples
from widedeep.serving.contract.columns import bind_columns
from widedeep.serving.contract.histograms import read_histograms
from widedeep.serving.contract.tensors import DataType
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.runtime import open_session

from .conftest import FEATURES, N_TRAIN, Export, cancer, write_spec

Refuse = Callable[..., str]

TREES = """
name = "cancer"
classes = ["malignant", "benign"]
ensemble.learners = ["uniform"]
[data]
held_out = "rows.parquet"
target = "truth"
[members.trees]
file = "trees.ubj"
"""
BOTH = TREES + '[members.boost]\nfile = "boost.txt"\n'
ALL = BOTH.replace("uniform", "simplex") + '[members.linear]\nfile = "linear.skops"\n'


@dataclass(frozen=True)
class Whole:
    """The bundle of all members, exported once.

    Attributes:
        path: its folder.
        result: what was printed.
    """

    path: Path
    result: dict[str, Any]


@pytest.fixture(scope="module")
def whole(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    path = tmp_path_factory.mktemp("whole")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        spec = str(write_spec(files, path, ALL))
        assert main(["export", spec, "--output", str(path / "1"), "--json", "--fused", str(path / "one.onnx")]) == 0
    return Whole(path / "1", json.loads(printed.getvalue()))


def test_model_files_become_a_bundle_that_answers_as_the_models_did(whole: Whole, files: Path) -> None:
    import skops.io
    import xgboost

    ensemble = Ensemble.load(whole.path)
    rows = cancer()[N_TRAIN:]
    outputs = ["probabilities", "scores/linear", "scores/trees"]
    answer = ensemble.predict(bind_columns(ensemble.bundle.inputs, rows), outputs)
    linear = skops.io.load(files / "linear.skops").predict_proba(rows.drop(columns="truth"))
    np.testing.assert_allclose(answer["scores/linear"], linear, atol=1e-5)
    trees = xgboost.Booster(model_file=files / "trees.ubj").predict(xgboost.DMatrix(rows[list(FEATURES)]))
    np.testing.assert_allclose(answer["scores/trees"][:, 1], trees, atol=1e-5)
    assert (answer["probabilities"].argmax(axis=1) == rows["truth"]).mean() > 0.9


def test_columns_keep_their_names_and_types(whole: Whole) -> None:
    inputs = {spec.name: spec for spec in read_bundle(whole.path).inputs}
    assert inputs["tabular_fp64"].feature_names == FEATURES
    assert inputs["tabular_int64"].feature_names == ("visits",)
    assert inputs["plan"].datatype is DataType.BYTES
    assert read_bundle(whole.path).classes == ("malignant", "benign")


def test_weights_are_learned_from_what_the_converted_members_answer(whole: Whole) -> None:
    ensemble = Ensemble.load(whole.path)
    rows = bind_columns(ensemble.bundle.inputs, cancer()[N_TRAIN:])
    with np.load(whole.path / "evidence" / "held_out.npz") as held_out:
        np.testing.assert_array_equal(held_out["target"], cancer()["truth"][N_TRAIN:])
        answers = ensemble.predict(rows, ["scores/boost"])["scores/boost"]
        np.testing.assert_array_equal(held_out["scores/boost"].astype(np.float32), answers)
    assert whole.result["rows"] == len(cancer()) - N_TRAIN
    assert set(ensemble.bundle.selection["results"]) == {"best_single", "simplex"}


def test_the_bundle_knows_how_the_rows_are_distributed(whole: Whole) -> None:
    bundle = read_bundle(whole.path)
    found = read_histograms(whole.path, bundle)
    assert found is not None
    assert found.n_rows == len(cancer()) - N_TRAIN
    assert set(found.numeric) | set(found.text) == {spec.name for spec in bundle.inputs}
    assert found.text["plan"][0].rest == 0


def test_the_whole_ensemble_can_be_one_onnx_file(whole: Whole) -> None:
    samples = read_samples(whole.path)
    session = open_session(whole.path.parent / "one.onnx")
    (answer,) = session.run(["probabilities"], dict(samples.inputs))
    np.testing.assert_allclose(answer, samples.outputs["probabilities"], atol=1e-6)
    assert whole.result["fused"]["certificate"]["rows"] > 200


def test_the_bundle_carries_a_fused_graph_unless_the_file_says_no(whole: Whole, export: Export, tmp_path: Path) -> None:
    bundle = read_bundle(whole.path)
    assert bundle.fused is not None
    assert bundle.fused.members == tuple(member.name for member in bundle.used_members)
    assert whole.result["notes"] == []
    export(TREES.replace("[data]", "ensemble.fused = false\n[data]", 1))
    assert read_bundle(tmp_path / "bundle").fused is None


def test_why_there_is_no_fused_graph_is_a_note(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widedeep.export.bundled_graph.WORTH_BYTES", 100)
    (note,) = export(TREES)["notes"]
    assert note.startswith("the bundle carries no fused graph: the members together take ")


def test_a_fused_graph_that_is_demanded_and_cannot_be_had_ends_the_export(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.export.fused_graph.MOST_BYTES", 100)
    said = refuse(TREES.replace("[data]", "ensemble.fused = true\n[data]", 1))
    assert "[members]: the members together take 0.00 GiB, and an ONNX file" in said


def test_the_same_files_give_the_same_digest(export: Export) -> None:
    assert export(BOTH)["digest"] == export(BOTH)["digest"]


def test_csv_gives_the_same_bundle_as_parquet(export: Export) -> None:
    assert export(BOTH)["digest"] == export(BOTH.replace("rows.parquet", "rows.csv"))["digest"]


def test_json_gives_the_same_bundle_as_ubj(export: Export) -> None:
    assert export(TREES)["digest"] == export(TREES.replace(".ubj", ".json"))["digest"]


def test_a_pickle_is_loaded_only_if_it_is_trusted(export: Export, refuse: Refuse) -> None:
    pickled = TREES.replace("trees.ubj", "trees.joblib")
    said = refuse(pickled)
    assert "[members.trees] file: trees.joblib is a pickle, and loading one runs whatever code it holds" in said
    assert export(pickled, "--trust")["digest"] == export(TREES)["digest"]


def test_types_in_a_skops_file_are_listed_until_they_are_trusted(export: Export, refuse: Refuse, files: Path) -> None:
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    train = cancer()[:N_TRAIN]
    forest = RandomForestClassifier(5, max_depth=3, random_state=0).fit(train[list(FEATURES)], train["truth"])
    skops.io.dump(forest, files / "forest.skops")
    spec = TREES.replace("trees.ubj", "forest.skops")
    said = refuse(spec)
    assert 'add trusted = ["sklearn.tree._tree.Tree"]' in said
    assert export(spec + 'trusted = ["sklearn.tree._tree.Tree"]')["members"]["trees"]["format"] == "skops"


def test_given_out_of_fold_scores_are_learned_from(export: Export, files: Path, tmp_path: Path) -> None:
    positive = np.random.default_rng(0).uniform(0.1, 0.9, len(cancer()) - N_TRAIN)
    np.savez(files / "oof.npz", trees=positive)
    export(TREES.replace("held_out", "rows") + 'scores = "oof.npz"')
    with np.load(tmp_path / "bundle" / "evidence" / "held_out.npz") as held_out:
        np.testing.assert_array_equal(held_out["scores/trees"], np.stack([1 - positive, positive], axis=1))


def test_rows_that_members_were_trained_on_need_out_of_fold_scores(refuse: Refuse) -> None:
    assert "[members.trees]: scores are missing" in refuse(TREES.replace("held_out", "rows"))


def test_a_member_must_answer_what_the_trained_model_is_said_to(export: Export, refuse: Refuse, files: Path) -> None:
    answers = np.load(files / "trees_answers.npy")
    answers[17] += 0.001
    np.save(files / "wrong_answers.npy", answers)
    assert "[members.trees] expected: row 17" in refuse(TREES + 'expected = "wrong_answers.npy"')
    assert export(TREES + 'expected = "trees_answers.npy"')["members"]["trees"]["certificate"]["rows"] > 200


def test_a_model_that_cannot_be_converted_leaves_an_earlier_bundle_as_it_was(
    export: Export, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import xgboost

    train = cancer()[:N_TRAIN]
    matrix = xgboost.DMatrix(train[list(FEATURES)], train["truth"])
    hinge = xgboost.train({"objective": "binary:hinge", "nthread": 1}, matrix, num_boost_round=2)
    hinge.save_model(files / "hinge.ubj")
    digest = export(TREES)["digest"]
    spec = write_spec(files, tmp_path, TREES.replace("trees.ubj", "hinge.ubj"))
    assert main(["export", str(spec), "--output", str(tmp_path / "bundle")]) == 1
    said = capsys.readouterr().err
    assert f"{spec.name}:8: [members.trees]: " in said
    assert "binary:hinge" in said
    assert read_bundle(tmp_path / "bundle").digest == digest
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"]


def test_a_booster_keeps_the_rounds_that_it_is_told_to(export: Export, files: Path) -> None:
    import xgboost

    table = cancer()
    parts = [xgboost.DMatrix(part[list(FEATURES)], part["truth"]) for part in (table[:200], table[200:N_TRAIN])]
    booster = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1},
        parts[0],
        num_boost_round=60,
        evals=[(parts[1], "valid")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    booster.save_model(files / "booster.ubj")
    held_out = xgboost.DMatrix(table[N_TRAIN:][list(FEATURES)])
    best = booster.best_iteration + 1
    assert best < booster.num_boosted_rounds()
    np.save(files / "best_answers.npy", booster.predict(held_out, iteration_range=(0, best)))
    np.save(files / "all_answers.npy", booster.predict(held_out))
    spec = TREES.replace("trees.ubj", "booster.ubj")
    assert export(spec + 'rounds = "best"\nexpected = "best_answers.npy"')["notes"] == []
    (note,) = export(spec + 'expected = "all_answers.npy"')["notes"]
    assert (
        f'all its {booster.num_boosted_rounds()} rounds, and early stopping was best at {best}; rounds = "best"' in note
    )


def test_rows_with_missing_values_are_left_out_where_requests_may_hold_none(
    export: Export, files: Path, tmp_path: Path
) -> None:
    table = cancer()[N_TRAIN:].reset_index(drop=True)
    table.loc[[3, 40], "radius"] = np.nan
    table.to_parquet(files / "gaps.parquet")
    spec = TREES.replace("rows.parquet", "gaps.parquet")
    result = export(spec + "allow_nan = false")
    assert (result["rows"], result["rows_left_out"]) == (len(table) - 2, 2)
    assert not any(np.isnan(array).any() for array in read_samples(tmp_path / "bundle").inputs.values())
    assert export(spec)["rows_left_out"] == 0


def test_a_missing_text_needs_a_text_to_stand_for_it(export: Export, refuse: Refuse, files: Path) -> None:
    table = cancer()[N_TRAIN:].reset_index(drop=True)
    table.loc[5, "plan"] = None
    table.to_csv(files / "gaps.csv", index=False)
    spec = TREES.replace("rows.parquet", "gaps.csv").replace("trees.ubj", "plan.skops")
    assert "column 'plan' has no text in row 5" in refuse(spec)
    filled = spec.replace('target = "truth"', 'target = "truth"\nmissing_text = "small"')
    assert export(filled)["rows"] == len(table)


def test_a_regression_of_several_outputs_takes_several_target_columns(export: Export, files: Path) -> None:
    import skops.io
    from sklearn.linear_model import Ridge

    train = cancer()[:N_TRAIN]
    model = Ridge().fit(train[["radius", "texture"]], train[["smoothness", "symmetry"]])
    skops.io.dump(model, files / "ridge.skops")
    result = export(
        'name = "r"\n[data]\nheld_out = "rows.csv"\ntarget = ["smoothness", "symmetry"]\n'
        '[inputs.tabular]\ncolumns = ["texture", "radius"]\n[members.ridge]\nfile = "ridge.skops"'
    )
    assert result["task"] == "regression"
    assert read_bundle(Path(result["bundle"])).n_outputs == 2


def test_a_bundle_that_is_there_can_be_made_one_onnx_file(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(TREES)
    assert main(["export", str(tmp_path / "bundle"), "--fused", str(tmp_path / "one.onnx")]) == 0
    assert "one.onnx: the ensemble as one graph" in capsys.readouterr().out
    assert (tmp_path / "one.onnx").is_file()


def test_a_check_names_what_is_there_and_writes_nothing(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(files, tmp_path, ALL)
    before = sorted(files.rglob("*"))
    assert main(["export", str(spec), "--check", "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert checked["rows"] == len(cancer()) - N_TRAIN
    assert checked["members"] == {"trees": "xgboost", "boost": "lightgbm", "linear": "skops"}
    assert sorted(files.rglob("*")) == before


def test_a_bundle_is_written_beside_the_spec_by_default(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(files, tmp_path, TREES.replace('name = "cancer"', 'name = "mine"\nversion = 3'))
    assert main(["export", str(spec)]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {files}/models/mine/3" in printed
    assert f"widedeep serve {shlex.quote(str(files / 'models/mine/3'))}" in printed
    assert read_bundle(files / "models" / "mine" / "3").name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rows.parquet", "rose.parquet", r":6: [data] held_out: .*rose.parquet does not exist"),
        ('target = "truth"', 'target = "trut"', r":7: [data] target: rows.parquet has no column 'trut'; did you mean"),
        ("trees.ubj", "trees.bin", r":9: [members.trees] file: .*trees.bin does not exist"),
        ('"trees.ubj"', '"rows.csv"', r"[members.trees] file: the suffix '.csv' tells no format"),
        ('"trees.ubj"', '"rows.csv"\nformat = "lightgbm"', r"rows.csv is no LightGBM model"),
        ('"trees.ubj"', '"boost.txt"\nformat = "xgboost"', r"boost.txt is no XGBoost model"),
        ('"trees.ubj"', '"damaged.keras"', r"damaged.keras is no .keras file: expected a zip archive"),
        ('"trees.ubj"', '"rows.parquet"\nformat = "skops"', r"rows.parquet cannot be read as skops"),
        (
            '"trees.ubj"',
            '"trees.ubj"\ninputs = ["image"]',
            r"inputs: there is no input 'image'; expected one of tabular",
        ),
        ('"trees.ubj"', '"trees.ubj"\nrounds = 11', r"file: rounds: the model has 10 rounds, wished are 11"),
        ('"benign"]', '"benign", "other"]', r"[members.trees]: 3 classes were given, the model has 2"),
        ('["malignant", "benign"]', '["a", "b"]\ntask = "regression"', r"[members.trees]: "),
        ('"malignant", "benign"', "1, 2", r":7: [data] target: holds the label 0; expected one of [1, 2]"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(refuse: Refuse, old: str, new: str, said: str) -> None:
    assert old in TREES
    pattern = re.escape(said).replace(r"\.\*", ".*")
    assert re.search(pattern, refuse(TREES.replace(old, new)))


def test_int8_needs_rows_that_no_member_was_trained_on(refuse: Refuse) -> None:
    said = refuse(TREES.replace("held_out", "rows") + 'scores = "trees_answers.npy"\nint8 = true')
    assert "[members.trees] int8: is judged on rows that no member was trained on" in said


def test_an_unknown_learner_is_refused_before_anything_is_written(refuse: Refuse) -> None:
    said = refuse(TREES.replace("uniform", "simplx"))
    assert "ensemble.learners: there is no learner 'simplx'; did you mean 'simplex'?" in said


def test_a_folder_of_other_things_is_never_replaced(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "repository" / "other" / "1" / "bundle.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    spec = write_spec(files, tmp_path, TREES)
    for flags in ([], ["--check"]):
        assert main(["export", str(spec), "--output", str(tmp_path / "repository"), *flags]) == 1
        assert "--output: " in capsys.readouterr().err
    assert kept.read_text() == "{}"


def test_an_interrupt_ends_it_in_one_line_and_writes_nothing(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("widedeep.export.spec.run.own_scores", interrupted)
    spec = write_spec(files, tmp_path, TREES)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        assert main(["export", str(spec), "--output", str(tmp_path / "bundle")]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "widedeep export: interrupted\n"
    assert not list(tmp_path.iterdir())
