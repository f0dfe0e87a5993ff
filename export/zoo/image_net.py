"""A separable convolutional net over images, trained on images that are shifted, turned and mixed."""

from dataclasses import dataclass
from typing import Any

from ..search.space import Choice, Params, Real, Space, Value, Whole, check_params
from .array_nets import FittedNet, array_of_rank, fit_array_net
from .augmentation import MOVES, ImageAugmentation
from .kind import Family, Lesson
from .problem import Problem
from .training import plan

_MOST_EPOCHS = 40


@dataclass(frozen=True, slots=True)
class ImageNet:
    """Learns images by what is near each other in them; looks at no column."""

    name: str = "image_net"
    family: Family = "deep"

    def suits(self, problem: Problem) -> bool:
        """Return whether there are images."""
        return array_of_rank(problem, 3) is not None

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching; whether images may be mirrored is found out, too."""
        del problem
        return {
            "depth": Whole(2, 6),
            "width": Whole(8, 48, log=True),
            "kernel": Choice((3, 5)),
            "dropout": Real(0.0, 0.5),
            "learning_rate": Real(1e-3, 2e-2, log=True),
            "weight_decay": Real(1e-5, 5e-2, log=True),
            "moves": Choice(MOVES),
            "cutout": Choice((False, True)),
            "mixup": Real(0.0, 0.4),
        }

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with."""
        del problem
        first: dict[str, Value] = {
            "depth": 3,
            "width": 16,
            "kernel": 3,
            "dropout": 0.1,
            "learning_rate": 8e-3,
            "weight_decay": 5e-3,
            "moves": "shift",
            "cutout": False,
            "mixup": 0.0,
        }
        return (
            first,
            {**first, "width": 32, "depth": 4, "mixup": 0.1},
            {**first, "width": 24, "moves": "shift and flip", "cutout": True},
        )

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedNet:
        """Return a convolutional net."""
        check_params(self.space(problem), params)
        array = array_of_rank(problem, 3)
        if array is None:
            raise ValueError("image_net: expected an array of images (height, width, channels), got none")
        how = plan(
            len(lesson.rows),
            float(params["learning_rate"]),
            float(params["weight_decay"]),
            most_epochs=_MOST_EPOCHS,
        )
        moves: Any = params["moves"]
        augment = ImageAugmentation(moves, bool(params["cutout"]), float(params["mixup"]))
        return fit_array_net(problem, params, lesson, array, plan=how, augment=augment)
