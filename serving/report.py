"""What `widedeep inspect` shows of a bundle: plain text tables from its description."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .contract.bundle import Bundle, FusedSpec, MemberSpec
from .contract.combiner import Combiner, LinearPool, LogPool, MeanPool
from .contract.errors import BundleError
from .contract.tensors import TensorSpec

if TYPE_CHECKING:
    from .engine.tune import Tuned


def describe_bundle(bundle: Bundle) -> str:
    """Return a readable account of inputs, members, certificates, weights and held-out metrics.

    Characters that would steer a terminal are shown as "?".

    Raises:
        BundleError: what is said of the selection has another form than learning the weights gives it.
    """
    chosen = bundle.selection.get("chosen", bundle.combiner.kind)
    sections = {
        "Inputs": table(_INPUT_HEADER, map(_input_row, bundle.inputs)),
        "Members": table(("name", "model", "from", "inputs", "sha256"), map(_member_row, bundle.members)),
        "Parity with the trained models": table(_CERTIFICATE_HEADER, map(_certificate_row, bundle.members)),
        **_int8_sections(bundle),
        f"Combiner: {chosen}": "\n".join(_weights(bundle.combiner, [m.name for m in bundle.members])),
        **_selection_sections(bundle.selection),
    }
    head = [
        f"{bundle.name}: {bundle.task}, {bundle.n_outputs} outputs, {len(bundle.members)} members",
        f"digest {bundle.digest}",
    ]
    if bundle.classes:
        head.append(f"classes {_shortened(bundle.classes)}")
    if bundle.created_by:
        head.append("created by " + ", ".join(f"{library} {version}" for library, version in bundle.created_by.items()))
    if bundle.fused is not None:
        head.append(_fused(bundle.fused))
    return printable("\n".join([*head, *(f"\n{title}\n{text}" for title, text in sections.items())]))


def describe_tuning(title: str, found: Sequence["Tuned"]) -> str:
    """Return a table of how the graphs of one bundle will be opened and run, and what else was tried."""
    header = ("graph", "chunk rows", "optimization", "us a row", "others tried", "us of one row, by threads", "threads")
    rows = []
    for one in found:
        chosen = one.setup.options.optimization
        others = ", ".join(f"{level} {us:.4g}" for level, us in one.row_us.items() if level != chosen)
        by_threads = ", ".join(f"{threads}: {us:.4g}" for threads, us in one.one_row_us.items())
        chunk = str(one.setup.plan.chunk_rows or "all")
        rows.append(
            (one.name, chunk, chosen, f"{one.row_us[chosen]:.4g}", others, by_threads, str(one.setup.plan.threads))
        )
    return f"{title}\n{table(header, rows)}"


def _selection_sections(selection: Mapping[str, Any]) -> dict[str, str]:
    """Return title -> text of what learning the weights left behind, as far as it is there."""
    sections = {}
    try:
        for title, key in (("Members on held-out rows", "members"), ("Combiners on held-out rows", "results")):
            if metrics := selection.get(key):
                sections[title] = _metrics(metrics)
        for key, matrix in selection.get("diversity", {}).items():
            sections[f"{_words(key).capitalize()} of members on held-out rows"] = _matrix(matrix)
    except (AttributeError, TypeError) as error:
        raise BundleError(f"selection: expected tables of numbers by name: {error}") from error
    if reason := selection.get("reason"):
        sections["Why this combiner"] = str(reason)
    return sections


def _weights(combiner: Combiner, names: Sequence[str], indent: str = "  ") -> list[str]:
    """Return one line a member, or a nested block for each part of a mean."""
    if isinstance(combiner, MeanPool):
        lines = []
        for part in combiner.combiners:
            lines += [f"{indent}{part.kind}", *_weights(part, names, indent + "  ")]
        return lines
    parameters = combiner.weights if isinstance(combiner, LinearPool) else _by_member(combiner)
    if parameters.ndim > 1:
        parameters = abs(parameters).reshape(len(names), -1).mean(axis=1)
        label = "mean absolute weight"
    else:
        label = "weight"
    temperatures = getattr(combiner, "temperatures", None)
    rows: list[tuple[Any, ...]] = [
        (name, f"{weight:.4f}", *(() if temperatures is None else (f"{temperatures[i]:.3f}",)))
        for i, (name, weight) in enumerate(zip(names, parameters, strict=True))
    ]
    header = ("member", label) if temperatures is None else ("member", label, "temperature")
    return [indent + line for line in table(header, rows).splitlines()]


def _by_member(combiner: Combiner) -> Any:
    coefficients = combiner.coefficients if isinstance(combiner, LogPool) else None
    if coefficients is None:
        raise TypeError(f"no weights by member in a {combiner.kind}")
    return coefficients if coefficients.ndim == 1 else coefficients.swapaxes(0, 1)


def _metrics(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    columns = [key for key, value in next(iter(metrics.values())).items() if isinstance(value, int | float)]
    rows = [(name, *(_number(values.get(column)) for column in columns)) for name, values in metrics.items()]
    return table(("name", *map(_words, columns)), rows)


def _matrix(matrix: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of member by member; both sides have the same names."""
    return table(
        ("", *matrix), [(name, *(_number(row.get(other)) for other in matrix)) for name, row in matrix.items()]
    )


_INPUT_HEADER = ("name", "datatype", "shape", "NaN", "inf", "unseen", "features")


def _input_row(spec: TensorSpec) -> tuple[object, ...]:
    """Return an input and which odd values requests may hold; "-" where its datatype has none such."""
    nan, inf = (_yes(allowed) if spec.datatype.is_float else "-" for allowed in (spec.allow_nan, spec.allow_inf))
    unseen = _yes(not spec.closed_categories) if spec.categories else "-"
    return spec.name, spec.datatype.value, list(spec.shape), nan, inf, unseen, _shortened(spec.feature_names)


def _member_row(member: MemberSpec) -> tuple[object, ...]:
    source = member.source
    return member.name, source.get("class", "?"), _library(source), ", ".join(member.inputs), member.sha256[:12]


_CERTIFICATE_HEADER = (
    *("member", "rows", "probes", "max abs diff", "max rel diff", "labels differ", "tolerance"),
    *("worst is", "left out", "overflowed", "probed"),
)


def _certificate_row(member: MemberSpec) -> tuple[object, ...]:
    c = member.certificate
    differences = f"{c.max_abs_diff:.2g}", f"{c.max_rel_diff:.2g}"
    covered = ", ".join(f"{done} of {of} {what}" for what, (done, of) in c.coverage.items())
    compared = member.name, c.rows, c.probes, *differences, c.labels_differ, _bounds(c.tolerance)
    return *compared, c.worst_kind or "-", c.left_out, c.overflowed, covered


def _fused(fused: FusedSpec) -> str:
    c = fused.certificate
    return (
        f"fused graph of {', '.join(fused.members)}: {c.rows} rows and {c.probes} probes differ by "
        f"{c.max_abs_diff:.2g} at most"
    )


_INT8_HEADER = (
    *("member", "calibration rows", "held-out rows", "ensemble loss FP32", "int8", "may rise by", "labels differ"),
    *("max abs diff", "golden tolerance"),
)


def _int8_sections(bundle: Bundle) -> dict[str, str]:
    """Return what int8 members cost, and how they were made; nothing where there are none."""
    found = {member.name: member.quantization for member in bundle.members if member.quantization is not None}
    if not found:
        return {}
    rise = "{:g}" if bundle.task == "classification" else "{:.2%}"
    rows = [
        (
            *(name, q.calibration_rows, q.held_out_rows, f"{q.loss_before:.6g}", f"{q.loss_after:.6g}"),
            *(rise.format(q.bound), q.labels_differ, f"{q.max_abs_diff:.2g}", f"{q.tolerance:.2g}"),
        )
        for name, q in found.items()
    ]
    methods = "\n".join(dict.fromkeys(q.method for q in found.values()))
    return {"Members in int8": f"{methods}\n{table(_INT8_HEADER, rows)}"}


def _library(source: Mapping[str, str]) -> str:
    return f"{source.get('framework', '?')} {source.get('version', '')}".rstrip()


def _bounds(tolerance: Mapping[str, float]) -> str:
    return ", ".join(f"{name.removesuffix('ExecutionProvider')} {bound:.0e}" for name, bound in tolerance.items())


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def _shortened(values: Sequence[object], most: int = 6) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown}, ... ({len(values)})"


def printable(text: str) -> str:
    """Return text in which characters that would steer a terminal are shown as "?"."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns under a ruled header."""
    cells = [list(header), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
