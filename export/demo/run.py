"""The demo as a person sees it: make the bundle or reuse it, show how it does, serve it, call it, stop."""

import hashlib
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ...serving.contract.bundle import Bundle, read_bundle
from ...serving.contract.errors import BundleError, ExecutionError
from ...serving.engine.ensemble import Ensemble
from ...serving.protocol.service import SERVICE
from ..progress import phase
from .call import ask, free_port, server
from .digits import Rows, split_digits, table_of
from .make import MODEL, VERSION, Results, make_bundle

RESULTS_FILE = "results.json"
MADE_BY_FILE = "made_by.json"
"""What the bundle was made from: while it is the same, a second run reuses the bundle."""

TEST_ROWS_FILE = "test.parquet"
"""The untouched test rows with their digits, for `widedeep score`."""

_LIBRARIES = (
    "widedeep",
    "tensorflow",
    "xgboost",
    "lightgbm",
    "scikit-learn",
    "skl2onnx",
    "onnx",
    "onnxruntime",
    "numpy",
)
_SERVED_TOLERANCE = 1e-6


def run_demo(output: Path, *, port: int, seed: int, fresh: bool, console: Console | None = None) -> Results:
    """Run it all and return the results.

    Args:
        output: folder to write to; afterwards a repository that `widedeep serve` takes.
        port: port to serve at; a free one if it is taken.
        seed: of the split and of all training.
        fresh: train even if what is there is up to date.
        console: where to print; standard output by default.

    Raises:
        ConversionError: a member cannot be exported faithfully.
        ExecutionError: the server does not start, stop or answer as it should; quotes its log.
    """
    console = console or Console(highlight=False)
    started = time.monotonic()
    path = output / MODEL / VERSION
    made_by = _made_by(seed)
    train, test = split_digits(seed)
    console.print(
        f"{len(train) + len(test):,} real handwritten digits, each an 8x8 image and {train.inputs['tabular'].shape[1]} "
        f"columns; {len(test)} of them are kept for the test"
    )
    if not fresh and (results := _reusable(output, made_by)) is not None:
        console.print(f"[green]✓[/] {path} is up to date; --fresh trains again")
    else:
        made = make_bundle(path, seed, lambda title, n_steps: phase(console, title, n_steps))
        results = made.results
        _write_json(output / RESULTS_FILE, results)
        _write_json(output / MADE_BY_FILE, {**made_by, "digest": made.built.bundle.digest})
        console.print(f"[green]✓[/] wrote {path}")
    _write_rows(output / TEST_ROWS_FILE, test)
    bundle = read_bundle(path)
    console.print(_parity_table(bundle), _results_table(results), f"Chosen: {bundle.selection['reason']}\n")
    _serve_and_call(console, output, path, port, test)
    console.print(f"[green]✓[/] all done in {time.monotonic() - started:.0f} s; try next:")
    command = _own_command()
    score = f"score {path} {output / TEST_ROWS_FILE} scored --evaluate digit"
    for line in (f"serve {output}", score, f"inspect {path}", f"verify {path}"):
        console.print(f"    {command} {line}", style="bold")
    return results


def _serve_and_call(console: Console, output: Path, path: Path, port: int, test: Rows) -> None:
    """Serve the repository in a process of its own and compare its answers with the bundle's own."""
    expected = Ensemble.load(path).predict(test.inputs)["probabilities"]
    with server(output, free_port(port), output / "server.log") as address:
        console.print(f"[green]✓[/] serving at [bold]{address}[/] (gRPC, {SERVICE})")
        answer = ask(address, MODEL, test.inputs)
        difference = float(np.abs(answer["probabilities"] - expected).max())
        if not difference <= _SERVED_TOLERANCE:
            raise ExecutionError(f"served probabilities differ from the bundle's by {difference:.3g}")
        accuracy = float((answer["label"][:, 0] == test.labels).mean())
        console.print(
            f"[green]✓[/] tritonclient: {len(test)} rows in one call, {accuracy:.2%} right; "
            f"largest difference from the bundle run without a server: {difference:.1g}"
        )
        table = Table("digit", "label", "probability", title="One call a row", title_justify="left")
        for i in range(5):
            row = ask(address, MODEL, {name: array[i : i + 1] for name, array in test.inputs.items()})
            table.add_row(str(test.labels[i]), str(row["label"][0, 0]), f"{row['probabilities'].max():.4f}")
        console.print(table)
    console.print("[green]✓[/] the server drained and stopped with status 0")


def _parity_table(bundle: Bundle) -> Table:
    table = Table("member", "model", "rows", "probes", "largest difference", title="Parity", title_justify="left")
    for member in bundle.members:
        proof = member.certificate
        table.add_row(
            member.name, member.source.get("class", ""), str(proof.rows), str(proof.probes), f"{proof.max_abs_diff:.1e}"
        )
    return table


def _results_table(results: Results) -> Table:
    """Return every member and every combiner with its metrics; the chosen one is marked."""
    title = "On the untouched test rows"
    table = Table("", "log loss", "accuracy", "", title=title, title_justify="left")
    for group in ("members", "combiners"):
        for name, metrics in results[group].items():
            chosen = group == "combiners" and name == results["chosen"]
            table.add_row(
                name,
                f"{metrics['log_loss']:.4f}",
                f"{metrics['accuracy']:.4f}",
                "chosen" if chosen else "",
                style="bold green" if chosen else None,
            )
        table.add_section()
    return table


def _made_by(seed: int) -> dict[str, Any]:
    """Return all that decides what the bundle is: the seed, the demo's own sources and the libraries."""
    source = hashlib.sha256()
    for name in ("digits.py", "make.py", "members.py"):
        source.update(Path(__file__).with_name(name).read_bytes())
    return {"seed": seed, "source": source.hexdigest(), "versions": {name: version(name) for name in _LIBRARIES}}


def _reusable(output: Path, made_by: dict[str, Any]) -> Results | None:
    """Return the results of an earlier run if its bundle is whole and would be made the same way again."""
    try:
        recorded = json.loads((output / MADE_BY_FILE).read_text())
        results: Results = json.loads((output / RESULTS_FILE).read_text())
        digest = read_bundle(output / MODEL / VERSION).digest
    except (OSError, ValueError, BundleError):
        return None
    return results if recorded == {**made_by, "digest": digest} else None


def _write_json(path: Path, data: object) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(data, indent=2) + "\n")
    temporary.replace(path)


def _write_rows(path: Path, rows: Rows) -> None:
    """Write rows as a Parquet file; one that is the same stays, as jobs on a newer one would be others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.BufferOutputStream()
    pq.write_table(table_of(rows), content)
    data = content.getvalue().to_pybytes()
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)


def _own_command() -> str:
    """Return the command as the user typed it, relative to where they are."""
    path = Path(sys.argv[0])
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)
