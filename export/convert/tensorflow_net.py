"""A traced net as the rest of export sees it: asked where its answer is determined, written when it is due."""

from collections.abc import Callable, Collection

import onnx

from ...serving.contract.bundle import Task
from ..parity import Locate
from .graph import Finished
from .rows import Rows
from .tensorflow_graph import finish, is_large, write
from .tensorflow_native import Ask, rounding, steady
from .tensorflow_trace import Traced, width_of
from .trained import Trained, adds_up, probabilities


def trained_net(
    framework: str,
    version: str,
    kind: str,
    *,
    ask: Ask,
    traced: Traced,
    check: Callable[[onnx.ModelProto], None],
    rows: Rows,
    task: Task | None,
    floats: Collection[str] = (),
    locate: Locate | None = None,
) -> Trained:
    """Return a net, ready to be written.

    Args:
        framework: what trained it.
        version: the framework's version.
        kind: the model's class.
        ask: the net itself.
        traced: its graph.
        check: refuses a written graph that ONNX cannot express.
        rows: real rows of its inputs, in its own order.
        task: what the scores are, None to go by the scores of some rows.
        floats: inputs of whole numbers that the net takes as floating point ones.
        locate: where a row's answers part.
    """
    width, tolerance = width_of(traced), rounding(ask, rows, floats)
    answer = steady(ask, rows, floats, tolerance=tolerance, is_large=is_large(traced))
    if task is None:
        first = answer({name: array[:8] for name, array in rows.arrays.items()})
        task = "classification" if adds_up(first) else "regression"
    is_binary = task == "classification" and width == 1

    def draft() -> Finished:
        exported = write(traced)
        check(exported)
        return finish(exported, rows, width, is_binary=is_binary)

    return Trained(
        framework=framework,
        version=version,
        kind=kind,
        task=task,
        classes=None,
        n_outputs=width + is_binary,
        native=(lambda arrays: probabilities(answer(arrays))) if is_binary else answer,
        rows=rows,
        drafts=(draft,),
        locate=locate,
        allow_nan=False,
        rounding=tolerance,
    )
