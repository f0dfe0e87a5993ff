"""Progress of long work on a terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def phase(console: Console, title: str, n_steps: int) -> Iterator[Callable[[str], None]]:
    """Show one stage: a bar on a terminal, and a line when it is done; elsewhere also a line a step.

    Args:
        console: where to print.
        title: what is done.
        n_steps: how many steps it has, 0 if that is not known.

    Yields:
        A function to call once a step with the name of what is done.
    """
    started = time.monotonic()
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=n_steps or None)
        if not console.is_terminal:
            console.print(f"  {title}")
        last = ""

        def step(name: str) -> None:
            nonlocal last
            progress.update(task, description=f"{title}: {name}", advance=1)
            if not console.is_terminal and name != last:
                console.print(f"    {name} ({time.monotonic() - started:.0f} s)")
            last = name

        yield step
    console.print(f"[green]✓[/] {title} ({time.monotonic() - started:.1f} s)")
