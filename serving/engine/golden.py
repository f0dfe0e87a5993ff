"""Does an ensemble still answer its golden rows?"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..contract.bundle import Bundle
from ..contract.certificate import has_clear_label, relative_difference
from ..contract.errors import BundleError
from ..contract.tensors import Array
from .member import Member


def differences_of(
    bundle: Bundle, members: Sequence[Member], golden: Mapping[str, Array], actual: Mapping[str, Array]
) -> dict[str, float]:
    """Return the largest difference between golden outputs and each output answered now, labels apart.

    Returns:
        Output name -> largest `relative_difference`, by the sizes that the members' certificates state.

    Raises:
        BundleError: a difference exceeds the members' tolerance, or a label differs that is no tie.
    """
    tolerances = {f"scores/{m.spec.name}": m.spec.tolerance(m.provider) for m in members}
    combined = max(tolerances.values())
    sizes = {f"scores/{m.spec.name}": m.spec.certificate.sizes or (1.0,) for m in members}
    most = np.max([np.broadcast_to(size, bundle.n_outputs) for size in sizes.values()], axis=0)
    differences: dict[str, float] = {}
    for name, answer in actual.items():
        expected = golden[name]
        _check_comparable(name, expected, answer)
        if name == "label":
            _check_labels(expected, answer, golden["probabilities"], combined)
            continue
        differences[name] = float(relative_difference(expected, answer, sizes.get(name, most)).max())
        # Not "greater than": a NaN difference must fail too.
        if not differences[name] <= (bound := tolerances.get(name, combined)):
            raise BundleError(
                f"golden output {name!r} differs by {differences[name]:.3g}; the tolerance here is {bound:.3g}"
            )
    return differences


def _check_comparable(name: str, expected: Array, actual: Array) -> None:
    if expected.shape != actual.shape or expected.dtype.kind != actual.dtype.kind:
        raise BundleError(
            f"golden output {name!r}: expected {actual.dtype} of shape {list(actual.shape)}, the samples hold "
            f"{expected.dtype} of shape {list(expected.shape)}"
        )


def _check_labels(expected: Array, actual: Array, probabilities: Array, tolerance: float) -> None:
    # Both sides may differ by the tolerance.
    differ = np.flatnonzero((expected != actual)[:, 0] & has_clear_label(probabilities, 2 * tolerance))
    if differ.size:
        row = int(differ[0])
        raise BundleError(f"golden label of row {row} was {expected[row, 0]!r} and is now {actual[row, 0]!r}")
