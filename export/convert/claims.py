"""From a trained model to what the gate is to prove: which values requests may hold, and the draft that keeps parity.

What a model takes is asked of itself: missing values, infinities, categories that it was not trained on. What it
refuses, the server must refuse too, since a graph refuses nothing.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ...serving.contract.certificate import Certificate
from ...serving.contract.tensors import Array, DataType, TensorSpec
from ..batches import Probe
from ..member import ConversionError, ParityError
from ..parity import Claim, gather, prove
from ..probes import UNSEEN, Bases, accepts
from .graph import Finished
from .paths import reach_splits
from .trained import Trained


def first_proven(
    trained: Trained, *, allow_nan: bool | None = None, providers: Sequence[str] = ()
) -> tuple[Finished, Certificate, Claim]:
    """Return the first graph that keeps parity, its certificate and what was proven.

    Where the model takes missing values or infinities and the graph takes them otherwise, requests must not hold any.

    Args:
        trained: the model.
        allow_nan: whether requests may hold missing values, None to let model and graph decide.
        providers: execution providers to prove beside the CPU.

    Raises:
        ConversionError: no draft keeps parity, or the rows hold what requests must not.
    """
    claim = claim_of(trained, allow_nan=allow_nan)
    for name, what, way_out in _forbidden(claim, told=allow_nan is not None):
        raise ConversionError(f"input {name!r}: the rows hold {what}, and the model does not take them {way_out}")
    failures: list[ParityError] = []
    for narrowed in _narrowed(claim, nan_is_open=allow_nan is None):
        try:
            finished, certificate = _first_draft(trained, narrowed, providers)
        except ParityError as error:
            failures.append(error)
            continue
        return finished, certificate, narrowed
    raise failures[0]


def claim_of(trained: Trained, *, allow_nan: bool | None = None) -> Claim:
    """Return what is to be proven of a model: that it is right for all values that it takes.

    Args:
        trained: the model.
        allow_nan: whether requests may hold missing values, None to ask the model.

    Raises:
        ConversionError: the model refuses categories in a way that the server cannot check.
    """
    rows = trained.rows
    wished = trained.allow_nan if allow_nan is None else allow_nan

    def declared(spec: TensorSpec) -> TensorSpec:
        if spec.datatype.is_float:
            nan = accepts(trained.native, spec, rows.arrays, np.nan) if wished is None else wished
            inf = accepts(trained.native, spec, rows.arrays, np.inf, -np.inf)
            return replace(spec, allow_nan=nan, allow_inf=inf)
        if spec.datatype is DataType.BYTES and not accepts(trained.native, spec, rows.arrays, UNSEEN):
            return _closed(spec, trained)
        return spec

    def reach(inputs: Sequence[TensorSpec], bases: Bases, max_rows: int) -> Iterator[Probe]:
        before, of = 0, sum(grown.n_splits for grown in trained.trees)
        for grown in trained.trees:
            done = 0
            for probe in reach_splits(grown, rows.columns, inputs, bases, max_rows=max_rows // len(trained.trees) + 1):
                done = probe.coverage["splits"][0]
                yield replace(probe, coverage={"splits": (before + done, of)})
            before += done

    return Claim(
        inputs=tuple(map(declared, rows.specs.values())),
        task=trained.task,
        n_outputs=trained.n_outputs,
        native=trained.native,
        rows=rows.arrays,
        thresholds=trained.thresholds,
        max_rows=trained.max_rows,
        categories=trained.categories,
        reach=reach if trained.trees else None,
        locate=trained.locate,
        rounding=trained.rounding,
    )


def _closed(spec: TensorSpec, trained: Trained) -> TensorSpec:
    """Return a column of strings with the categories that the model takes, since it refuses all others."""
    if spec.shape != (-1, 1):
        raise ConversionError(
            f"input {spec.name!r}: the model refuses categories that it was not trained on, and the server can check "
            f"that only column by column; pass a DataFrame, or train with handle_unknown='ignore'"
        )
    arrays = trained.rows.arrays
    seen = set(np.unique(arrays[spec.name].astype(str)).tolist())
    # The rows given are scored anyhow; of other categories the model must be asked.
    known = [name for name in spec.categories if name in seen or accepts(trained.native, spec, arrays, name)]
    return replace(spec, categories=tuple(known), closed_categories=True)


def _narrowed(claim: Claim, *, nan_is_open: bool) -> Iterator[Claim]:
    """Yield the claim, then the same for ever fewer values, as far as the rows given have none of those left out."""
    yield claim
    tried = [claim.inputs]
    nan_choices = (True, False) if nan_is_open and not _holding(claim, np.isnan) else (True,)
    inf_choices = (True,) if _holding(claim, np.isinf) else (True, False)
    for nan, inf in itertools.product(nan_choices, inf_choices):
        inputs = tuple(_without(spec, nan=nan, inf=inf) for spec in claim.inputs)
        if inputs not in tried:
            tried.append(inputs)
            yield replace(claim, inputs=inputs)


def _without(spec: TensorSpec, *, nan: bool, inf: bool) -> TensorSpec:
    if not spec.datatype.is_float:
        return spec
    return replace(spec, allow_nan=spec.allow_nan and nan, allow_inf=spec.allow_inf and inf)


def _forbidden(claim: Claim, *, told: bool) -> Iterator[tuple[str, str, str]]:
    """Yield inputs whose rows hold what requests must not; NaN only where the caller has not said so himself."""
    legal = {spec.name: spec for spec in claim.inputs}
    for name in () if told else _holding(claim, np.isnan):
        if not legal[name].allow_nan:
            way_out = "in every column. Fill them before, or say allow_nan=False to serve complete rows only"
            yield name, "missing values", way_out
    for name in _holding(claim, np.isinf):
        if not legal[name].allow_inf:
            yield name, "infinities", "everywhere. Clip them to finite numbers, in training too"


def _holding(claim: Claim, what: Callable[[Array], Array]) -> list[str]:
    return [spec.name for spec in claim.inputs if spec.datatype.is_float and what(claim.rows[spec.name]).any()]


def _first_draft(trained: Trained, claim: Claim, providers: Sequence[str]) -> tuple[Finished, Certificate]:
    """Return the first draft that keeps parity; if none does, raise what says most about why."""
    evidence = gather(claim)
    failures: list[ConversionError] = []
    for draft in trained.drafts:
        try:
            finished = draft()
            taken = replace(claim, inputs=[spec for spec in claim.inputs if spec.name in finished.inputs])
            return finished, prove(finished.data, taken, evidence, providers=providers)
        except ConversionError as error:
            failures.append(error)
    reason = next((failure for failure in failures if isinstance(failure, ParityError)), failures[0])
    raise type(reason)(f"{trained.framework} {trained.kind}: {reason}") from reason
