"""What every hand-written loop does around its models: a Parquet file in, a Parquet file with the predictions out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Arrays = Mapping[str, np.ndarray]


class Ensemble:
    """What `bundle.json` says of inputs, members and their weights; picklable.

    Attributes:
        members: member -> (file, its inputs).
    """

    def __init__(self, bundle: Path) -> None:
        """Read the description.

        Raises:
            SystemExit: the members are not combined by weights alone.
        """
        described = json.loads((bundle / "bundle.json").read_bytes())
        combiner = described["combiner"]
        if combiner["kind"] != "linear_pool" or combiner["temperatures"] or np.ndim(combiner["weights"]) != 1:
            raise SystemExit(f"{bundle}: the loops combine by one weight a member only")
        self._inputs = described["inputs"]
        self._classes = np.asarray(described["classes"])
        self._weights = np.asarray(combiner["weights"], np.float32)
        self.members = {m["name"]: (str(bundle / m["file"]), tuple(m["inputs"])) for m in described["members"]}

    @property
    def columns(self) -> list[str]:
        """The columns of a file that are read."""
        return ["id", *(name for spec in self._inputs for name in spec.get("feature_names") or [spec["name"]])]

    def row_bytes(self) -> int:
        """Return how many bytes a row's inputs take."""
        return sum(4 * int(np.prod(spec["shape"][1:])) for spec in self._inputs)

    def arrays(self, batch: Any) -> dict[str, np.ndarray]:
        """Return a record batch's inputs as arrays, copied only where columns are put together."""
        out = {}
        for spec in self._inputs:
            if names := spec.get("feature_names"):
                out[spec["name"]] = np.stack([batch.column(name).to_numpy() for name in names], axis=1)
            else:
                values = batch.column(spec["name"]).flatten().to_numpy()
                out[spec["name"]] = values.reshape(batch.num_rows, *spec["shape"][1:])
        return out

    def arrays_of_frame(self, frame: Any) -> dict[str, np.ndarray]:
        """Return the inputs of a pandas data frame, in which a list is a cell of its own."""
        out = {}
        for spec in self._inputs:
            if names := spec.get("feature_names"):
                out[spec["name"]] = frame[names].to_numpy()
            else:
                out[spec["name"]] = np.stack(frame[spec["name"]].to_list()).reshape(len(frame), *spec["shape"][1:])
        return out

    def combined(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        """Return the weighted mean of the members' scores, `(n_rows, n_classes)`."""
        return sum(weight * score for weight, score in zip(self._weights, scores, strict=True))  # type: ignore[return-value]

    def answer(self, ids: Any, probabilities: np.ndarray) -> Any:
        """Return the table that is written: `id`, `probabilities`, `label`."""
        flat = pa.array(np.ascontiguousarray(probabilities, np.float32).reshape(-1))
        lists = pa.FixedSizeListArray.from_arrays(flat, probabilities.shape[1])
        return pa.table(
            {"id": ids, "probabilities": lists, "label": pa.array(self._classes[probabilities.argmax(axis=1)])}
        )


class Sink:
    """A Parquet file with the settings of `widedeep score`, which are faster than pyarrow's own; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def write(self, table: Any) -> None:
        """Add rows."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, table.schema, compression="zstd", compression_level=1, use_dictionary=False
            )
        self._writer.write_table(table)

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
