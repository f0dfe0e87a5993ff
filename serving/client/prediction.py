"""What a client answers: a prediction's outputs with the names that a bundle gives them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.tensors import Array

_SCORES = "scores/"


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Outputs for the rows of one `predict`, in their order.

    Attributes:
        outputs: output name -> `(n_rows, ...)`; text as object arrays of `str`. Arrays may be read-only.
        model: name of the model that answered.
        version: its version.
        request_id: the id given to `predict`.
    """

    outputs: Mapping[str, Array]
    model: str
    version: str
    request_id: str = ""

    @property
    def probabilities(self) -> Array:
        """Class probabilities `(n_rows, n_classes)`, FP32."""
        return self["probabilities"]

    @property
    def label(self) -> Array:
        """The most probable class of each row, `(n_rows,)`: class names, or numbers where classes have none."""
        return self["label"].reshape(-1)

    @property
    def prediction(self) -> Array:
        """Values of a regression, `(n_rows, n_outputs)`, FP32."""
        return self["prediction"]

    @property
    def scores(self) -> dict[str, Array]:
        """Member name -> its own scores `(n_rows, n_outputs)`, for the members whose scores were asked for."""
        return {name.removeprefix(_SCORES): array for name, array in self.outputs.items() if name.startswith(_SCORES)}

    def __getitem__(self, name: str) -> Array:
        """Return one output.

        Raises:
            KeyError: the answer does not hold it.
        """
        if name not in self.outputs:
            raise KeyError(f"no output {name!r} in this answer; it holds {', '.join(map(repr, self.outputs))}")
        return self.outputs[name]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.outputs.values()), ()))


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Return the predictions of consecutive rows as one; all must be of one model and version."""
    first = parts[0]
    if len(parts) == 1:
        return first
    outputs = {name: _concatenated(part[name] for part in parts) for name in first.outputs}
    return Prediction(outputs, first.model, first.version, first.request_id)


def _concatenated(arrays: Iterable[Array]) -> Array:
    return np.concatenate(list(arrays))
