"""What all workers have served, those that have died included, for whoever watches the server."""

import logging
from collections.abc import Sequence
from concurrent.futures import TimeoutError as Late

from ..metrics.observation import Observation
from ..metrics.process import process_values
from ..metrics.spelling import Told, read_observation
from .control import ConnectionLost
from .crew import Crew
from .ledger import Ledger

_LOG = logging.getLogger(__name__)
_WAIT_S = 2.0
"""How long a worker may take to answer: a look at a server must end, even where one of its workers hangs."""


class Overview:
    """The last word of every worker. Any method may be called from any thread. Owner: the supervisor."""

    def __init__(self, crew: Crew) -> None:
        """Store whom to ask."""
        self._crew = crew
        self._ledger = Ledger()

    def record(self) -> None:
        """Write down what workers have counted lately: what is not written down is lost with one that dies."""
        self._ask(in_full=False)

    def observation(self) -> Observation:
        """Return what there is to say of all of them now."""
        told = self._ask(in_full=True)
        counts = {key: parts[0] for key, parts in self._ledger.total(_keys(told)).items()}
        return read_observation(told, counts, process_values())

    def _ask(self, *, in_full: bool) -> Sequence[Told]:
        replies = self._crew.begin("observe", in_full=in_full)
        told: list[Told] = []
        for life, reply in replies:
            try:
                said: Told = reply.result(_WAIT_S)
            except (ConnectionLost, Late, RuntimeError) as error:
                _LOG.debug("a worker does not say what it has counted: %s", error)
                continue
            self._ledger.record(life, {key: [counts] for key, counts in said["counts"].items()})
            told.append(said)
        if told and len(told) == len(replies):
            self._ledger.keep(_keys(told))  # what no worker knows any more is not asked for again
        return told


def _keys(told: Sequence[Told]) -> list[str]:
    """Return the keys of all that workers have counts of."""
    return list(dict.fromkeys(key for said in told for key in said["keys"]))
