"""What an export file may say: every section and key, its type, its limits and its meaning.

Only what can be judged from the file alone is judged here. Paths are relative to the file. The descriptions of the keys
are the reference: the table in the documentation is made from them.
"""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    model_validator,
)

from ...serving.contract.bundle import BUNDLE_FILE, Task
from ...serving.contract.errors import InvalidInput
from ..member import ConversionError
from ..quantize import BOUND
from .problems import Problem, SpecError, Text, first_problem

FORMATS = ("keras", "savedmodel", "xgboost", "lightgbm", "skops", "onnx", "pickle")
SUFFIXES = {
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".model": "xgboost",
    ".txt": "lightgbm",
    ".lgb": "lightgbm",
    ".skops": "skops",
    ".onnx": "onnx",
    ".joblib": "pickle",
    ".pkl": "pickle",
    ".pickle": "pickle",
}
"""Suffix of a model file -> its format; a folder is a SavedModel."""

_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"


def _of_one_kind(labels: tuple[Any, ...]) -> tuple[Any, ...]:
    if not (all(type(label) is str for label in labels) or all(type(label) is int for label in labels)):
        raise ValueError("expected labels that are all text or all whole numbers")
    return labels


Names = Annotated[tuple[str, ...], Strict(False)]
Positive = Annotated[int, Field(ge=1)]
Labels = Annotated[tuple[Any, ...], Strict(False), AfterValidator(_of_one_kind)]
Sizes = Annotated[tuple[Positive, ...], Strict(False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Place(_Section):
    """Where some arrays are: columns or arrays of a file."""

    file: str | None = Field(None, min_length=1, description="Parquet, CSV, NPZ or NPY file; by default the data file")
    columns: Names = Field((), description="its columns, or the one array of an NPZ file")


def _as_columns(value: object) -> object:
    if isinstance(value, str):
        return {"columns": [value]}
    return {"columns": value} if isinstance(value, list) else value


def _as_file(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


Columns = Annotated[Place, BeforeValidator(_as_columns)]
File = Annotated[Place, BeforeValidator(_as_file)]


class Data(_Section):
    """Section `[data]`: the rows."""

    held_out: str | None = Field(
        None,
        min_length=1,
        description="Parquet, CSV, NPZ or NPY file, or a folder with one subfolder of images a class: rows that no "
        "member was trained on. Members are scored on them and the combination is learned from that",
    )
    rows: str | None = Field(
        None,
        min_length=1,
        description="instead of `held_out`: rows that members may have been trained on; then every member needs "
        "`scores` of them",
    )
    target: Columns | None = Field(
        None,
        description="the truth: a column or array of the data file, a list of columns (several outputs), or `{file = "
        '"y.npy"}`; labels as served, or their numbers from 0. A folder of classes has it already',
    )
    missing_text: str | None = Field(
        None, description="what stands for a missing cell of a text column; without it such cells are refused"
    )

    @model_validator(mode="after")
    def _one_file(self) -> "Data":
        if (self.held_out is None) == (self.rows is None):
            raise ValueError("expected either `held_out` or `rows`")
        return self

    @property
    def file(self) -> str:
        """The data file, whichever key named it."""
        return self.held_out or self.rows or ""


class Input(_Section):
    """Section `[inputs.NAME]`: what members take under this name."""

    file: str | None = Field(
        None, min_length=1, description="file with these rows, in the order of the data file, which it is by default"
    )
    folder: str | None = Field(None, min_length=1, description="folder of image files that the column `files` names")
    files: str | None = Field(
        None, description="column of the data file with the image files' names, relative to `folder`"
    )
    columns: Names = Field(
        (),
        description="columns of a table, by default all but the target; of an NPZ file its one array, by default that "
        "of the input's name",
    )
    features: Names = Field((), description="names of the columns of an array `(n_rows, n_columns)`")
    shape: Sizes = Field(
        (), description="shape of one row: makes one array of the columns, or of a column of lists (row-major)"
    )
    categories: dict[str, Labels] = Field(
        {},
        description="column -> its categories, all text or all whole numbers, in the order in which training numbered "
        "them",
    )
    dtype: Literal["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"] | None = Field(
        None, description="datatype to cast to; a table of one datatype is one tensor. By default as in the file"
    )
    scale: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="divide by this, in float32 unless `dtype` is given"
    )
    size: Sizes = Field(
        (), max_length=2, description="`[height, width]` to resize images to; without it all must have one size"
    )
    channels: Literal[1, 3, 4] | None = Field(None, description="channels of images; by default as in the files")

    @model_validator(mode="after")
    def _consistent(self) -> "Input":
        if (self.folder is None) != (self.files is None):
            raise ValueError("`folder` and `files` go together: the folder, and the column with the files' names")
        if self.folder is not None and self.file is not None:
            raise ValueError("expected `file` or `folder`, got both")
        if len(self.size) == 1:
            raise ValueError("size: expected [height, width]")
        return self


class Member(_Section):
    """Section `[members.NAME]`: one model file. The order of members is that of the file."""

    file: str = Field(min_length=1, description="the model file, or the folder of a SavedModel")
    format: Literal["keras", "savedmodel", "xgboost", "lightgbm", "skops", "onnx", "pickle"] | None = Field(
        None, description="where the suffix does not tell"
    )
    inputs: Names = Field(
        (), description="inputs that it takes; by default all for a net or an ONNX file, else the only table"
    )
    scores: File | None = Field(
        None,
        description="out-of-fold scores `(n_rows, n_outputs)` of the data file's rows: an NPY file, an NPZ file with "
        "an array of the member's name, or `{file = ..., columns = [...]}`",
    )
    expected: File | None = Field(
        None, description="what the trained model itself answers for these rows; the export fails where it differs"
    )
    output: str | None = Field(None, description="name of the output with the scores, of an ONNX file with several")
    rounds: Positive | Literal["best"] | None = Field(
        None, description='XGBoost Boosters: boosting rounds to keep, or "best" where early stopping stopped'
    )
    trusted: Names = Field((), description="types of a skops file to trust beyond those that skops does")
    allow_nan: bool | None = Field(
        None, description="whether requests may hold missing values; by default where the model takes them"
    )
    int8: bool = Field(False, description="serve the net with 8-bit weights and activations")


class Ensemble(_Section):
    """Section `[ensemble]`: how the combination is learned."""

    learners: Names = Field((), description="weight learners to choose from, all that suit the task by default")
    seed: int = Field(0, ge=0, description="seed of the folds and of learners that draw at random")
    folds: int = Field(5, ge=2, description="folds of the cross-validation that chooses among learners")
    golden_rows: int = Field(8, ge=1, description="real rows kept in the bundle with their exact answers")
    int8_bound: float = Field(
        BOUND,
        ge=0,
        allow_inf_nan=False,
        description="what int8 may cost the ensemble on held-out rows: so much log loss, or this share of the squared "
        "error",
    )
    fused: bool | None = Field(
        None,
        description="whether the bundle carries members and combiner also as one graph, which serving runs where that "
        "is faster; by default where the members together take at most 16 MiB and it can be proven",
    )


class Spec(_Section):
    """The whole file; its top-level keys describe the bundle."""

    name: str = Field(pattern=_NAME, description="the served name")
    version: int = Field(1, ge=1, description="the version, for the default of `output`")
    output: str | None = Field(
        None, min_length=1, description="the bundle's folder; by default `models/<name>/<version>`"
    )
    task: Task | None = Field(None, description="what the scores are, where the models do not say")
    classes: Labels = Field(
        (), description="labels in score order, all text or all whole numbers, where models only know numbers from 0"
    )
    providers: Names = Field(
        (), description="onnxruntime execution providers on which parity must hold, beside the CPU"
    )
    data: Data = Field(description="the rows")
    inputs: dict[str, Input] = Field({}, description="what members take, by name")
    members: dict[str, Member] = Field(min_length=1, description="the models, by name")
    ensemble: Ensemble = Field(
        default_factory=lambda: Ensemble.model_validate({}), description="how the combination is learned"
    )


class Sheet:
    """A spec with the file it was read from: resolves paths and says where a problem is."""

    def __init__(self, path: Path, text: Text, spec: Spec) -> None:
        self.path = path
        self.spec = spec
        self._text = text

    @property
    def output(self) -> Path:
        """The bundle's folder."""
        return self.resolve(self.spec.output or f"models/{self.spec.name}/{self.spec.version}")

    def resolve(self, path: str) -> Path:
        """Return a path of the file, which is relative to its folder."""
        return self.path.parent / path

    @contextmanager
    def blame(self, *where: object) -> Iterator[None]:
        """Say of problems inside that the key at `where` is to blame."""
        try:
            yield
        except (Problem, ConversionError, InvalidInput, OSError) as error:
            raise self.problem(*where, message=error) from error

    def problem(self, *where: object, message: object) -> SpecError:
        """Return the error that says what is wrong at a key: `problem("members", "deep", "file", message=...)`."""
        return SpecError(self._text.at(tuple(map(str, where)), str(message)))


def read_spec(path: Path) -> Sheet:
    """Read an export file.

    Raises:
        SpecError: it is no TOML, or a key is unknown, missing, of another type or out of range; names file, line,
            section and key.
    """
    if not path.is_file():
        wanted = f"expected an export file in TOML, or with --fused a bundle's folder, which holds {BUNDLE_FILE}"
        raise SpecError(f"{path} {'is no file' if path.exists() else 'does not exist'}; {wanted}")
    try:
        content = path.read_bytes().decode()
        data = tomllib.loads(content)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path} is no TOML: {error}") from error
    text = Text(str(path), content)
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        raise SpecError(first_problem(text, error.errors(), Spec)) from None
    return Sheet(path, text, spec)
