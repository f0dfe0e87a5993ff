"""What was measured: records, kept as JSON so that report and plots can be made again, and runs put together."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One measurement.

    Attributes:
        workload: the bundle.
        load: the load's name, or `memory`, `start`, `members`.
        contender: who.
        client: `perf_analyzer` or `caller`; empty where nothing is called.
        round: from 0.
        values: figure -> value; the unit is in the figure's name.
        run: when the run began that it is of.
    """

    workload: str
    load: str
    contender: str
    client: str
    round: int
    values: Mapping[str, float]
    run: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Return what all rounds of one measurement share."""
        return self.workload, self.load, self.contender, self.client


@dataclass(frozen=True, slots=True)
class Figure:
    """A median over rounds and the least and largest of them."""

    median: float
    low: float
    high: float
    n_rounds: int


@dataclass(slots=True)
class Results:
    """Everything of one or more runs.

    Attributes:
        machine: facts about the machine and the versions, of the last run.
        settings: how the last run was made.
        contenders: contender -> how it runs.
        skipped: contender -> why it was left out.
        records: all measurements.
    """

    machine: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    contenders: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def merge(self, newer: "Results") -> "Results":
        """Return these with the newer ones; what both have measured is taken from the newer."""
        replaced = {record.key for record in newer.records}
        kept = [record for record in self.records if record.key not in replaced]
        measured = {record.contender for record in newer.records}
        skipped = {name: why for name, why in self.skipped.items() if name not in measured}
        return Results(
            newer.machine,
            newer.settings,
            {**self.contenders, **newer.contenders},
            {**skipped, **newer.skipped},
            [*kept, *newer.records],
        )

    def find(self, workload: str, load: str, contender: str, client: str | None = None) -> list[Record]:
        """Return the rounds of a measurement, by any client if none is named."""
        wanted = (workload, load, contender)
        return [
            record
            for record in self.records
            if record.key[:3] == wanted and (client is None or record.client == client)
        ]

    def figure(self, value: str, workload: str, load: str, contender: str, client: str | None = None) -> Figure | None:
        """Return the median and spread of a value, None if it was not measured."""
        records = self.find(workload, load, contender, client)
        return summary([record.values[value] for record in records if value in record.values])

    def names(self, attribute: str) -> list[str]:
        """Return the different values of an attribute of the records, in order of appearance."""
        return list(dict.fromkeys(getattr(record, attribute) for record in self.records))


def summary(values: Sequence[float]) -> Figure | None:
    """Return median, least and largest; None of nothing. Values that are no number are left out."""
    numbers = [value for value in values if value == value]  # noqa: PLR0124 - NaN
    if not numbers:
        return None
    return Figure(statistics.median(numbers), min(numbers), max(numbers), len(numbers))


def load(path: Path) -> Results:
    """Return the results of a file, none if there is no file."""
    if not path.exists():
        return Results()
    data = json.loads(path.read_bytes())
    return Results(**{**data, "records": [Record(**record) for record in data["records"]]})


def save(path: Path, results: Results) -> None:
    """Write results to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(results), indent=1))
    part.replace(path)


def ratios(ours: Iterable[Record], theirs: Iterable[Record], value: str) -> Figure | None:
    """Return our value over theirs, round by round of one run; None where no round has both."""
    other = {(record.run, record.round): record.values.get(value) for record in theirs}
    found = []
    for record in ours:
        base = other.get((record.run, record.round))
        if base and value in record.values:
            found.append(record.values[value] / base)
    return summary(found)
