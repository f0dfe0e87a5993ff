"""What an export has to say at its end: tables for people, or one JSON object for scripts."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...serving.contract.bundle import MemberSpec
from ..fuse import Fused
from .checks import Checked
from .run import Exported


def show(console: Console, exported: Exported) -> None:
    """Print members, the combination and where everything is."""
    bundle, selection = exported.built.bundle, exported.built.selection
    (metric, _), *_ = next(iter(selection.members.values())).items()
    header = ("member", "model", "rows", "probes", "largest difference", f"held-out {metric.replace('_', ' ')}")
    table = Table(*header, title="Members, proven to answer as trained", title_justify="left")
    for member in bundle.members:
        proof = member.certificate
        table.add_row(
            member.name,
            f"{member.source.get('class', '?')} ({exported.formats[member.name]})",
            str(proof.rows),
            str(proof.probes),
            f"{proof.max_abs_diff:.1e}",
            f"{selection.members[member.name][metric]:.4f}",
        )
    console.print(table)
    rows = f"{exported.n_rows:,} rows"
    if exported.left_out:
        rows += (
            f" ({exported.left_out:,} more are left out: they hold missing values, which allow_nan = false excludes)"
        )
    chosen = selection.results[selection.chosen][metric]
    console.print(f"Combination, learned on {rows}: {selection.reason}; {metric.replace('_', ' ')} {chosen:.4f}")
    for member in bundle.members:
        if (int8 := member.quantization) is not None:
            console.print(
                f"{member.name} is served in int8: the ensemble's held-out loss goes from {int8.loss_before:.4f} to "
                f"{int8.loss_after:.4f}"
            )
    for note in exported.notes:
        console.print(f"Note: {note}", markup=False)
    console.print(f"[green]✓[/] wrote {escape(str(exported.built.path))} (digest {bundle.digest[:12]})", soft_wrap=True)
    if exported.fused is not None:
        show_fused(console, exported.fused)
    for command in ("serve", "inspect"):
        path = shlex.quote(str(exported.built.path))
        console.print(f"    widedeep {command} {escape(path)}", style="bold", soft_wrap=True)


def show_fused(console: Console, fused: Fused) -> None:
    """Print where a fused graph is and how well it agrees."""
    proof = fused.certificate
    console.print(
        f"[green]✓[/] wrote {escape(str(fused.path))}: the ensemble as one graph; {proof.rows} rows and "
        f"{proof.probes} probes differ by {proof.max_abs_diff:.1e} at most",
        soft_wrap=True,
    )


def show_checked(console: Console, path: Path, checked: Checked) -> None:
    """Print what an export file holds."""
    console.print(f"{path}: {checked.n_rows:,} rows", soft_wrap=True, markup=False)
    for name, words in checked.inputs.items():
        console.print(f"  input {name}: {words}", soft_wrap=True, markup=False)
    for name, found in checked.formats.items():
        console.print(f"  member {name}: {found}", soft_wrap=True, markup=False)
    console.print("[green]✓[/] nothing is missing; models were not loaded and nothing was written")


def to_json(exported: Exported) -> dict[str, Any]:
    """Return the JSON form of an export."""
    bundle, selection = exported.built.bundle, exported.built.selection
    return {
        "bundle": str(exported.built.path),
        "digest": bundle.digest,
        "name": bundle.name,
        "task": bundle.task,
        "rows": exported.n_rows,
        "rows_left_out": exported.left_out,
        "members": {
            member.name: {
                "format": exported.formats[member.name],
                **_proof(member),
                "metrics": dict(selection.members[member.name]),
            }
            for member in bundle.members
        },
        "combiner": {
            "chosen": selection.chosen,
            "reason": selection.reason,
            "metrics": dict(selection.results[selection.chosen]),
        },
        "fused": None if exported.fused is None else fused_to_json(exported.fused),
        "notes": list(exported.notes),
    }


def fused_to_json(fused: Fused) -> dict[str, Any]:
    """Return the JSON form of a fused graph."""
    return {"path": str(fused.path), "certificate": fused.certificate.to_json()}


def checked_to_json(checked: Checked) -> Mapping[str, Any]:
    """Return the JSON form of a check."""
    return {"rows": checked.n_rows, "inputs": dict(checked.inputs), "members": dict(checked.formats)}


def _proof(member: MemberSpec) -> dict[str, Any]:
    return {
        "source": dict(member.source),
        "sha256": member.sha256,
        "certificate": member.certificate.to_json(),
        "int8": None if member.quantization is None else member.quantization.to_json(),
    }
