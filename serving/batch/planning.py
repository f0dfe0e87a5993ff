"""From what the user wishes to the job's spec: the bundle, the input's columns and types, the sizes that are fixed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from ..contract.errors import ConfigurationError
from ..contract.tensors import DataType, TensorSpec
from .binding import check_types, wanted_types, widened
from .evaluation import Evaluator, evaluator_of
from .local import LocalScorer
from .locations import absolute
from .scorer import Scorer
from .scoring import chunk_rows_of
from .sources import digest, discover, plan
from .spec import Format, InputFile, JobSpec, OutputFormat
from .store.parts import check_schema
from .store.rejects import reject_schema
from .task import Task
from .worker import batch_scorer, columns_read

PART_BYTES = 32 << 20
"""Input that becomes one part: what a kill costs at most, for each task under way."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants, as the arguments of `widedeep score` say it; `JobSpec` tells what else there is.

    Attributes:
        bundle: the bundle's folder; with a server, the name that the model is served under will do.
        input: path or URL.
        output: path or URL of the folder.
        outputs: to write; None for the bundle's own.
        input_format: of the files; None to go by their suffixes.
        part_bytes: input that becomes one part, about.
        server: `host:port` of a server that scores instead of this process.
        server_version: version that it must serve; "" for its newest.
    """

    bundle: str
    input: str
    output: str
    outputs: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()
    input_format: Format | None = None
    output_format: OutputFormat = "parquet"
    delimiter: str = ","
    multiline: bool = False
    image_scale: float | None = None
    prefix: str = ""
    bundle_columns: bool = False
    label: str = ""
    slices: tuple[str, ...] = ()
    part_bytes: int = PART_BYTES
    server: str = ""
    server_version: str = ""
    providers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what an unset variable of a shell makes of a command.

        Raises:
            ConfigurationError: a place is empty, or there is nothing to write.
        """
        for what, named in (("bundle", self.bundle), ("input", self.input), ("output", self.output)):
            if not named:
                raise ConfigurationError(f"the {what} is empty; expected a path or a URL")
        if self.outputs is not None and not self.outputs:
            raise ConfigurationError("there are no outputs to write; name one, or leave the choice to the bundle")


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that can begin.

    Attributes:
        spec: what it is.
        files: of its input.
        tasks: returns its tasks; only a new job needs them.
        scorer: what scores its rows, in this process.
        evaluator: what judges them, None where nothing does.
    """

    spec: JobSpec
    files: Sequence[InputFile]
    tasks: Callable[[], Iterator[Task]]
    scorer: Scorer
    evaluator: Evaluator | None

    def close(self) -> None:
        """Close the scorer."""
        self.scorer.close()


def make_plan(wishes: Wishes, before: JobSpec | None) -> Plan:
    """Look at bundle and input and return the job.

    Args:
        wishes: what is wanted.
        before: the job that began the output, if there is one: sizes that were measured then are taken over.

    Raises:
        BundleError: the bundle is damaged.
        InvalidInput: the input is not to be read, or does not fit the bundle.
        ConfigurationError: options contradict each other, or the output's format cannot hold a column.
    """
    scorer = _scorer(wishes, before)
    image_column = _image_input(scorer.inputs)
    found, files = discover(
        wishes.input,
        format=wishes.input_format,
        types=wanted_types(scorer.inputs),
        delimiter=wishes.delimiter,
        multiline=wishes.multiline,
        image_column=image_column,
    )
    kept = (*wishes.keep, wishes.label, *wishes.slices)
    source = replace(found, schema=widened(found.schema, scorer.inputs, kept))
    identity = scorer.identity
    spec = JobSpec(
        bundle=wishes.bundle if wishes.server else absolute(wishes.bundle),
        name=identity.name,
        version=identity.version,
        digest=identity.digest,
        input=source,
        input_digest=digest(files),
        output=absolute(wishes.output),
        outputs=scorer.defaults if wishes.outputs is None else wishes.outputs,
        server=bool(wishes.server),
        output_format=wishes.output_format,
        keep=wishes.keep,
        prefix=wishes.prefix,
        bundle_columns=wishes.bundle_columns,
        image_scale=wishes.image_scale,
        label=wishes.label,
        slices=wishes.slices,
        chunk_rows=before.chunk_rows if before else chunk_rows_of(scorer.inputs),
        member_rows=scorer.member_rows if isinstance(scorer, LocalScorer) else {},
        providers=wishes.providers,
    )
    batches = batch_scorer(spec, scorer)
    check_types(scorer.inputs, source.schema)
    reject_schema(pa.schema([source.schema.field(name) for name in columns_read(spec, batches)]))
    check_schema(batches.schema(source.schema), spec.output_format)
    evaluator = evaluator_of(spec, spec.bundle, scorer)
    return Plan(spec, files, lambda: plan(source, files, wishes.part_bytes), scorer, evaluator)


def _scorer(wishes: Wishes, before: JobSpec | None) -> Scorer:
    path = Path(wishes.bundle)
    if not wishes.server:
        measured = None if before is None else before.member_rows
        return LocalScorer.load(path, member_rows=measured, providers=wishes.providers)
    from ..contract.bundle import BUNDLE_FILE, read_description
    from .remote import RemoteScorer

    if not (path / BUNDLE_FILE).is_file():
        return RemoteScorer.connect(wishes.server, wishes.bundle, wishes.server_version)
    bundle = read_description(path)
    return RemoteScorer.connect(wishes.server, bundle.name, wishes.server_version, digest=bundle.digest)


def _image_input(inputs: Sequence[TensorSpec]) -> str:
    """Return the input that a folder of images is for: the one with two or three axes a row."""
    images = [spec for spec in inputs if len(spec.row_shape) in {2, 3} and spec.datatype is not DataType.BYTES]
    return images[0].name if len(images) == 1 else "image"
