"""The fused graph that a bundle carries, so that serving can run small members and their combiner in one session.

Serving decides by measurement whether to use it. It is compared with the members run one by one and combined, all under
the serving session options.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import ModelProto

from ..serving.contract.bundle import Bundle, FusedSpec
from ..serving.contract.certificate import Certificate
from ..serving.contract.errors import BundleError
from ..serving.contract.tensors import Array
from ..serving.engine import member as engine
from .agreement import Answer, certify
from .batches import Arrays, joined, only_rows, spread
from .fused_graph import check_size, combined_graph
from .member import ConversionError

TOLERANCE = 1e-6
"""Whatever the plan, an ensemble answers the same; the same kernels in the same batches differ by nothing as a rule."""

WORTH_BYTES = 16 << 20
"""One run instead of two saves 10 to 15 us a batch, whatever the members' size (measured: a forest with a linear model,
one row: 2 MiB 21 -> 9 us, 17 MiB 26 -> 15, 34 MiB 37 -> 23; 64 rows of the last: 5,410 -> 5,370). The graph is a second
copy of the members, on disk and in memory, so from here on that is not worth it."""

_NOTHING_COMPARED = Certificate(
    rows=0, probes=0, max_abs_diff=0.0, max_rel_diff=0.0, worst_row=0, labels_differ=0, tolerance={}
)
_MOST_ROWS, _LEAST_ROWS = 256, 16
_MOST_ROW_BYTES = 64 << 20


def check_worth(bundle: Bundle, graphs: Mapping[str, bytes]) -> None:
    """Refuse members of which a second copy costs more than it saves.

    Raises:
        ConversionError: they are too large.
    """
    if (n_bytes := _n_bytes(bundle, graphs)) > WORTH_BYTES:
        raise ConversionError(
            f"the members together take {n_bytes / 2**20:.1f} MiB, and above {WORTH_BYTES / 2**20:g} MiB a second copy "
            f"of them costs more memory than some microseconds of a batch are worth; fused = true makes it all the same"
        )


def bundled_graph(
    bundle: Bundle, graphs: Mapping[str, bytes], *, golden: Arrays, rows: Arrays
) -> tuple[FusedSpec, bytes]:
    """Return the fused graph and its declaration.

    Args:
        bundle: the ensemble.
        graphs: member name -> its serialised graph.
        golden: input name -> the rows of the golden test, all of which are compared.
        rows: input name -> further real rows, of which at most 256 are compared, evenly drawn. Probes are made of both.

    Raises:
        ConversionError: the members cannot stand in one graph, it would be too large, or nothing would be proven.
        ParityError: it answers otherwise than members and combiner do.
    """
    used = [member.name for member in bundle.used_members]
    check_size(_n_bytes(bundle, graphs))
    finished = combined_graph(bundle, {name: ModelProto.FromString(graphs[name]) for name in used})
    proposed = FusedSpec(tuple(used), finished.inputs, finished.opset, _NOTHING_COMPARED)
    taken, kept = ({name: given[name] for name in finished.inputs} for given in (rows, golden))
    real = joined([kept, _drawn(taken)])
    with tempfile.TemporaryDirectory() as folder:
        in_one = _in_one(bundle, proposed, finished.data, Path(folder))
        certificate = certify(in_one, _by_members(bundle, graphs, Path(folder)), bundle, real, TOLERANCE)
    return replace(proposed, certificate=certificate), finished.data


def _in_one(bundle: Bundle, spec: FusedSpec, graph: bytes, folder: Path) -> Answer:
    """Return a function that runs the fused graph as it is served."""
    (folder / spec.file).write_bytes(graph)
    try:
        fused = engine.Fused(folder, spec, bundle)
    except BundleError as error:
        raise ConversionError(f"the fused graph does not load: {error}") from error
    return lambda rows: _named(bundle, *fused.run(rows))


def _by_members(bundle: Bundle, graphs: Mapping[str, bytes], folder: Path) -> Answer:
    """Return a function that runs the members as they are served, one by one, and combines their scores."""
    members = {}
    for i in bundle.combiner.used:
        spec = bundle.members[i]
        file = folder / spec.file
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(graphs[spec.name])
        members[i] = engine.Member(folder, spec, bundle.inputs, bundle.n_outputs)

    def answer(rows: Arrays) -> dict[str, Array]:
        n_rows = len(next(iter(rows.values())))
        scores = np.zeros((len(bundle.members), n_rows, bundle.n_outputs))
        for i, member in members.items():
            scores[i] = member.run(rows)
        return _named(bundle, bundle.combiner(scores), scores[list(members)])

    return answer


def _named(bundle: Bundle, combined: Array, scores: Array) -> dict[str, Array]:
    named = zip(bundle.used_members, scores, strict=True)
    return {engine.COMBINED: combined} | {f"scores/{member.name}": each for member, each in named}


def _drawn(rows: Arrays) -> Arrays:
    """Return some of the rows, fewer where they are large."""
    row_bytes = max(1, sum(array[:1].nbytes for array in rows.values()))
    most = max(_LEAST_ROWS, min(_MOST_ROWS, _MOST_ROW_BYTES // row_bytes))
    return only_rows(rows, spread(len(next(iter(rows.values()))), most))


def _n_bytes(bundle: Bundle, graphs: Mapping[str, bytes]) -> int:
    return sum(len(graphs[member.name]) for member in bundle.used_members)
