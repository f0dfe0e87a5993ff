"""A batch between queue and ensemble: pieces of requests, merged for the graphs and split again for their owners."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.tensors import Array
from ..engine.batch import Outputs
from .request import Request
from .stages import BatchStages
from .statistics import BatchRecord


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `start` to `stop` of a request, as part of a batch."""

    request: Request
    start: int
    stop: int

    def inputs(self) -> Mapping[str, Array]:
        """Return the rows' inputs, as views."""
        if self.stop - self.start == self.request.n_rows:
            return self.request.inputs
        return {name: array[self.start : self.stop] for name, array in self.request.inputs.items()}


class Execution:
    """One batch as the ensemble sees it, and what became of it."""

    def __init__(self, batch: Sequence[Piece], clock: Callable[[], float]) -> None:
        self.batch = batch
        self._clock = clock
        self._started = clock()
        self._waited = [self._started - piece.request.arrived_s for piece in batch if piece.start == 0]
        self._runs: list[tuple[int, int, float]] = []
        # Of calls that are traced, of which there are few or none.
        self._stages = [
            call.stages for piece in batch if (call := piece.request.call) is not None and call.stages is not None
        ]
        self._spans: list[tuple[int, int, float, float]] = []
        self.n_rows = sum(piece.stop - piece.start for piece in batch)
        self.outputs = batch[0].request.outputs
        if len(batch) > 1:
            self.outputs = list(dict.fromkeys(name for piece in batch for name in piece.request.outputs))
        self.inputs = _merged(batch)
        self._merged = clock()

    def observe(self, graph: int, n_rows: int, seconds: float) -> None:
        """Note a run of a graph; may be called from any thread."""
        self._runs.append((graph, n_rows, seconds))
        if self._stages:
            self._spans.append((graph, n_rows, (now := self._clock()) - seconds, now))

    def record(self, executed: float) -> BatchRecord:
        """Return what the batch adds to the counters, given the time at which its outputs were there."""
        ended = self._clock()
        for stages in self._stages:
            stages.batches.append(
                BatchStages(
                    n_rows=self.n_rows,
                    n_requests=len(self.batch),
                    started_s=self._started,
                    merged_s=self._merged,
                    executed_s=executed,
                    split_s=ended,
                    runs=self._spans,
                )
            )
        return BatchRecord(
            n_rows=self.n_rows,
            waited_s=self._waited,
            input_s=self._merged - self._started,
            infer_s=executed - self._merged,
            output_s=ended - executed,
            members=self._runs,
        )


def _merged(batch: Sequence[Piece]) -> Mapping[str, Array]:
    """Return the inputs of a batch; those of one whole request are passed on without a copy."""
    if len(batch) == 1:
        return batch[0].inputs()
    parts = [piece.inputs() for piece in batch]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def split(outputs: Outputs, batch: Sequence[Piece]) -> list[Outputs]:
    """Return each piece's rows of the outputs that its request asked for, as views."""
    parts: list[Outputs] = []
    start = 0
    for piece in batch:
        stop = start + piece.stop - piece.start
        parts.append({name: outputs[name][start:stop] for name in piece.request.outputs})
        start = stop
    return parts


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Return the outputs of consecutive rows as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
