"""What came of a training, as text and as JSON."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .run import Trained


def show(console: Console, trained: Trained) -> None:
    """Print members, figures and what to do next."""
    console.print(_table(trained))
    selection = trained.bundle.selection
    console.print(f"Combined by {selection['reason']}.")
    if trained.judged is not None and trained.test is not None:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in trained.judged.metrics.items())
        console.print(f"On {len(trained.test.target):,} test rows, touched once: {figures}.")
    console.print(f"{trained.assembled.latency_us:.2f} us a row on one core, batched.")
    console.print(f"[green]✓[/] wrote {escape(str(trained.path))} in {trained.seconds:.0f} s; try next:")
    repository = trained.path.parent.parent
    console.print(f"    widedeep serve {repository}", markup=False)
    console.print(f"    widedeep report {trained.path}", markup=False)


def _table(trained: Trained) -> Table:
    loss_name = "log loss" if trained.data.problem.task == "classification" else "RMSE"
    table = Table("member", f"{loss_name}, out of fold", "us a row", box=None, pad_edge=False)
    if trained.judged is not None:
        table.add_column(f"{loss_name}, test")
    members = {candidate.about.name: candidate.about for candidate in trained.candidates}
    main = "log_loss" if trained.data.problem.task == "classification" else "rmse"
    for name in trained.assembled.members.names:
        tested = [f"{trained.judged.members[name][main]:.5f}"] if trained.judged is not None else []
        table.add_row(name, f"{members[name].loss:.5f}", f"{members[name].latency_us:.2f}", *tested)
    chosen = trained.bundle.selection["results"][trained.bundle.selection["chosen"]]
    tested = [f"[bold]{trained.judged.metrics[main]:.5f}[/]"] if trained.judged is not None else []
    table.add_row("[bold]ensemble[/]", f"[bold]{chosen[main]:.5f}[/]", f"{trained.assembled.latency_us:.2f}", *tested)
    return table


def to_json(trained: Trained) -> dict[str, Any]:
    """Return the result as `--json` prints it."""
    members = {candidate.about.name: candidate.about for candidate in trained.candidates}
    judged = trained.judged
    return {
        "path": str(trained.path),
        "task": trained.data.problem.task,
        "n_rows": {"train": len(trained.data.target), "test": 0 if trained.test is None else len(trained.test.target)},
        "n_trials": trained.n_trials,
        "n_candidates": len(trained.candidates),
        "members": {
            name: {
                "loss": members[name].loss,
                "latency_us": members[name].latency_us,
                "reason": trained.assembled.members.reasons.get(name, ""),
                "test": None if judged is None else dict(judged.members[name]),
            }
            for name in trained.assembled.members.names
        },
        "combiner": {"chosen": trained.bundle.selection["chosen"], "reason": trained.bundle.selection["reason"]},
        "out_of_fold": trained.bundle.selection["results"][trained.bundle.selection["chosen"]],
        "test": None if judged is None else dict(judged.metrics),
        "latency_us": trained.assembled.latency_us,
        "notes": list(trained.data.notes),
        "seconds": round(trained.seconds, 1),
    }
