"""From the name of a format to how its files are read."""

from ..spec import InputSpec
from .csv import CsvFormat
from .format import FileFormat
from .image_files import ImageFormat
from .ipc import IpcFormat
from .jsonl import JsonLinesFormat
from .npz import NpzFormat
from .parquet import ParquetFormat


def file_format(spec: InputSpec) -> FileFormat:
    """Return how the files of an input are read.

    Raises:
        ConfigurationError: the delimiter cannot stand between cells.
    """
    match spec.format:
        case "parquet":
            return ParquetFormat()
        case "ipc":
            return IpcFormat()
        case "npz":
            return NpzFormat()
        case "csv":
            return CsvFormat(spec.delimiter, spec.multiline)
        case "jsonl":
            return JsonLinesFormat()
        case "images":
            return ImageFormat(spec.image_column)
