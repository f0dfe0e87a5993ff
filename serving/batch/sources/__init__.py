"""Where a job's rows come from: finds files, cuts them into tasks, and reads what a task names.

    url -> discovery (root, listing, suffixes, partitions) -> InputSpec, files
    files -> tasks -> Range -> reader -> Block, Unread

One module a format - `parquet`, `ipc`, `npz`, `csv`, `jsonl`, `image_files` - behind the seam `format.FileFormat`.
"""

from .discovery import digest, discover, list_again
from .reader import Reader, open_reader
from .tasks import plan

__all__ = ["Reader", "digest", "discover", "list_again", "open_reader", "plan"]
