"""How a training goes, line by line, on a terminal or in a log."""

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from .campaign import News
from .dataset import Dataset
from .run import Listener


@dataclass(slots=True)
class ConsoleListener:
    """Prints the data, each trial as it ends, and the stages after the search. Owner: one thread."""

    console: Console
    _started: float = field(default_factory=time.monotonic)
    _best: float = float("inf")

    def listener(self) -> Listener:
        """Return what `train` tells."""
        return Listener(self._data, self._resume, self._news, self._assembly)

    def _data(self, data: Dataset, test: Dataset | None) -> None:
        problem = data.problem
        inputs = [
            f"{len(problem.numeric)} columns of numbers" if problem.numeric else "",
            f"{len(problem.text)} of words" if problem.text else "",
            *(f"{name} {list(shape)}" for name, shape in problem.arrays.items()),
        ]
        goal = f"{problem.n_outputs} classes" if problem.task == "classification" else "a number"
        kept = "" if test is None else f", {len(test.target):,} more are set aside for the test"
        self._print(f"{len(data.target):,} rows{kept}; {', '.join(filter(None, inputs))}; predicting {goal}")
        for note in data.notes:
            self._print(f"[yellow]![/] {escape(note)}")

    def _resume(self, n_trials: int) -> None:
        self._print(f"going on with the {n_trials} trials of an earlier run")

    def _news(self, news: News) -> None:
        if news.candidate is None:
            told = f": {escape(news.reason.splitlines()[0])}" if news.state == "failed" and news.reason else ""
            self._print(f"  {news.name:<28} {news.state}{told} ({news.seconds:.1f} s)")
            return
        about = news.candidate.about
        latency = "" if about.latency_us is None else f" {about.latency_us:8.2f} us/row, exported"
        mark = " [green]best[/]" if about.loss < self._best else ""
        self._best = min(about.loss, self._best)
        self._print(f"  {news.name:<28} {about.loss:.5f}{latency} ({news.seconds:.1f} s){mark}")

    def _assembly(self, n_candidates: int) -> None:
        self._print(f"making a bundle from the best of {n_candidates} candidates")

    def _print(self, text: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self._started:6.0f} s[/] {text}", soft_wrap=True)
