"""What a batch job is: everything that decides which rows its parts hold, bit for bit.

Two runs with equal specs write equal parts, on one machine or on many; a run with another spec is refused an output
that this one began. What changes only how fast the job goes (engine, cores) or when it gives up (limits of rejected
rows) is not part of it.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Format = Literal["parquet", "csv", "jsonl", "ipc", "npz", "images"]
OutputFormat = Literal["parquet", "csv", "jsonl"]

FORMAT = 1
"""Of `_job.json`; another one is refused."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the input as it was when the job was planned.

    Attributes:
        path: below the input's root; the root's own name where the input is one file.
        size: bytes.
        mtime_ns: time of its last change, nanoseconds since 1970; 0 where the file system tells none.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How the input is read.

    Attributes:
        url: what the user named, made absolute: a local path, or any URL that pyarrow or fsspec knows.
        format: of its files.
        schema: `pyarrow.Schema` of all its columns, partition columns included, with the types that every batch has.
        partitions: names of the columns that the folders' names give (`year=2026/`).
        delimiter: between the columns of CSV.
        multiline: whether quoted CSV cells may hold line ends; such files are read as a whole by one worker.
        image_column: of image folders, the name of the column that holds an image's bytes.
    """

    url: str
    format: Format
    schema: Any
    partitions: tuple[str, ...] = ()
    delimiter: str = ","
    multiline: bool = False
    image_column: str = "image"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "url": self.url,
            "format": self.format,
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "columns": {item.name: str(item.type) for item in self.schema},
            "partitions": list(self.partitions),
            "delimiter": self.delimiter,
            "multiline": self.multiline,
            "image_column": self.image_column,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        import pyarrow as pa

        return cls(
            url=data["url"],
            format=data["format"],
            schema=pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data["schema"]))),
            partitions=tuple(data["partitions"]),
            delimiter=data["delimiter"],
            multiline=data["multiline"],
            image_column=data["image_column"],
        )


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job.

    Attributes:
        bundle: the bundle's folder as an absolute path; with `server`, the served name.
        name: the bundle's name.
        version: its version, as it is served.
        digest: its digest.
        server: whether a running server scores the rows, whose numbers may differ by 1e-6.
        input: how the input is read.
        input_digest: SHA-256 over paths, sizes and times of its files.
        output: the output folder, a local path or URL.
        output_format: of the parts.
        outputs: the bundle's outputs to write, such as `label` and `scores/<member>`.
        keep: columns of the input to write beside them.
        prefix: begins the name of every column of the bundle's.
        bundle_columns: whether every row carries the bundle's name, version and digest.
        image_scale: what the pixels of encoded images and raw bytes are divided by; None as the bundle says.
        label: column with the truth for `--evaluate`, "" without.
        slices: columns by whose values the evaluation is told apart.
        chunk_rows: rows that are scored at once.
        member_rows: member -> rows of one run of its graph at most, 0 for a whole chunk; one thread runs it.
        providers: member -> execution providers, as the server's setting; "" is for every member not named.
    """

    bundle: str
    name: str
    version: str
    digest: str
    input: InputSpec
    input_digest: str
    output: str
    outputs: tuple[str, ...]
    server: bool = False
    output_format: OutputFormat = "parquet"
    keep: tuple[str, ...] = ()
    prefix: str = ""
    bundle_columns: bool = False
    image_scale: float | None = None
    label: str = ""
    slices: tuple[str, ...] = ()
    chunk_rows: int = 4096
    member_rows: Mapping[str, int] = field(default_factory=dict)
    providers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        special = {"input", "member_rows", "providers"}
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in special}
        lists = {name: list(value) for name, value in plain.items() if isinstance(value, tuple)}
        return {
            "format": FORMAT,
            **plain,
            **lists,
            "input": self.input.to_json(),
            "member_rows": dict(self.member_rows),
            "providers": {member: list(names) for member, names in self.providers.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
        return cls(**{**known, **lists, "input": InputSpec.from_json(data["input"])})
