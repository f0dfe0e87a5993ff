"""What `widedeep train` was asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...serving.contract.bundle import Task
from ...serving.contract.errors import WidedeepError

Keep = Literal["refit", "bags"]


class TrainError(WidedeepError):
    """Training cannot begin or found nothing; the message says what was expected and the way out."""

    status = "FAILED_PRECONDITION"


@dataclass(frozen=True, slots=True)
class Options:
    """How to train; see `widedeep train --help`.

    Attributes:
        data: the file or folder.
        target: name of the column to predict.
        output: the repository to which the bundle goes, as `<output>/<name>/<version>`.
        time_limit_s: seconds for everything, the export too.
        name: the model's name, the data's by default.
        task: classification or regression, where the target does not tell.
        image_column: column that holds images.
        image_size: height and width that images are resized to.
        weight_column: column that holds the rows' weights.
        class_weight: "balanced" gives each class the same weight in all.
        drop: columns to leave out.
        kinds: kinds of the zoo to try; all that suit the problem by default.
        max_members: members of the ensemble at most.
        max_latency_us_per_row: what the ensemble may take in onnxruntime, in microseconds a row on one core.
        batch_rows: rows of a batch when latency is measured.
        test_fraction: part of the rows that is set aside and touched once, at the end.
        n_folds: folds of the cross-validation; by the number of rows if None.
        keep: `refit`: a member is trained anew on all rows; `bags`: it is the mean of the models of its folds, at so
            many times the inference cost.
        sampler: what chooses hyperparameters.
        pruner: what ends hopeless trials early.
        max_trials: trials at most; None for as many as there is time for.
        max_rows: rows to train on at most.
        n_workers: processes that train at once; as many as cores if None.
        seed: of everything drawn at random.
        work: folder of the search, kept afterwards; by default one in the user's cache, which a run of the same data
            and options finds again and goes on with, and which goes once the bundle is written.
    """

    data: Path
    target: str
    output: Path
    time_limit_s: float
    name: str | None = None
    task: Task | None = None
    image_column: str | None = None
    image_size: tuple[int, int] | None = None
    weight_column: str | None = None
    class_weight: Literal["balanced"] | None = None
    drop: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    max_members: int = 8
    max_latency_us_per_row: float | None = None
    batch_rows: int = 128
    test_fraction: float = 0.1
    n_folds: int | None = None
    keep: Keep = "refit"
    sampler: str = "tpe"
    pruner: str = "median"
    max_trials: int | None = None
    max_rows: int | None = None
    n_workers: int | None = None
    seed: int = 0
    work: Path | None = None

    @property
    def searches_latency(self) -> bool:
        """Whether latency is an objective of the search beside the loss."""
        return self.max_latency_us_per_row is not None or self.sampler == "nsga2"
