"""Signs of life: which of the processes that work on a study still run.

Each holds an operating system's lock on a file of its own beside the database. The system takes the lock away in the
moment that the process ends, however it ends, so a resume right after a kill knows at once which trials have died.
(Heartbeats would tell the same a minute late, and would take a process that is stopped or starved for a dead one.)

The locks are `flock`'s: on one machine, or on a shared file system that carries them to all machines.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Life:
    """This process's sign of life, and its view of the others'.

    One thread at a time. Held from its making until `close` or the end of the process; belongs to one `Study`.
    """

    def __init__(self, database: Path) -> None:
        self._lock_path = database.with_name(f"{database.name}.lock")
        self._folder = database.with_name(f"{database.name}.owners")
        self._folder.mkdir(parents=True, exist_ok=True)
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        with self.alone():  # none takes the new file for a dead owner's between its making and its locking
            self._sign: IO[bytes] | None = (self._folder / self.owner).open("wb")
            fcntl.flock(self._sign, fcntl.LOCK_EX)
            for path in self._folder.iterdir():
                self.is_alive(path.name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other process out of the few milliseconds in which trials are handed out or given up."""
        with self._lock_path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def is_alive(self, owner: str) -> bool:
        """Return whether an owner's process still runs; to be asked inside `alone`. A dead one's file goes."""
        path = self._folder / owner
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        path.unlink()
        return False

    def close(self) -> None:
        """Give the sign of life up."""
        if self._sign is not None:
            (self._folder / self.owner).unlink(missing_ok=True)
            self._sign.close()
            self._sign = None
