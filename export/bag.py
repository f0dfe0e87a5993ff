"""Several models of one recipe, such as those of its folds, as one member whose scores are their mean.

The graphs stand side by side in one file, so the mean costs one run. What a bag claims about the models it was made
from is put together from their own certificates and the proof that its graph answers the mean of theirs.

Source: Breiman (1996), "Bagging predictors", for why the mean is steadier than one model.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import ModelProto

from ..serving.contract.bundle import Bundle, MemberSpec
from ..serving.contract.certificate import Certificate, tolerance_of
from ..serving.contract.columns import Column, bind_columns
from ..serving.contract.combiner import LinearPool
from ..serving.contract.errors import BundleError
from ..serving.contract.tensors import Array, TensorSpec, check_rows
from ..serving.engine import member as engine
from ..serving.engine.runtime import CPU
from .agreement import LABEL, Answer, certify
from .batches import Arrays, only_rows, spread
from .convert.graph import Finished, Graph
from .convert.opsets import aligned
from .fused_graph import check_size
from .inputs import merged_inputs
from .member import ConversionError, Member, ParityError

TOLERANCE = 1e-6
"""Between the bag's graph and the mean of the single graphs, by the rule of `relative_difference`."""

_LEAST_OPSET = 8  # the first in which a sum takes several values of any shape
_MOST_ROWS = 256


def bag(members: Sequence[Member], rows: Mapping[str, Column]) -> Member:
    """Return one member whose scores are the mean of the members' scores.

    Args:
        members: converted models of the same task, outputs and classes, in float32.
        rows: input name, or column name, -> real rows of all that the members take. On at most 256 of them, evenly
            drawn, and on probes made of them the graph is compared with the mean of the single graphs.

    Returns:
        The member; a single one as it is. Its certificate sums what was compared for the members. Its differences are
        the largest of theirs and, on top, of the bag to their mean: no mean differs by more. Its tolerance is theirs,
        the widest where they differ.

    Raises:
        ConversionError: there are no members, they contradict each other or are quantized, cannot stand in one graph or
            would make too large a one, or their answers hardly vary over the rows.
        ParityError: the graph answers something else than the mean.
        InvalidInput: the rows do not fit the inputs.
    """
    _check(members)
    if len(members) == 1:
        return members[0]
    named = {f"{i} of the bag": member for i, member in enumerate(members)}
    inputs = merged_inputs(named)
    real = bind_columns(inputs, rows)
    check_rows(inputs, real)
    finished = _mean_graph(named, inputs)
    first = members[0]
    whole = replace(
        first,
        graph=finished.data,
        inputs=tuple(spec for spec in inputs if spec.name in finished.inputs),
        source=_source(members),
        opset=finished.opset,
    )
    joining = _compared(whole, members, only_rows(real, spread(len(next(iter(real.values()))), _MOST_ROWS)))
    return replace(whole, certificate=_certificate([member.certificate for member in members], joining))


def _check(members: Sequence[Member]) -> None:
    if not members:
        raise ConversionError("a bag needs at least one member; `members` is empty")
    for i, member in enumerate(members):
        for what in ("task", "n_outputs", "classes"):
            ours, theirs = getattr(members[0], what), getattr(member, what)
            if ours != theirs:
                raise ConversionError(
                    f"{what}: member 0 of the bag has {ours!r}, member {i} has {theirs!r}; all must agree"
                )
        if member.quantization is not None:
            raise ConversionError(f"member {i} of the bag is quantized; bag members in float32 and quantize the bag")
    check_size(sum(len(member.graph) for member in members))


def _mean_graph(members: Mapping[str, Member], inputs: Sequence[TensorSpec]) -> Finished:
    """Return the graph of the mean, which is taken in float64: of equal members it is their answer to the last bit."""
    models = aligned({name: ModelProto.FromString(m.graph) for name, m in members.items()}, {"": _LEAST_OPSET})
    graph = Graph({"": _LEAST_OPSET})
    values = {spec.name: graph.input(spec) for spec in inputs}
    wide = []
    for model in models.values():
        (scores,) = graph.embed(model, {value.name: values[value.name] for value in model.graph.input}).values()
        wide.append(graph.cast(scores, np.float64))
    n_members = graph.constant(len(wide), np.float64)
    return graph.finish(graph.add("Div", graph.add("Sum", *wide), n_members), next(iter(members.values())).n_outputs)


def _compared(whole: Member, members: Sequence[Member], real: Arrays) -> Certificate:
    """Return the proof that the bag answers the mean of its members, all run as they are served."""
    bundle = Bundle(
        name="bag",
        task=whole.task,
        inputs=whole.inputs,
        classes=whole.classes,
        n_outputs=whole.n_outputs,
        members=tuple(member.spec(f"member{i}") for i, member in enumerate(members)),
        combiner=LinearPool(np.full(len(members), 1 / len(members)), normalize=False),
    )
    with tempfile.TemporaryDirectory() as folder:
        together = _loaded(whole, whole.spec("bag"), bundle, Path(folder))
        singles = [_loaded(*pair, bundle, Path(folder)) for pair in zip(members, bundle.members, strict=True)]

        def mean(rows: Arrays) -> Array:
            return np.asarray(np.mean([single.run(rows) for single in singles], axis=0, dtype=np.float64))

        return certify(_answering(bundle, together.run), _answering(bundle, mean), bundle, real, TOLERANCE)


def _loaded(member: Member, spec: MemberSpec, bundle: Bundle, folder: Path) -> engine.Member:
    file = folder / spec.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(member.graph)
    try:
        return engine.Member(folder, spec, bundle.inputs, bundle.n_outputs)
    except BundleError as error:
        raise ConversionError(f"the graph of {spec.name!r} does not load: {error}") from error


def _answering(bundle: Bundle, scores_of: Callable[[Arrays], Array]) -> Answer:
    """Return what `certify` compares: scores and, of a classification, the label."""

    def answer(rows: Arrays) -> dict[str, Array]:
        scores = scores_of(rows)
        labels = {LABEL: scores.argmax(axis=1)[:, None]} if bundle.classes else {}
        return {engine.SCORES: scores} | labels

    return answer


def _certificate(parts: Sequence[Certificate], joining: Certificate) -> Certificate:
    """Return the members' certificates as one.

    Raises:
        ParityError: with what joining adds, a member's difference is over the tolerance.
    """
    worst = max(parts, key=lambda part: part.max_rel_diff)
    providers = dict.fromkeys(provider for part in parts for provider in part.tolerance)
    tolerance = {name: max(tolerance_of(part.tolerance, name) for part in parts) for name in providers}
    relative = worst.max_rel_diff + joining.max_rel_diff
    if relative > (bound := tolerance_of(tolerance, CPU)):
        raise ParityError(f"the bag may differ from the trained models by {relative:.3g}, more than {bound:g} allows")
    return Certificate(
        rows=sum(part.rows for part in parts),
        probes=sum(part.probes for part in parts),
        max_abs_diff=max(part.max_abs_diff for part in parts) + joining.max_abs_diff,
        max_rel_diff=relative,
        worst_row=worst.worst_row,
        labels_differ=sum(part.labels_differ for part in parts),
        tolerance=tolerance,
        versions={library: version for part in (*parts, joining) for library, version in part.versions.items()},
        sizes=_sizes(parts),
        worst_kind=worst.worst_kind,
        kinds=_summed([part.kinds for part in parts]),
        left_out=sum(part.left_out for part in parts),
        overflowed=sum(part.overflowed for part in parts),
        coverage={
            what: (sum(part.coverage.get(what, (0, 0))[0] for part in parts), n_all)
            for what, n_all in _summed([{k: of for k, (_, of) in part.coverage.items()} for part in parts]).items()
        },
    )


def _sizes(parts: Sequence[Certificate]) -> tuple[float, ...]:
    """Return the smallest of the sizes up to which differences count as absolute, which is the strictest."""
    if not all(part.sizes for part in parts):
        return ()
    return tuple(min(of_output) for of_output in zip(*(part.sizes for part in parts), strict=True))


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = dict.fromkeys(name for each in counts for name in each)
    return {name: sum(each.get(name, 0) for each in counts) for name in names}


def _source(members: Sequence[Member]) -> dict[str, str]:
    """Return the members' source, each entry with all that it is for some member."""
    keys = dict.fromkeys(key for member in members for key in member.source)
    told = {key: ", ".join(dict.fromkeys(m.source[key] for m in members if key in m.source)) for key in keys}
    return told | {"class": f"bag of {len(members)}: {told.get('class', 'unknown')}"}
