"""A separable convolutional net over signals, such as the curves of sensors."""

from dataclasses import dataclass

from ..search.space import Choice, Params, Real, Space, Value, Whole, check_params
from .array_nets import FittedNet, array_of_rank, fit_array_net
from .augmentation import SignalAugmentation
from .kind import Family, Lesson
from .problem import Problem
from .training import plan


@dataclass(frozen=True, slots=True)
class SignalNet:
    """Learns signals by shapes that may come at any time; looks at no column."""

    name: str = "signal_net"
    family: Family = "deep"

    def suits(self, problem: Problem) -> bool:
        """Return whether there are signals."""
        return array_of_rank(problem, 2) is not None

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching."""
        del problem
        return {
            "depth": Whole(1, 6),
            "width": Whole(8, 64, log=True),
            "kernel": Choice((3, 5, 9)),
            "dropout": Real(0.0, 0.5),
            "learning_rate": Real(1e-3, 2e-2, log=True),
            "weight_decay": Real(1e-5, 5e-2, log=True),
            "moves": Choice((False, True)),
            "mixup": Real(0.0, 0.4),
        }

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with."""
        del problem
        first: dict[str, Value] = {
            "depth": 3,
            "width": 24,
            "kernel": 5,
            "dropout": 0.1,
            "learning_rate": 8e-3,
            "weight_decay": 5e-3,
            "moves": True,
            "mixup": 0.0,
        }
        return (first, {**first, "moves": False}, {**first, "depth": 4, "width": 48, "kernel": 9, "mixup": 0.1})

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedNet:
        """Return a convolutional net."""
        check_params(self.space(problem), params)
        array = array_of_rank(problem, 2)
        if array is None:
            raise ValueError("signal_net: expected an array of signals (steps, channels), got none")
        how = plan(len(lesson.rows), float(params["learning_rate"]), float(params["weight_decay"]))
        augment = SignalAugmentation(bool(params["moves"]), float(params["mixup"]))
        return fit_array_net(problem, params, lesson, array, plan=how, augment=augment)
