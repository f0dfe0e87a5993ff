"""Whether a folder may become, or already is, the output of a job: nobody's files are mixed with a job's or removed."""

import os
import re

from pyarrow import fs

from ...contract.errors import ConfigurationError
from ..locations import absolute, resolve
from .journal import INPUTS, JOB, TASKS
from .lock import LOCK
from .output import TMP, Output

PART = re.compile(r"part-\d{6,}(-retry-\d+)?\.(parquet|csv|jsonl)")

_UNBEGUN = {LOCK, TMP, TASKS, INPUTS}
"""What a job that was cut off before it had begun leaves."""


def check_output(output: Output, input_url: str = "") -> None:
    """Make sure that a job may write here; changes nothing.

    Args:
        output: the folder; need not exist.
        input_url: the job's input, "" where it is not known.

    Raises:
        ConfigurationError: it may not; names the file that is in the way.
    """
    if output.files.get_file_info(output.path).type == fs.FileType.File:
        raise ConfigurationError(f"{output}: expected a folder, or nothing yet, for the output; this is a file")
    if input_url and _is_inside(output, input_url):
        raise ConfigurationError(f"{output}: the output must not lie in the input {input_url}, which is never changed")
    names = output.names()
    has_job = JOB in names
    for name in names:
        if not _may_be_there(name, has_job):
            raise ConfigurationError(
                f"{output.place(name)}: the output folder holds this, which is not "
                f"{'its' if has_job else 'a'} batch job's; give another folder, or move it away"
            )


def _may_be_there(name: str, has_job: bool) -> bool:
    """Return whether a name is a job's; names with a dot are nobody's: readers of data sets ignore them."""
    if name.startswith("."):
        return True
    return (name.startswith("_") or PART.fullmatch(name) is not None) if has_job else name in _UNBEGUN


def _is_inside(output: Output, url: str) -> bool:
    files, path = resolve(absolute(url))
    if not files.equals(output.files):
        return False
    inner, outer = output.path, path.rstrip("/")
    if output.local:
        inner, outer = os.path.realpath(inner), os.path.realpath(outer)
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")
