"""Links: from the margins that trees or weights add up to, to the scores that a booster answers."""

from typing import Literal

import numpy as np

from .graph import Graph

Link = Literal["identity", "sigmoid", "softmax", "exp", "softplus", "signed square"]
"""`softplus` is log(1 + exp(margin)), `signed square` is sign(margin) * margin * margin."""


def append_link(graph: Graph, margin: str, link: Link, *, two_columns: bool = False) -> str:
    """Add from margins `(n_rows, n_targets)`, float32 or float64, to scores.

    Args:
        graph: to add to.
        margin: value of the margins.
        link: the function.
        two_columns: whether the one score of a sigmoid, that of the second class, becomes the scores of both.
    """
    match link:
        case "softmax":
            return graph.add("Softmax", margin, axis=1)
        case "sigmoid":
            positive = graph.add("Sigmoid", margin)
            return graph.two_columns(graph.cast(positive, np.float32)) if two_columns else positive
        case "exp":
            return graph.add("Exp", margin)
        case "softplus":
            one = graph.constant(1.0, np.float64)
            return graph.add("Log", graph.add("Add", one, graph.add("Exp", graph.cast(margin, np.float64))))
        case "signed square":
            return graph.add("Mul", margin, graph.add("Abs", margin))
        case "identity":
            return margin
