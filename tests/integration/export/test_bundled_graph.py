"""Bundles that carry their members and combiner as one graph, against the members run one by one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from small_bundle import softmax_graph
from small_ensembles import ANIMALS, BUNDLES, IMAGE, TABULAR, make, rows, softmaxes, text_graph, text_labels
from widedeep import export
from widedeep.export.bundled_graph import bundled_graph
from widedeep.export.fused_graph import combined_graph
from widedeep.export.member import ParityError
from widedeep.export.weights import learners_for
from widedeep.serving.contract.bundle import Bundle, FusedSpec, read_bundle, read_samples
from widedeep.serving.contract.combiner import LinearPool, LogPool, MeanPool
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.member import Member
from widedeep.serving.engine.runtime import open_session


def fused(path: Path, given: Mapping[str, Array] | None = None) -> tuple[FusedSpec, bytes]:
    """Return the fused graph of the bundle at `path`, proven on its samples and rows."""
    bundle = read_bundle(path)
    graphs = {member.name: (path / member.file).read_bytes() for member in bundle.members}
    return bundled_graph(bundle, graphs, golden=read_samples(path).inputs, rows=given or rows(bundle.inputs, 30))


def run(data: bytes, folder: Path, given: Mapping[str, Array]) -> tuple[Array, Array]:
    (folder / "one.onnx").write_bytes(data)
    combined, scores = open_session(folder / "one.onnx").run(["combined", "scores"], dict(given))
    return combined, scores


@pytest.mark.parametrize("n_rows", [1, 2, 7, 300])
@pytest.mark.parametrize("bundle_of", BUNDLES)
def test_one_run_answers_what_the_members_and_the_combiner_do(
    bundle_of: Callable[[Path], Bundle], n_rows: int, tmp_path: Path
) -> None:
    bundle = bundle_of(tmp_path / "bundle")
    spec, data = fused(tmp_path / "bundle")
    given = rows(bundle.inputs, n_rows, seed=5)
    combined, scores = run(data, tmp_path, {name: given[name] for name in spec.inputs})
    members = [Member(tmp_path / "bundle", each, bundle.inputs, bundle.n_outputs) for each in bundle.members]
    expected = np.array([member.run(given) for member in members], np.float64)
    assert (combined.dtype, scores.dtype) == (np.float64, np.float64)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_allclose(combined, bundle.combiner(expected), rtol=1e-12, atol=1e-12)


def test_its_certificate_counts_golden_rows_real_rows_and_probes(tmp_path: Path) -> None:
    text_labels(tmp_path / "bundle")
    certificate = fused(tmp_path / "bundle", rows([IMAGE, TABULAR], 2000))[0].certificate
    assert certificate.rows == 5 + 256
    assert certificate.probes > 100
    assert certificate.tolerance == {"CPUExecutionProvider": 1e-6}
    assert certificate.max_abs_diff < 1e-12


def test_a_member_without_weight_and_its_input_are_not_in_it(tmp_path: Path) -> None:
    make(tmp_path / "bundle", softmaxes(3), LinearPool(np.array([0.0, 2.0])))
    spec, data = fused(tmp_path / "bundle")
    assert (spec.members, spec.inputs) == (("wide",), ("tabular",))
    combined, scores = run(data, tmp_path, rows([TABULAR], 4))
    assert scores.shape == (1, 4, 3)
    np.testing.assert_allclose(combined, scores[0], atol=1e-7)


NEGATED = """
    <ir_version: 8, opset_import: ["" : 17]>
    negated (float[n, 3] tabular) => (float[n, 3] scores) { scores = Neg(tabular) }
"""


def test_probes_to_which_a_member_has_no_answer_are_left_out(tmp_path: Path) -> None:
    graphs = {"negated": (text_graph(NEGATED), [replace(TABULAR, allow_nan=True)])}
    make(tmp_path / "bundle", graphs, LinearPool(np.array([0.5]), normalize=False), classes=(), n_outputs=3)
    kinds = fused(tmp_path / "bundle")[0].certificate.kinds
    assert kinds["values of several rows"] == 128
    assert kinds["missing values"] == 1  # of 16: the one that puts none anywhere


IN_DOUBLE = """
    <ir_version: 8, opset_import: ["" : 17]>
    in_double (float[n, 3] tabular) => (double[n, 3] scores) {
        shares = Softmax<axis = 1>(tabular)
        scores = Cast<to = 11>(shares)
    }
"""


def test_members_may_answer_in_float_and_in_double(tmp_path: Path) -> None:
    graphs = softmaxes(3) | {"in_double": (text_graph(IN_DOUBLE), [TABULAR])}
    bundle = make(tmp_path / "bundle", graphs, LinearPool(np.array([0.2, 0.0, 0.8])))
    spec, data = fused(tmp_path / "bundle")
    assert spec.members == ("deep", "in_double")
    given = rows(bundle.inputs, 5)
    _, scores = run(data, tmp_path, given)
    member = Member(tmp_path / "bundle", bundle.members[2], bundle.inputs, 3)
    np.testing.assert_array_equal(scores[1], member.run(given))


def test_a_part_of_the_combiner_may_use_fewer_members(tmp_path: Path) -> None:
    parts = LinearPool(np.array([0.0, 1.0])), LogPool(np.array([0.7, 0.4]), temperatures=np.array([2.0, 0.5]))
    bundle = make(tmp_path / "bundle", softmaxes(3), MeanPool(parts))
    given = rows(bundle.inputs, 9)
    combined, scores = run(fused(tmp_path / "bundle")[1], tmp_path, given)
    np.testing.assert_allclose(combined, bundle.combiner(scores), rtol=1e-12)


def test_an_input_with_the_name_of_an_output_is_refused(tmp_path: Path) -> None:
    graphs = {"deep": (softmax_graph("combined", (2, 4), 3, 0), [replace(IMAGE, name="combined")])}
    make(tmp_path / "bundle", graphs, LinearPool(np.array([1.0])))
    with pytest.raises(export.ConversionError, match="input 'combined' has a name that the fused graph needs"):
        fused(tmp_path / "bundle")


def other_weights(bundle: Bundle, *args: Any) -> Any:
    return combined_graph(replace(bundle, combiner=LinearPool(np.array([0.6, 0.400002]))), *args)


def test_a_graph_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "bundle", softmaxes(3), LinearPool(np.array([0.6, 0.4])))
    monkeypatch.setattr(import_module("widedeep.export.bundled_graph"), "combined_graph", other_weights)
    with pytest.raises(ParityError, match=r"fused graph is not the ensemble: \d+ of \d+ rows .*'combined'.*1e-06"):
        fused(tmp_path / "bundle")


def test_members_in_another_order_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "bundle", softmaxes(3), LinearPool(np.array([0.5, 0.5])))

    def swapped(bundle: Bundle, graphs: Any) -> Any:
        return combined_graph(replace(bundle, members=bundle.members[::-1]), graphs)

    monkeypatch.setattr(import_module("widedeep.export.bundled_graph"), "combined_graph", swapped)
    with pytest.raises(ParityError, match="differ in 'scores/deep'"):
        fused(tmp_path / "bundle")


def test_an_ensemble_whose_answers_do_not_vary_proves_nothing(tmp_path: Path) -> None:
    make(tmp_path / "bundle", softmaxes(3), LogPool(np.array([1e-9, 1e-9])))
    with pytest.raises(export.ConversionError, match="agreement would prove nothing"):
        fused(tmp_path / "bundle")


class Iris:
    """Two converted members and their scores; on training rows, since how good they are is not what is tested."""

    def __init__(self) -> None:
        data = load_iris()
        given, self.target = np.asarray(data.data, np.float32), data.target
        models = {"linear": LogisticRegression(max_iter=500), "bayes": GaussianNB()}
        self.members = {name: export.convert(model.fit(given, self.target), given) for name, model in models.items()}
        self.scores: Mapping[str, Array] = {name: model.predict_proba(given) for name, model in models.items()}
        self.rows = {"tabular": given}

    def build(self, path: Path, **options: Any) -> export.Built:
        return export.build(
            path,
            name="iris",
            members=self.members,
            scores=self.scores,
            target=self.target,
            rows=self.rows,
            classes=ANIMALS,
            learners=[learner for learner in learners_for("classification", 2, 3) if learner.name == "uniform"],
            **options,
        )


@pytest.fixture(scope="module")
def iris() -> Iris:
    return Iris()


def test_a_small_ensemble_carries_its_fused_graph_by_default(iris: Iris, tmp_path: Path) -> None:
    built = iris.build(tmp_path / "iris")
    assert built.bundle.fused is not None
    assert built.not_fused == ""
    assert built.bundle.fused.members == ("linear", "bayes")
    assert built.bundle.fused.certificate.rows >= 150
    combined, _ = run((tmp_path / "iris" / "fused.onnx").read_bytes(), tmp_path, iris.rows)
    answer = Ensemble.load(tmp_path / "iris").predict(iris.rows)["probabilities"]
    np.testing.assert_allclose(combined, answer, atol=1e-6)


def test_the_same_build_gives_the_same_digest_with_a_fused_graph(iris: Iris, tmp_path: Path) -> None:
    first, second = (iris.build(tmp_path / name, fused=True).bundle for name in ("a", "b"))
    assert first.digest == second.digest


def test_none_is_written_where_none_is_wished_for(iris: Iris, tmp_path: Path) -> None:
    built = iris.build(tmp_path / "iris", fused=False)
    assert (built.bundle.fused, built.not_fused) == (None, "")
    assert not (tmp_path / "iris" / "fused.onnx").exists()


def test_a_large_ensemble_carries_one_only_if_it_is_demanded(
    iris: Iris, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("widedeep.export.bundled_graph"), "WORTH_BYTES", 100)
    built = iris.build(tmp_path / "iris")
    assert built.bundle.fused is None
    assert "the members together take 0.0 MiB" in built.not_fused
    assert iris.build(tmp_path / "iris", fused=True).bundle.fused is not None


def test_one_that_cannot_be_proven_is_left_out_with_the_reason_or_refused(
    iris: Iris, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("widedeep.export.bundled_graph"), "combined_graph", other_weights)
    with pytest.raises(ParityError, match="the fused graph is not the ensemble"):
        iris.build(tmp_path / "iris", fused=True)
    assert not (tmp_path / "iris").exists()
    built = iris.build(tmp_path / "iris")
    assert built.not_fused.startswith("the fused graph is not the ensemble")
    assert read_bundle(tmp_path / "iris").fused is None
