"""Rows as every kind of model takes them: a table, and arrays such as images beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...serving.contract.tensors import Array


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of a data set without their target.

    Attributes:
        table: pandas DataFrame with the index 0 to n_rows - 1: columns of numbers, all float32 or all float64, where
            NaN is a missing one, and columns of words (dtype object, `str` cells), where "" is a missing one. None
            where there are no columns.
        arrays: input name -> `(n_rows, ...)` float32.
    """

    table: Any = None
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table) if self.table is not None else len(next(iter(self.arrays.values())))

    def take(self, index: Array) -> "Rows":
        """Return the rows of these indices, or of a mask, in a table that is numbered anew."""
        table = None if self.table is None else self.table.iloc[index].reset_index(drop=True)
        return Rows(table, {name: array[index] for name, array in self.arrays.items()})

    def columns(self) -> dict[str, Array]:
        """Return column or input name -> its cells, as `bind_columns` takes them."""
        table = {} if self.table is None else {str(name): self.table[name].to_numpy() for name in self.table.columns}
        return {**table, **self.arrays}
