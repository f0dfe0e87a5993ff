import numpy as np
import pytest
from report_evidence import evidence_of
from widedeep.export.report import judgement
from widedeep.export.report.judgement import ENSEMBLE, UNIFORM, judge
from widedeep.export.weights.metrics import metrics_of


def test_figures_are_those_of_export_for_every_predictor() -> None:
    evidence = evidence_of()
    judged = evidence.judged
    assert judged is not None

    found = judge(evidence)

    assert found is not None
    answers = {ENSEMBLE: judged.ensemble, UNIFORM: judged.scores.mean(axis=0), "deep_0": judged.scores[0]}
    for name, answer in answers.items():
        for metric, value in metrics_of(answer, judged.target, "classification").items():
            assert found.metrics[name][metric]["value"] == pytest.approx(value, rel=1e-5)
            assert found.metrics[name][metric]["low"] < value < found.metrics[name][metric]["high"]


def test_blocks_of_rows_give_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judge(evidence_of())
    monkeypatch.setattr(judgement, "_BLOCK_VALUES", 100)

    parts = judge(evidence_of())

    assert whole is not None
    assert parts is not None
    assert parts.metrics[ENSEMBLE]["log_loss"] == pytest.approx(whole.metrics[ENSEMBLE]["log_loss"])
    assert parts.metrics["deep_0"]["calibration"][0]["n"] == whole.metrics["deep_0"]["calibration"][0]["n"]


def test_the_lead_is_the_difference_on_the_same_rows() -> None:
    found = judge(evidence_of(classes=()))

    assert found is not None
    lead = found.lead_over("wide_1", "rmse")["value"]
    assert lead == pytest.approx(found.metrics[ENSEMBLE]["rmse"]["value"] - found.metrics["wide_1"]["rmse"]["value"])


def test_the_best_member_is_the_one_of_the_lowest_loss_and_without_rows_nobody_is_judged() -> None:
    evidence = evidence_of(members=("a", "b", "c"))
    found = judge(evidence)

    assert found is not None
    losses = {name: found.metrics[name]["log_loss"]["value"] for name in evidence.names}
    assert found.best == min(losses, key=lambda name: losses[name])
    assert judge(evidence_of(source=None)) is None


def test_one_row_has_figures_without_intervals() -> None:
    found = judge(evidence_of(n_rows=1))

    assert found is not None
    assert np.isfinite(found.metrics[ENSEMBLE]["log_loss"]["value"])
    assert found.metrics[ENSEMBLE]["log_loss"]["low"] is None
