"""Combiners: what turns member scores `(n_members, n_rows, n_outputs)` into the prediction `(n_rows, n_outputs)`.

The maths of combining exists once, here: the weight learners fit these very objects and the server runs them.
Probabilities leave a combiner on the simplex; a combiner of a regression leaves any real number.

    LinearPool    sum of weighted member scores; weights by member, or by member and class
    LogPool       softmax of bias + coefficients x log scores: geometric means and stacking by multinomial
                  logistic regression are cases of it
    MeanPool      the arithmetic mean of several combiners' answers

Sources: Genest and Zidek (1986), "Combining probability distributions", for linear and logarithmic pools;
Guo et al. (2017), "On calibration of modern neural networks", for temperatures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import BundleError

Float64Array = npt.NDArray[np.float64]


class Combiner(Protocol):
    """A fitted combination of member scores; immutable and safe to use from any thread."""

    @property
    def kind(self) -> str:
        """The name of the kind in `bundle.json`."""

    @property
    def n_members(self) -> int:
        """How many members' scores `__call__` takes."""

    @property
    def used(self) -> tuple[int, ...]:
        """Indices of the members whose scores can change the answer; the others need not run."""

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Combine `(n_members, n_rows, n_outputs)` into `(n_rows, n_outputs)`; scores of unused members are ignored."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, which `combiner_from_json` reads."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearPool:
    """Weighted sum of member scores.

    Attributes:
        weights: `(n_members,)` or, by class, `(n_members, n_outputs)`.
        temperatures: `(n_members,)` or None; member probabilities are sharpened (< 1) or flattened (> 1) first.
        normalize: divide each row by its sum, for classification; False for regression.
        used: members with a weight other than zero.
    """

    weights: Float64Array
    temperatures: Float64Array | None = None
    normalize: bool = True
    used: tuple[int, ...] = field(init=False, repr=False)
    kind = "linear_pool"

    def __post_init__(self) -> None:
        """Refuse parameters of the wrong shape."""
        _finite("weights", self.weights)
        if self.weights.ndim not in (1, 2):
            raise BundleError(f"linear pool: weights must have 1 or 2 axes, got {self.weights.ndim}")
        _check_temperatures(self.temperatures, self.n_members)
        object.__setattr__(self, "used", _nonzero(self.weights))

    @property
    def n_members(self) -> int:
        """Members the pool was fitted on."""
        return len(self.weights)

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Return the weighted sum over members; with `normalize`, rows that sum to zero become uniform."""
        used = list(self.used)
        tempered = _tempered(scores[used], None if self.temperatures is None else self.temperatures[used])
        weights = self.weights[used]
        total = _weighted_sum(weights, tempered) if weights.ndim == 1 else np.einsum("mk,mnk->nk", weights, tempered)
        return _normalized(total) if self.normalize else np.asarray(total)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "weights": self.weights.tolist(),
            "temperatures": None if self.temperatures is None else self.temperatures.tolist(),
            "normalize": self.normalize,
        }


@dataclass(frozen=True, slots=True, eq=False)
class LogPool:
    """Softmax of `bias[k] + sum over m, j of coefficients[k, m, j] * log(score[m, j])`.

    Attributes:
        coefficients: `(n_members,)` for a geometric mean (one weight a member, the same for every class), or the full
            `(n_outputs, n_members, n_outputs)` of stacking by multinomial logistic regression.
        bias: `(n_outputs,)` or None.
        temperatures: `(n_members,)` or None.
        clip: scores below it are raised to it before the logarithm.
        used: members with a coefficient other than zero.
    """

    coefficients: Float64Array
    bias: Float64Array | None = None
    temperatures: Float64Array | None = None
    clip: float = 1e-7
    used: tuple[int, ...] = field(init=False, repr=False)
    kind = "log_pool"

    def __post_init__(self) -> None:
        """Refuse parameters of the wrong shape."""
        _finite("coefficients", self.coefficients)
        if self.coefficients.ndim not in (1, 3):
            raise BundleError(f"log pool: coefficients must have 1 or 3 axes, got {self.coefficients.ndim}")
        if self.bias is not None:
            _finite("bias", self.bias)
        if not 0 < self.clip < 1:
            raise BundleError(f"log pool: clip must lie between 0 and 1, got {self.clip}")
        _check_temperatures(self.temperatures, self.n_members)
        by_member = self.coefficients if self.coefficients.ndim == 1 else np.moveaxis(self.coefficients, 1, 0)
        object.__setattr__(self, "used", _nonzero(by_member))

    @property
    def n_members(self) -> int:
        """Members the pool was fitted on."""
        return int(self.coefficients.shape[0 if self.coefficients.ndim == 1 else 1])

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Return probabilities `(n_rows, n_outputs)`."""
        used = list(self.used)
        tempered = _tempered(scores[used], None if self.temperatures is None else self.temperatures[used])
        logs = np.log(np.maximum(tempered, self.clip))
        if self.coefficients.ndim == 1:
            logits = _weighted_sum(self.coefficients[used], logs)
        else:
            logits = np.einsum("kmj,mnj->nk", self.coefficients[:, used], logs, optimize=True)
        return softmax(logits if self.bias is None else logits + self.bias)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "coefficients": self.coefficients.tolist(),
            "bias": None if self.bias is None else self.bias.tolist(),
            "temperatures": None if self.temperatures is None else self.temperatures.tolist(),
            "clip": self.clip,
        }


@dataclass(frozen=True, slots=True, eq=False)
class MeanPool:
    """Arithmetic mean of the answers of several combiners over the same members.

    Attributes:
        combiners: the parts.
        used: members that any part uses.
    """

    combiners: tuple[Combiner, ...]
    used: tuple[int, ...] = field(init=False, repr=False)
    kind = "mean_pool"

    def __post_init__(self) -> None:
        """Refuse an empty mean and parts fitted on different members."""
        if len({c.n_members for c in self.combiners}) != 1:
            raise BundleError("mean pool: needs at least one combiner, all over the same members")
        object.__setattr__(self, "used", tuple(sorted({i for part in self.combiners for i in part.used})))

    @property
    def n_members(self) -> int:
        """Members the parts were fitted on."""
        return self.combiners[0].n_members

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Return the mean of the parts' answers."""
        return np.asarray(np.mean([c(scores) for c in self.combiners], axis=0))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"kind": self.kind, "combiners": [c.to_json() for c in self.combiners]}


def combiner_from_json(data: Mapping[str, Any]) -> Combiner:
    """Read the JSON form of any kind.

    Raises:
        BundleError: the kind is unknown or a parameter is missing or of the wrong shape.
    """
    try:
        match data["kind"]:
            case "linear_pool":
                return LinearPool(
                    weights=np.asarray(data["weights"], np.float64),
                    temperatures=_optional(data.get("temperatures")),
                    normalize=bool(data["normalize"]),
                )
            case "log_pool":
                return LogPool(
                    coefficients=np.asarray(data["coefficients"], np.float64),
                    bias=_optional(data.get("bias")),
                    temperatures=_optional(data.get("temperatures")),
                    clip=float(data["clip"]),
                )
            case "mean_pool":
                return MeanPool(tuple(combiner_from_json(part) for part in data["combiners"]))
            case kind:
                raise BundleError(f"combiner: unknown kind {kind!r}; expected linear_pool, log_pool or mean_pool")
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"combiner: {type(error).__name__}: {error}") from error


def weights_by_member(combiner: Combiner) -> Float64Array:
    """Return one weight a member, `(n_members,)`, to show how much each contributes.

    Where a member has several, by class or by pair of classes, it is the mean of their absolute values; of the parts of
    a mean pool, each scaled to a sum of one, it is the mean.
    """
    match combiner:
        case MeanPool(combiners=parts):
            shares = [weights / (np.abs(weights).sum() or 1.0) for weights in map(weights_by_member, parts)]
            return np.asarray(np.mean(shares, axis=0), np.float64)
        case LinearPool(weights=weights):
            by_member = weights
        case LogPool(coefficients=coefficients):
            by_member = coefficients if coefficients.ndim == 1 else np.moveaxis(coefficients, 1, 0)
        case _:
            raise TypeError(f"no weights by member in a {combiner.kind}")
    return by_member if by_member.ndim == 1 else np.abs(by_member).reshape(len(by_member), -1).mean(axis=1)


def softmax(logits: Float64Array) -> Float64Array:
    """Return the softmax along the last axis, shifted by the maximum so that it cannot overflow."""
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True), np.float64)


def tempered(scores: Float64Array, temperature: float) -> Float64Array:
    """Return probabilities `(..., n_outputs)` raised to `1 / temperature` and normalised again."""
    return softmax(np.log(np.maximum(scores, _TINY)) / temperature)


_TINY = 1e-12


def _tempered(scores: Float64Array, temperatures: Float64Array | None) -> Float64Array:
    if temperatures is None:
        return scores
    return softmax(np.log(np.maximum(scores, _TINY)) / temperatures[:, None, None])


def _weighted_sum(weights: Float64Array, scores: Float64Array) -> Float64Array:
    """Return the sum over members `(n_rows, n_outputs)`; np.tensordot takes 20 us longer on one row."""
    n_members, n_rows, n_outputs = scores.shape
    return np.asarray(weights @ scores.reshape(n_members, n_rows * n_outputs)).reshape(n_rows, n_outputs)


def _normalized(total: Float64Array) -> Float64Array:
    total = np.maximum(total, 0.0)
    sums = total.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(sums > 0, total / np.where(sums > 0, sums, 1.0), 1.0 / total.shape[-1]))


def _nonzero(by_member: Float64Array) -> tuple[int, ...]:
    """Return the indices of members with any parameter other than zero; members are the first axis."""
    return tuple(i for i, parameters in enumerate(by_member) if np.any(parameters))


def _optional(values: Sequence[float] | None) -> Float64Array | None:
    return None if values is None else np.asarray(values, np.float64)


def _finite(name: str, array: Float64Array) -> None:
    if array.size == 0 or not np.isfinite(array).all():
        raise BundleError(f"combiner: {name} must be finite and not empty")


def _check_temperatures(temperatures: Float64Array | None, n_members: int) -> None:
    if temperatures is not None and (temperatures.shape != (n_members,) or not (temperatures > 0).all()):
        raise BundleError(f"combiner: expected {n_members} positive temperatures, got {temperatures.tolist()}")
