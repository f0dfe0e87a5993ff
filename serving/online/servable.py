"""A servable: one loaded, verified and warmed-up version of a model, with its queue and its counters."""

import time
from collections.abc import Mapping, Sequence

from ..contract.bundle import Bundle
from ..contract.errors import InvalidInput
from ..contract.tensors import Array
from ..engine.ensemble import Ensemble
from ..protocol.codec import RequestReader
from .batcher import Batcher
from .call import Call
from .counters import Counters
from .policy import BatchPolicy
from .request import Request
from .statistics import Statistics
from .tally import SharedCount


class Servable:
    """One version of a model, ready to answer. `submit` may be called from any thread until `close`.

    Owner: the repository, which creates it only from an ensemble that has passed its golden check.

    Attributes:
        outputs: those answered when a request names none.
        all_outputs: those, then each member's scores.
        reader: reads requests for it.
        class_names: in score order, numbers spelled out; empty where there are no classes.
    """

    def __init__(
        self,
        name: str,
        version: int,
        ensemble: Ensemble,
        policy: BatchPolicy,
        *,
        max_request_rows: int = 1 << 20,
        waiting: SharedCount | None = None,
    ) -> None:
        """Put a batcher and counters beside an ensemble.

        Args:
            name: the served name.
            version: the served version.
            ensemble: what executes.
            policy: limits of the queue.
            max_request_rows: rows of one request at most.
            waiting: the count of rows that wait, where several processes share the limit.
        """
        self.name = name
        self.version = version
        self.ensemble = ensemble
        self.max_request_rows = max_request_rows
        bundle = ensemble.bundle
        self.outputs = bundle.outputs
        self.all_outputs = (*bundle.outputs, *bundle.score_outputs)
        self.reader = RequestReader(bundle.inputs, self.all_outputs, self.outputs)
        self.class_names = tuple(map(str, bundle.classes))
        self.statistics = Statistics(len(ensemble.members), ensemble.fused_shares())
        self._batcher = Batcher(ensemble, ensemble.pool, policy, self.statistics, waiting=waiting)

    @property
    def bundle(self) -> Bundle:
        """What is served."""
        return self.ensemble.bundle

    @property
    def digest(self) -> str:
        """Digest of the bundle."""
        return self.ensemble.bundle.digest

    @property
    def waiting_rows(self) -> int:
        """Rows that wait to be executed."""
        return self._batcher.waiting_rows

    def submit(
        self,
        inputs: Mapping[str, Array],
        n_rows: int,
        outputs: Sequence[str],
        timeout_s: float | None = None,
        call: Call | None = None,
    ) -> Request:
        """Queue checked rows and return the request, which gets their answer.

        Args:
            inputs: as `check_rows` accepts them.
            n_rows: their number of rows.
            outputs: names of outputs that exist.
            timeout_s: seconds after which the rows need not be executed any more.
            call: what they came with.

        Raises:
            InvalidInput: more rows than one request may have.
            Overloaded: too many rows wait.
            NotReady: the servable is closed.
        """
        if n_rows > self.max_request_rows:
            raise InvalidInput(f"{n_rows} rows in one request; this server takes at most {self.max_request_rows}")
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        request = Request(inputs, n_rows, outputs, deadline_s, call)
        self._batcher.submit(request)
        return request

    def counters(self) -> list[Counters]:
        """Return what was counted, then what each member has."""
        return self.statistics.all()

    def close(self) -> None:
        """Refuse new requests and return when those accepted are answered."""
        self._batcher.close()
