"""The report of bundles that `export.build` made of real models, as `widedeep report` reads them from disk."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_evidence import HOSTILE, parse
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from widedeep import export
from widedeep.export.examples import examples_bytes, pick_examples
from widedeep.export.report.cli import report
from widedeep.export.report.page import make_report
from widedeep.export.weights import learn
from widedeep.export.weights.metrics import metrics_of

Fitted = dict[str, Any]


def _words(page: str) -> str:
    return " ".join("".join(parse(page.partition("\n")[2]).itertext()).split())


def _split(data: Any) -> tuple[Any, Any, Any, Any]:
    """Return rows and truth of two halves; the first column has a name that is no harm."""
    rows = data.data.astype(np.float32).rename(columns={data.data.columns[0]: HOSTILE.rstrip("\x00")})
    order = np.random.default_rng(0).permutation(len(rows))
    first, last = order[: len(order) // 2], order[len(order) // 2 :]
    target = data.target.to_numpy()
    return rows.iloc[first], target[first], rows.iloc[last], target[last]


@pytest.fixture(scope="module")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A bundle as training leaves it, and the ensemble's metrics on its test rows."""
    rows, target, test_rows, test_target = _split(load_breast_cancer(as_frame=True))
    half = len(rows) // 2
    models = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression()),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    }
    for model in models.values():
        model.fit(rows[:half], target[:half])
    held_out = {name: model.predict_proba(rows[half:]) for name, model in models.items()}
    scores = {name: model.predict_proba(test_rows) for name, model in models.items()}
    combiner = learn(held_out, target[half:]).combiner
    stacked = np.stack(list(scores.values()))
    ensemble = combiner(stacked)
    test = io.BytesIO()
    np.savez(test, target=test_target, ensemble=ensemble, **{f"scores/{name}": s for name, s in scores.items()})
    picked = pick_examples(test_target, ensemble, stacked, 6, task="classification")
    inputs = {"tabular": test_rows.to_numpy(np.float32)}
    path = tmp_path_factory.mktemp("cancer") / "cancer" / "1"
    export.build(
        path,
        name="cancer",
        members={name: export.convert(model, rows) for name, model in models.items()},
        scores=held_out,
        target=target[half:],
        rows=rows,
        classes=[f"{HOSTILE[:-1]} malignant", "benign"],
        evidence={
            "test.npz": test.getvalue(),
            "examples.npz": examples_bytes(picked, target=test_target, ensemble=ensemble, scores=scores, inputs=inputs),
            "training.json": json.dumps(
                {"format": 1, "target": "diagnosis", "notes": ["nothing was dropped"]}
            ).encode(),
        },
    )
    return path, metrics_of(ensemble, test_target, "classification")


def test_the_report_tells_the_figures_of_the_test_rows(cancer: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    path, metrics = cancer

    report([str(path), "--output", str(tmp_path / "cancer.html")])

    told = _words((tmp_path / "cancer.html").read_text())
    assert "285 untouched test rows" in told
    assert f"{metrics['log_loss']:.4f}" in told
    assert f"{100 * metrics['accuracy']:.1f} %" in told
    assert "target diagnosis" in told
    assert "nothing was dropped" in told


def test_names_of_columns_and_classes_cannot_act(cancer: tuple[Path, dict[str, float]]) -> None:
    page = make_report(cancer[0])

    assert "<script" not in page
    assert "<script>alert('x')</script>&\" malignant" in _words(page)


def test_a_bundle_of_plain_build_is_judged_on_its_held_out_rows(tmp_path: Path) -> None:
    rows, target, test_rows, test_target = _split(load_diabetes(as_frame=True))
    models = {"ridge": Ridge().fit(rows, target), "tree": DecisionTreeRegressor(max_depth=3).fit(rows, target)}
    built = export.build(
        tmp_path / "1",
        name="diabetes",
        members={name: export.convert(model, rows) for name, model in models.items()},
        scores={name: model.predict(test_rows)[:, None] for name, model in models.items()},
        target=test_target,
        rows=rows,
    )

    page = make_report(tmp_path / "1")

    told = _words(page)
    assert "221 held-out rows" in told
    assert "fitted on these very rows" in told
    for learner, metrics in built.selection.results.items():
        assert f"{metrics['rmse']:.3f}" in told, learner
    for title in ("Leaderboard", "Weights", "Diversity", "Predictions", "Provenance", "Not in this bundle"):
        assert f"<h2>{title}</h2>" in page
