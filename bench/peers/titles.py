"""What a reader calls the workloads and contenders, and which client's figures stand for a contender."""

from .contenders import CONTENDERS
from .results import Results

WORKLOADS = {
    "seed": "seed: 64x64x3 net, 200 rounds, linear",
    "tiny": "tiny: 8x8 net, 30 rounds, linear",
    "wide": "wide only: 200 rounds, linear",
}
_TITLES = {contender.name: contender.title for contender in CONTENDERS}


def contender_title(name: str) -> str:
    """Return the title of a contender."""
    return _TITLES.get(name, name.replace("-", " "))


def best_client(results: Results, workload: str, contender: str) -> str | None:
    """Return `perf_analyzer` where it measured the contender, else `caller`; None for the bare runtime."""
    clients = {r.client for r in results.records if (r.workload, r.contender) == (workload, contender)} - {""}
    return "perf_analyzer" if "perf_analyzer" in clients else next(iter(clients), None)
