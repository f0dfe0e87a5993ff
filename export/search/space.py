"""What can be searched: named parameters and the values that each may take."""

from collections.abc import Mapping
from dataclasses import dataclass

Value = bool | int | float | str
Params = Mapping[str, Value]
"""Parameter -> value."""


@dataclass(frozen=True, slots=True)
class Real:
    """A real number from `low` to `high`, both included; evenly spread in its logarithm if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`, both included; evenly spread in its logarithm if `log`."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values without an order."""

    options: tuple[Value, ...]


Parameter = Real | Whole | Choice
Space = Mapping[str, Parameter]


def check_params(space: Space, params: Params) -> None:
    """Check that parameters lie in a space.

    Raises:
        ValueError: one is missing, unknown or outside; names it, what was expected and what came.
    """
    if missing := [name for name in space if name not in params]:
        raise ValueError(f"parameter {missing[0]!r} is missing; expected {', '.join(space)}")
    if unknown := [name for name in params if name not in space]:
        raise ValueError(f"parameter {unknown[0]!r} is unknown; expected {', '.join(space)}")
    for name, parameter in space.items():
        if not is_inside(parameter, params[name]):
            raise ValueError(f"parameter {name!r}: expected {described(parameter)}, got {params[name]!r}")


def is_inside(parameter: Parameter, value: Value) -> bool:
    """Return whether a parameter may take a value."""
    if isinstance(parameter, Choice):
        return any(value == option and type(value) is type(option) for option in parameter.options)
    if isinstance(value, str | bool) or (isinstance(parameter, Whole) and not float(value).is_integer()):
        return False
    return parameter.low <= value <= parameter.high


def described(parameter: Parameter) -> str:
    """Return what a parameter may be, in words."""
    if isinstance(parameter, Choice):
        return f"one of {', '.join(map(repr, parameter.options))}"
    kind = "a whole number" if isinstance(parameter, Whole) else "a number"
    return f"{kind} from {parameter.low} to {parameter.high}"
