"""How an engine runs a job's tasks: what changes how fast the job goes, or when it gives up, but no row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..scorer import Scorer
from ..worker import OnError


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What every engine is told.

    Attributes:
        n_workers: processes of a cluster that run tasks, at most; 0 for all that it offers. One machine has one.
        threads_per_worker: threads, and so cores, of each; 0 for one on a cluster, and all cores of one machine.
        on_error: whether a row that cannot be scored goes to the reject file or ends the job.
        address: of the Ray cluster or the Spark master; "" as configured, else this machine.
        retries: how often a task is run again after the process that ran it has died.
        server: `host:port` of the server that scores, for jobs that have one.
        verbose: whether a cluster's own log and progress are shown.
        scorer: what scores, where this process has it already; stays in this process.
    """

    n_workers: int = 0
    threads_per_worker: int = 0
    on_error: OnError = "reject"
    address: str = ""
    retries: int = 3
    server: str = ""
    verbose: bool = False
    scorer: Scorer | None = None

    def worker_arguments(self) -> Mapping[str, Any]:
        """Return what a `Worker` in another process is made with, beside the job."""
        return {"n_threads": self.threads_per_worker or 1, "on_error": self.on_error, "server": self.server}
