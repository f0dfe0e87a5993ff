from collections.abc import Callable

import numpy as np
import pytest
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.linear import fit_simplex
from widedeep.export.weights.metrics import row_losses
from widedeep.export.weights.temperature import fit_temperature, fit_temperature_simplex
from widedeep.serving.contract.combiner import LinearPool, tempered


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_a_known_miscalibration_is_undone(make_classification: Callable[..., HeldOut], factor: float) -> None:
    calibrated = make_classification((0.0,), n_rows=20_000)
    sharpened = tempered(calibrated.scores[0], 1 / factor)
    # The logarithm of a temperature learned on 20,000 rows has a standard error of about 0.01.
    assert fit_temperature(sharpened, calibrated.target) == pytest.approx(factor, rel=0.04)


def test_a_member_without_mistakes_on_few_rows_is_not_made_infinitely_sure() -> None:
    scores = np.array([[0.7, 0.3], [0.3, 0.7]] * 5)
    temperature = fit_temperature(scores, np.array([0, 1] * 5))
    assert 0.1 < temperature < 1


def test_tempering_gains_on_members_of_the_wrong_scale(make_classification: Callable[..., HeldOut]) -> None:
    held_out = make_classification()
    wrong = HeldOut(
        np.stack([tempered(s, t) for s, t in zip(held_out.scores, (4.0, 0.3, 2.0), strict=True)]),
        held_out.target,
        "classification",
    )
    plain, mended = (
        row_losses(fit(wrong, 0)(wrong.scores), wrong.target, wrong.task).mean()
        for fit in (fit_simplex, fit_temperature_simplex)
    )
    assert mended < 0.95 * plain


def test_each_member_keeps_its_own_temperature_when_members_change_places(
    make_classification: Callable[..., HeldOut],
) -> None:
    held_out, order = make_classification(), [2, 0, 1]
    here = fit_temperature_simplex(held_out, 0)
    there = fit_temperature_simplex(HeldOut(held_out.scores[order], held_out.target, held_out.task), 0)
    assert isinstance(here, LinearPool)
    assert isinstance(there, LinearPool)
    assert here.temperatures is not None
    np.testing.assert_array_equal(there.temperatures, here.temperatures[order])
