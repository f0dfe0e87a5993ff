"""Assembly: proven members and their held-out scores become a bundle on disk.

Learns the combination, computes the golden rows under the serving options, writes everything atomically, then reads it
back and predicts once, exactly as the server will. Trains nothing and converts nothing.
"""

import io
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..serving.contract.bundle import Bundle, MemberSpec, Samples, check_place, write_bundle
from ..serving.contract.columns import bind_columns
from ..serving.contract.histograms import HISTOGRAMS_FILE
from ..serving.contract.tensors import Array, TensorSpec, check_rows
from ..serving.engine import member as engine
from ..serving.engine.ensemble import Ensemble
from ..serving.engine.outputs import outputs_of
from .batches import Arrays, only_rows, spread
from .bundled_graph import bundled_graph, check_worth
from .histograms import histograms_of, to_bytes
from .inputs import merged_inputs
from .member import ConversionError, Member
from .quantize import Int8, to_int8
from .weights import AnyLearner, Selection, learn

HELD_OUT_FILE = "held_out.npz"
"""Evidence: `target` and `scores/<member>`, the rows on which the combination was learned and chosen; `weights` of the
rows as given, where they were."""

Classes = tuple[str, ...] | tuple[int, ...]

Rows = Any
"""Input name -> rows, or a pandas DataFrame; pandas is not imported to say so."""


@dataclass(frozen=True, slots=True)
class Built:
    """A bundle and how it came about.

    Attributes:
        path: the bundle's folder.
        bundle: its description, as read back.
        selection: every combiner tried, their held-out metrics and the choice.
        not_fused: why the bundle carries no fused graph; empty where it does, or where none was wished for.
    """

    path: Path
    bundle: Bundle
    selection: Selection
    not_fused: str = ""


def build(
    path: str | Path,
    *,
    name: str,
    members: Mapping[str, Member],
    scores: Mapping[str, Array],
    target: Array | Sequence[object],
    weights: Array | Sequence[float] | None = None,
    rows: Rows,
    reference: Rows | None = None,
    classes: Sequence[str] | Sequence[int] | None = None,
    learners: Sequence[AnyLearner] | None = None,
    seed: int = 0,
    n_folds: int = 5,
    golden_rows: int = 8,
    int8: Int8 | None = None,
    fused: bool | None = None,
    pixel_scale: Mapping[str, float] | None = None,
    evidence: Mapping[str, bytes] | None = None,
    on_learner: Callable[[str], None] = lambda _: None,
) -> Built:
    """Learn how to combine the members and write the bundle.

    Args:
        path: the bundle's folder; what stands there is replaced. In a repository it is `<model>/<version>`.
        name: the served name by default.
        members: name -> what `convert` returned, in the order in which the combiner takes their scores.
        scores: member name -> scores `(n_rows, n_outputs)` of rows that the member was not trained on: out-of-fold
            (see `cross_fit`) or held-out ones. On training rows the weights would reward overfitting.
        target: the truth of the same rows: class labels `(n_rows,)` as served, or their numbers from 0 where labels are
            text; or values `(n_rows,)` or `(n_rows, n_outputs)`.
        weights: how much each of these rows counts, `(n_rows,)`, not negative; all the same by default.
        rows: input name -> real rows of the inputs that the members take, at least one, or a pandas DataFrame with the
            columns that they were converted from; `golden_rows` of them, evenly
            spaced, go into the bundle with the exact answers. They need not be the rows of `scores`.
        reference: rows that those to be scored in batch jobs are compared with, `rows` by default: histograms of their
            inputs go into the bundle, of at most 100,000 of them, evenly spaced.
        classes: labels to serve, in score order, where the members only know the numbers 0 to n_outputs - 1.
        learners: weight learners to choose from, all by default.
        seed: of the folds and of the learners that draw at random.
        n_folds: folds of the cross-validation that chooses among the learners.
        golden_rows: golden rows to keep, at least 1.
        int8: nets to serve in int8, calibrated on `rows`, if the ensemble stays as good on held-out rows.
        fused: whether the bundle also carries members and combiner as one graph, which serving runs where that is
            faster; by default where the members together take at most 16 MiB and the graph can be proven on `rows`.
        pixel_scale: input name -> what pixels from 0 to 255 are divided by to become its values, 1 where they are taken
            as they are; batch jobs need it to take images.
        evidence: file name -> content of further evidence to keep in the bundle, such as how it was found.
        on_learner: called with each learner's name once it is fitted and judged, for progress.

    Raises:
        ConversionError: members contradict each other in task, outputs, classes or an input's declaration, int8
            costs more than it may, `fused` is demanded and cannot be had, or `pixel_scale` names no input.
        InvalidInput: `rows` lacks an input or does not fit one.
        ValueError: scores, target or weights do not fit the members.
        BundleError: something else than a bundle stands at `path`, or the written bundle does not answer as its
            members did.
    """
    path = Path(path)
    check_place(path)
    if not members:
        raise ConversionError("a bundle needs at least one member; `members` is empty")
    if scores.keys() != members.keys():
        raise ValueError(f"scores are of {sorted(scores)}, members are {sorted(members)}; expected the same names")
    first = _agreed(members)
    labels = _labels(first, classes)
    inputs = _with_pixel_scale(merged_inputs(members), pixel_scale or {})
    real = _checked(inputs, rows)
    golden = _golden(real, golden_rows)
    histograms = histograms_of(inputs, real if reference is None else _checked(inputs, reference))
    truth = _truth(target, labels)
    ordered = {member: np.asarray(scores[member], np.float64) for member in members}
    counts = None if weights is None else np.asarray(weights, np.float64)
    selection = learn(
        ordered,
        truth,
        task=first.task,
        weights=counts,
        learners=learners,
        seed=seed,
        n_folds=n_folds,
        on_learner=on_learner,
    )
    if int8 is not None:
        members = to_int8(
            members,
            replace(int8, rows=_checked(inputs, int8.rows)),
            combiner=selection.combiner,
            truth=_truth(int8.target, labels),
            calibration=real,
            golden=golden,
        )
    bundle = Bundle(
        name=name,
        task=first.task,
        inputs=inputs,
        classes=labels,
        n_outputs=first.n_outputs,
        members=tuple(member.spec(member_name) for member_name, member in members.items()),
        combiner=selection.combiner,
        selection=selection.to_json(),
        created_by=_versions(),
    )
    graphs = {member_name: member.graph for member_name, member in members.items()}
    samples = Samples(golden, outputs_of(bundle, _run(bundle, graphs, golden)))
    bundle, one, not_fused = _fused(bundle, graphs, golden, real, wish=fused)
    own = {HELD_OUT_FILE: _held_out(truth, ordered, counts), HISTOGRAMS_FILE: to_bytes(histograms)}
    written = write_bundle(path, bundle, graphs, samples, {**(evidence or {}), **own}, fused=one)
    Ensemble.load(path)
    return Built(path, written, selection, not_fused)


def _with_pixel_scale(inputs: tuple[TensorSpec, ...], scales: Mapping[str, float]) -> tuple[TensorSpec, ...]:
    names = [spec.name for spec in inputs]
    if unknown := [name for name in scales if name not in names]:
        raise ConversionError(f"pixel_scale: the members take no input {unknown[0]!r}; they take {names}")
    return tuple(replace(spec, pixel_scale=scales.get(spec.name)) for spec in inputs)


def class_indices(target: Array | Sequence[object], classes: Classes) -> npt.NDArray[np.int64]:
    """Return each label's place in `classes`, `(n_rows,)`; where classes are text, whole numbers are places already.

    Raises:
        ValueError: a label is not among the classes, or there is not one a row.
    """
    labels = np.asarray(target)
    if labels.ndim != 1:
        raise ValueError(f"target: expected one label a row, (n_rows,), got shape {list(labels.shape)}")
    is_place = labels.dtype.kind in "iu" and isinstance(classes[0], str)
    places = {label: i for i, label in enumerate(range(len(classes)) if is_place else classes)}
    try:
        return np.array([places[label] for label in labels.tolist()], np.int64)
    except KeyError as error:
        raise ValueError(f"target holds the label {error.args[0]!r}; expected one of {list(places)}") from None


def _agreed(members: Mapping[str, Member]) -> Member:
    """Return the first member after checking that all others answer the same kind of scores."""
    first_name, first = next(iter(members.items()))
    for name, member in members.items():
        for what in ("task", "n_outputs", "classes"):
            ours, theirs = getattr(first, what), getattr(member, what)
            if ours != theirs:
                raise ConversionError(
                    f"{what}: member {first_name!r} has {ours!r}, member {name!r} has {theirs!r}; all must agree"
                )
    return first


def _labels(member: Member, classes: Sequence[str] | Sequence[int] | None) -> Classes:
    if classes is None or tuple(classes) == member.classes:
        return member.classes
    if len(classes) != member.n_outputs or member.task != "classification":
        raise ConversionError(f"{len(classes)} classes given for a {member.task} with {member.n_outputs} outputs")
    if member.classes != tuple(range(member.n_outputs)):
        raise ConversionError(f"the members' classes are {list(member.classes)}, given are {list(classes)}")
    return tuple(classes)  # type: ignore[return-value]  # Bundle checks that they are all of one kind


def _truth(target: Array | Sequence[object], classes: Classes) -> Array:
    return class_indices(target, classes) if classes else np.asarray(target, np.float64)


def _checked(inputs: Sequence[TensorSpec], rows: Rows) -> dict[str, Array]:
    if hasattr(rows, "iloc"):
        taken = bind_columns(inputs, {str(name): _cells(rows[name]) for name in rows.columns})
    else:
        taken = {spec.name: np.asarray(rows[spec.name]) for spec in inputs if spec.name in rows}
    check_rows(inputs, taken)
    return taken


def _cells(series: Any) -> Array:
    """Return a pandas column; of its own nullable types with gaps as objects, since integers would become floats."""
    plain = isinstance(series.dtype, np.dtype) or not series.hasnans
    return np.asarray(series.to_numpy() if plain else series.to_numpy(dtype=object))


def _golden(real: Arrays, golden_rows: int) -> dict[str, Array]:
    return only_rows(real, spread(len(next(iter(real.values()))), max(1, golden_rows)))


def _fused(
    bundle: Bundle, graphs: Mapping[str, bytes], golden: Arrays, real: Arrays, *, wish: bool | None
) -> tuple[Bundle, bytes | None, str]:
    """Return the bundle with the fused graph that it declares, or without and why."""
    if wish is False:
        return bundle, None, ""
    try:
        if wish is None:
            check_worth(bundle, graphs)
        spec, graph = bundled_graph(bundle, graphs, golden=golden, rows=real)
    except ConversionError as error:
        if wish:
            raise
        return bundle, None, str(error)
    return replace(bundle, fused=spec), graph, ""


def _run(bundle: Bundle, graphs: Mapping[str, bytes], rows: Mapping[str, Array]) -> npt.NDArray[np.float64]:
    """Return member scores `(n_members, n_rows, n_outputs)`, computed as the server does."""

    def score(spec: MemberSpec, folder: Path) -> Array:
        file = folder / spec.file
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(graphs[spec.name])
        return engine.Member(folder, spec, bundle.inputs, bundle.n_outputs).run(rows)

    with tempfile.TemporaryDirectory() as folder:
        return np.array([score(spec, Path(folder)) for spec in bundle.members], np.float64)


def _held_out(target: Array, scores: Mapping[str, Array], weights: Array | None) -> bytes:
    arrays = {"target": target} | {f"scores/{name}": array for name, array in scores.items()}
    if weights is not None:
        arrays["weights"] = weights
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        library: version(library) for library in ("widedeep", "numpy", "onnx", "onnxruntime")
    }
