"""Transformers of scikit-learn that bend a column: powers, quantiles, splines and numpy's functions.

No runtime repeats logarithms and powers to the last digit. Where trees come behind, `sklearn_bent` moves their
thresholds in front.

Source: sklearn/preprocessing/_data.py, _polynomial.py, _function_transformer.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import stats
from sklearn.utils import check_array

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .sklearn_scalers import columnwise
from .sklearn_table import Table
from .sklearn_walk import Transform, Walk
from .values import Value, side_by_side

_TINY = 1e-7
"""Width of what counts as the bound in a QuantileTransformer with normal output."""


def power(_: Walk, step: Any, table: Table) -> Table:
    """Write a PowerTransformer."""
    x = table.numbers("PowerTransformer")
    exact = x.astype(np.float64)
    function = _box_cox if step.method == "box-cox" else _yeo_johnson
    parts = [function(exact.columns([i]), float(exponent)) for i, exponent in enumerate(step.lambdas_)]
    bent = side_by_side(parts).astype(x.dtype)
    if step.standardize:
        scaler = step._scaler
        bent = (bent - scaler.mean_.astype(x.dtype)) / scaler.scale_.astype(x.dtype)
    return columnwise(table, step, bent, x)


def quantile(_: Walk, step: Any, table: Table) -> Table:
    """Write a QuantileTransformer."""
    x = table.numbers("QuantileTransformer")
    if table.is_sparse:
        raise ConversionError("QuantileTransformer of a sparse matrix is not converted; make it dense before")
    is_normal = step.output_distribution == "normal"
    parts = []
    for i in range(table.width):
        known, column = step.quantiles_[:, i], x.columns([i])
        up = interpolated(column, known, step.references_)
        down = interpolated(-column, -known[::-1], -step.references_[::-1])
        y = ((up - down) * 0.5).astype(x.dtype)
        if is_normal:
            below, above = column - _TINY < known[0], column + _TINY > known[-1]
        else:
            below, above = column.equals(known[0]), column.equals(known[-1])
        y = below.where(0.0, above.where(1.0, y))
        parts.append(_normal(y).astype(x.dtype) if is_normal else y)
    return columnwise(table, step, side_by_side(parts), x)


def splines(walk: Walk, step: Any, table: Table) -> Table:
    """Write a SplineTransformer: in every piece between two knots each basis function is one polynomial."""
    walk.multiplies = walk.measures = True
    x = table.numbers("SplineTransformer")
    if getattr(step, "handle_missing", "error") != "error":
        raise ConversionError("SplineTransformer: handle_missing is not converted; impute missing values before it")
    if step.sparse_output or step.extrapolation == "error":
        raise ConversionError(
            "SplineTransformer: sparse_output and extrapolation='error' are not converted; train with "
            "sparse_output=False and another extrapolation"
        )
    exact = x.astype(np.float64)
    parts = [_spline(step, spline, exact.columns([i])) for i, spline in enumerate(step.bsplines_)]
    joined = side_by_side(parts).astype(x.dtype)
    n_splines = step.bsplines_[0].c.shape[1]
    n_made = n_splines * table.width
    kept = [i for i in range(n_made) if step.include_bias or (i + 1) % n_splines]
    return table.made(joined if step.include_bias else joined.columns(kept), len(kept))


def function(_: Walk, step: Any, table: Table) -> Table:
    """Write a FunctionTransformer of nothing or of a numpy function that is known here.

    Raises:
        ConversionError: it calls other Python code.
    """
    if step.func is None:
        return table
    if getattr(step.func, "func", None) is check_array:  # how histogram boosting checks its columns of numbers
        return table.through(table.numbers("FunctionTransformer").astype(np.float64), lambda _: _same, lambda _: _same)
    name = getattr(step.func, "__name__", type(step.func).__name__)
    if step.func is not getattr(np, name, None) or name not in FUNCTIONS or step.kw_args:
        raise ConversionError(
            f"FunctionTransformer({name}) calls Python code, which no graph can hold; numpy's "
            f"{', '.join(FUNCTIONS)} are converted; apply other functions before the model"
        )
    x = table.numbers(f"FunctionTransformer({name})")
    inverse, write = FUNCTIONS[name]
    if inverse is None:
        return table.made(write(x), table.width)
    dtype = x.dtype
    return table.through(
        write(x), lambda _: inverse, lambda _: lambda values: step.func(values.astype(dtype)), source=x
    )


def interpolated(x: Value, knots: Array, heights: Array) -> Value:
    """Return heights between knots `(n,)` ascending by straight lines, those at the ends beyond them."""
    if len(knots) == 1:
        return x.isnan().where(np.nan, heights[:1].astype(np.float64)[np.newaxis])
    place = (x >= knots[np.newaxis]).astype(np.int64).sum() - np.int64(1)
    place = place.clip(0, len(knots) - 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.diff(heights) / np.diff(knots)
    left, height = place.gather(knots), place.gather(heights)
    line: Value = place.gather(np.where(np.isfinite(slope), slope, 0.0)) * (x - left) + height
    above: Value = x >= knots[-1]
    below: Value = x < knots[0]  # at a repeated first knot, numpy goes by the last of them
    return above.where(heights[-1], below.where(heights[0], line))


def _same(values: Array) -> Array:
    return values


def _box_cox(x: Value, exponent: float) -> Value:
    if abs(exponent) < 1e-12:
        return x.log()
    return ((x.log() * exponent).exp() - 1.0) / exponent


def _yeo_johnson(x: Value, exponent: float) -> Value:
    def bent(size: Value, power: float) -> Value:
        log = (size + 1.0).log()
        return log if abs(power) < 1e-12 else ((log * power).exp() - 1.0) / power

    is_positive = x >= 0.0
    return is_positive.where(bent(is_positive.where(x, 0.0), exponent), -bent(is_positive.where(0.0, -x), 2 - exponent))


def _normal(y: Value) -> Value:
    """Return the quantile of the normal distribution, within the bounds that scikit-learn sets.

    Source: Wichura, Algorithm AS 241, Applied Statistics 37 (1988): 16 digits by three rational functions.
    """
    least = float(stats.norm.ppf(_TINY - np.spacing(1)))
    y = y.astype(np.float64)
    q = y - 0.5
    r = q * q * -1.0 + 0.180625
    middle = q * _rational(r, *_NORMAL_MIDDLE)
    tail = (y < 0.5).where(y, 1.0 - y).clip(1e-300, 0.5)
    s = (-tail.log()).sqrt()
    outer = (s <= 5.0).where(_rational(s - 1.6, *_NORMAL_NEAR), _rational(s - 5.0, *_NORMAL_FAR))
    value = (q.abs() <= 0.425).where(middle, (q < 0.0).where(-outer, outer))
    return value.clip(least, -least)


def _rational(r: Value, above: tuple[float, ...], below: tuple[float, ...]) -> Value:
    def polynomial(coefficients: tuple[float, ...]) -> Value:
        total = r * coefficients[-1] + coefficients[-2]
        for coefficient in reversed(coefficients[:-2]):
            total = total * r + coefficient
        return total

    return polynomial(above) / polynomial(below)


def _spline(step: Any, spline: Any, x: Value) -> Value:
    """Return the basis functions of one column, `(n_rows, n_splines)`."""
    knots, degree, n = spline.t, spline.k, spline.t.size - spline.k - 1
    low, high = float(knots[degree]), float(knots[n])
    inner = x
    if step.extrapolation == "periodic":
        width = high - low
        turned = x - low
        inner = turned - (turned / width).floor() * width + low
    pieces = np.unique(knots[degree : n + 1])
    place = ((inner >= pieces[np.newaxis]).astype(np.int64).sum() - np.int64(1)).clip(0, len(pieces) - 2)
    start = pieces[:-1]
    # Taylor coefficients at the start of each piece, from inside it: (n_pieces, degree + 1, n_splines).
    middle = (pieces[:-1] + pieces[1:]) / 2
    at_middle = np.stack([np.atleast_2d(spline(middle, nu=k)) for k in range(degree + 1)])
    coefficients = np.stack([_moved(at_middle, start - middle, k) for k in range(degree + 1)], axis=1)
    distance = inner - place.gather(start)
    if step.extrapolation in {"constant", "linear"}:
        distance = inner.clip(low, high) - place.gather(start)
    row = place.reshape(-1)
    total = row.gather(np.ascontiguousarray(coefficients[:, degree]))
    for k in range(degree - 1, -1, -1):
        total = total * distance + row.gather(np.ascontiguousarray(coefficients[:, k]))
    if step.extrapolation == "linear":
        for bound, outside in ((low, x < low), (high, x > high)):
            total = outside.where((x - bound) * spline(bound, nu=1)[np.newaxis] + spline(bound)[np.newaxis], total)
    return total


def _moved(derivatives: Array, shift: Array, order: int) -> Array:
    """Return the Taylor coefficient of one order at a place `shift` away from where the derivatives are known."""
    total, factor = np.zeros_like(derivatives[0]), np.ones_like(shift)
    for k in range(order, len(derivatives)):
        total += derivatives[k] * factor[:, np.newaxis]
        factor = factor * shift / (k - order + 1)
    return np.asarray(total / float(np.prod(range(1, order + 1))) if order > 1 else total)


_NORMAL_MIDDLE = (
    (
        3.3871328727963666080e0,
        1.3314166789178437745e2,
        1.9715909503065514427e3,
        1.3731693765509461125e4,
        4.5921953931549871457e4,
        6.7265770927008700853e4,
        3.3430575583588128105e4,
        2.5090809287301226727e3,
    ),
    (
        1.0,
        4.2313330701600911252e1,
        6.8718700749205790830e2,
        5.3941960214247511077e3,
        2.1213794301586595867e4,
        3.9307895800092710610e4,
        2.8729085735721942674e4,
        5.2264952788528545610e3,
    ),
)


_NORMAL_NEAR = (
    (
        1.42343711074968357734e0,
        4.63033784615654529590e0,
        5.76949722146069140550e0,
        3.64784832476320460504e0,
        1.27045825245236838258e0,
        2.41780725177450611770e-1,
        2.27238449892691845833e-2,
        7.74545014278341407640e-4,
    ),
    (
        1.0,
        2.05319162663775882187e0,
        1.67638483018380384940e0,
        6.89767334985100004550e-1,
        1.48103976427480074590e-1,
        1.51986665636164571966e-2,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ),
)


_NORMAL_FAR = (
    (
        6.65790464350110377720e0,
        5.46378491116411436990e0,
        1.78482653991729133580e0,
        2.96560571828504891230e-1,
        2.65321895265761230930e-2,
        1.24266094738807843860e-3,
        2.71155556874348757815e-5,
        2.01033439929228813265e-7,
    ),
    (
        1.0,
        5.99832206555887937690e-1,
        1.36929880922735805310e-1,
        1.48753612908506148525e-2,
        7.86869131145613259100e-4,
        1.84631831751005468180e-5,
        1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ),
)


FUNCTIONS: Mapping[str, tuple[Callable[[Array], Array] | None, Callable[[Value], Value]]] = {
    "log1p": (np.expm1, lambda x: (x.astype(np.float64) + 1.0).log().astype(x.dtype)),
    "log": (np.exp, lambda x: x.log()),
    "log2": (np.exp2, lambda x: (x.astype(np.float64).log() / np.log(2.0)).astype(x.dtype)),
    "log10": (lambda y: np.power(10.0, y), lambda x: (x.astype(np.float64).log() / np.log(10.0)).astype(x.dtype)),
    "exp": (np.log, lambda x: x.exp()),
    "expm1": (np.log1p, lambda x: (x.astype(np.float64).exp() - 1.0).astype(x.dtype)),
    "sqrt": (np.square, lambda x: x.sqrt()),
    "square": (None, lambda x: x * x),
    "abs": (None, lambda x: x.abs()),
    "absolute": (None, lambda x: x.abs()),
    "tanh": (np.arctanh, lambda x: x.tanh()),
}

TRANSFORMS: Mapping[str, Transform] = {
    "PowerTransformer": power,
    "QuantileTransformer": quantile,
    "SplineTransformer": splines,
    "FunctionTransformer": function,
}
