import pytest
from widedeep.export.search.space import Choice, Real, Value, Whole, check_params

SPACE = {"rate": Real(0.1, 1), "depth": Whole(1, 9), "shape": Choice(("flat", True))}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rate": 0.5, "depth": 3}, "parameter 'shape' is missing; expected rate, depth, shape"),
        ({"rate": 0.5, "depth": 3, "shape": "flat", "x": 1}, "parameter 'x' is unknown"),
        ({"rate": 2.0, "depth": 3, "shape": "flat"}, "parameter 'rate': expected a number from 0.1 to 1, got 2.0"),
        ({"rate": 0.5, "depth": 3.5, "shape": "flat"}, "expected a whole number from 1 to 9, got 3.5"),
        ({"rate": 0.5, "depth": True, "shape": "flat"}, "expected a whole number from 1 to 9, got True"),
        ({"rate": 0.5, "depth": 3, "shape": 1}, "expected one of 'flat', True, got 1"),
    ],
)
def test_parameters_outside_a_space_are_named(params: dict[str, Value], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_params(SPACE, params)


def test_parameters_at_the_ends_of_a_space_are_inside() -> None:
    check_params(SPACE, {"rate": 0.1, "depth": 9, "shape": True})
    check_params(SPACE, {"rate": 1, "depth": 1, "shape": "flat"})
