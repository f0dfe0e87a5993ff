"""A running server as a scorer, for jobs that must use what is deployed.

Any number of threads ask at once, so the calls of a job are pipelined and the server makes its batches of them. What
passes by itself is waited for: a server that restarts, a full queue, a call that is never answered. What does not is an
error of the whole job: another bundle than the one that the job began with, or a model that is gone.
"""

import random
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import grpc
import numpy as np

from ..client import Backoff, Client, ModelInfo
from ..client.security import from_environment
from ..contract.errors import (
    BundleError,
    Cancelled,
    DeadlineExceeded,
    ExecutionError,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    Unsupported,
    WidedeepError,
)
from ..contract.tensors import Array, DataType, TensorSpec
from .scorer import Identity

CALL_ROWS = 1024
"""Rows of one call at most: more than a server's batch, and few enough that a slow net answers them in time."""

_PROBE_S = 2.0
_PASSES = (NotReady, Overloaded, DeadlineExceeded, Cancelled)
_TOO_LARGE = "message larger than max"
"""What gRPC says, under the status of a full queue, of a message that is beyond the other side's limit."""

_FAILED = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
"""What servers answer when a model fails on some rows; and proxies, of a connection that they lost."""


class RemoteScorer:
    """A model of a server of the Open Inference Protocol. Any number of threads may call `score`; `close` last.

    Attributes:
        identity: the served name, the version and the bundle's digest, "" where the server tells none.
        inputs: what it takes; of other servers than this project's without the names of features.
        outputs: what it can answer; outputs whose rows have no fixed shape are left out.
        defaults: names of the outputs that are answered where none are named.
        classes: names of the classes in score order; empty for values, or where the server does not tell.
    """

    def __init__(
        self, client: Client, newest: Client, info: ModelInfo, version: str, *, timeout_s: float, patience_s: float
    ) -> None:
        """Store the parts; see `connect`. `newest` tells of the newest version, whatever it is."""
        self.identity = Identity(info.name, version, info.digest)
        self.inputs = info.inputs
        self.outputs = _outputs(info)
        names = [spec.name for spec in self.outputs]
        self.defaults = tuple(name for name in names if not (info.digest and name.startswith("scores/")))
        self.classes = info.classes
        self._client = client
        self._newest = newest
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._backoff = Backoff()
        self._closed = threading.Event()

    @classmethod
    def connect(
        cls,
        address: str,
        model: str,
        version: str = "",
        *,
        digest: str = "",
        timeout_s: float = 60.0,
        patience_s: float = 300.0,
        connections: int = 4,
    ) -> Self:
        """Ask a server what it serves, and hold on to just that; TLS and a token are as variables say.

        Args:
            address: `host:port`.
            model: the served name.
            version: the served version; "" for the newest of now.
            digest: of the bundle that must answer; "" for the one of now.
            timeout_s: seconds that one call may take.
            patience_s: seconds without an answer after which a server is given up. The first call of all, which names
                no digest, waits for a server only as long as one call may take.
            connections: how many calls take turns on; a connection reaches one worker of a server.

        Raises:
            BundleError: another bundle is served; names both digests.
            NotFound: no such model or version.
            NotReady: the server could not be reached in time.
            Unsupported: an input, or every output, is none that a batch job can do with.
        """
        security = from_environment()
        with Client(address, model=model, version=version, digest=digest, **security) as client:
            info = client.metadata(timeout_s=patience_s if digest else timeout_s)
        version = version or _newest(info.versions)
        client = Client(address, model=model, version=version, digest=info.digest, connections=connections, **security)
        newest = Client(address, model=model, **security)
        return cls(client, newest, info, version, timeout_s=timeout_s, patience_s=patience_s)

    def score(self, arrays: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return output name -> `(n_rows, ...)`; see `Scorer.score`.

        Raises:
            InvalidInput: the server refused rows; it counts them from the start of a call.
            ExecutionError: a member failed.
            BundleError: another bundle is served now; names both digests.
            NotFound: the model is gone.
            NotReady: there was no answer for as long as the scorer has patience.
            WidedeepError: any other failure.
        """
        n_rows = len(next(iter(arrays.values())))
        size, start, failures, since_s = min(n_rows, CALL_ROWS), 0, 0, time.monotonic()
        parts: list[dict[str, Array]] = []
        while start < n_rows:
            rows = {name: array[start : start + size] for name, array in arrays.items()}
            try:
                parts.append(self._ask(rows, outputs))
            except WidedeepError as error:
                size = self._size_after(error, len(next(iter(rows.values()))), failures, time.monotonic() - since_s)
                failures += 1
            else:
                start, failures, since_s = start + size, 0, time.monotonic()
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def close(self) -> None:
        """Close the connections; calls under way, and those that wait to be tried again, fail."""
        self._closed.set()
        self._client.close()
        self._newest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, rows: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        try:
            answer = self._client.predict(rows, outputs, timeout_s=self._timeout_s)
        except ValueError as error:  # what gRPC says of a closed connection
            if not self._closed.is_set():
                raise
            raise Cancelled("the scorer was closed") from error
        if missing := [name for name in outputs if name not in answer.outputs]:
            raise Unsupported(f"the server was asked for output {missing[0]!r} and answered {list(answer.outputs)}")
        shapes = {spec.name: spec.row_shape for spec in self.outputs}
        return {name: answer[name].reshape(-1, *shapes[name]) for name in outputs}

    def _size_after(self, error: WidedeepError, size: int, failures: int, failing_s: float) -> int:
        """Wait, and return how many rows to ask for next; or raise what the failure of a call means for the job.

        Args:
            error: the failure.
            size: rows of the call.
            failures: failures before it, without an answer between.
            failing_s: seconds since the last answer.
        """
        if self._closed.is_set():
            raise Cancelled("the scorer was closed") from error
        if isinstance(error, Overloaded) and _TOO_LARGE in str(error):
            if size == 1:
                raise InvalidInput(f"row 0: the server takes no message that holds it: {error}") from error
            return size // 2
        if isinstance(error, NotReady | NotFound):
            self._check_not_replaced()
        if _status_of(error) in _FAILED:
            if failures:
                raise ExecutionError(str(error)) from error
        elif not isinstance(error, _PASSES):
            raise error
        if failing_s > self._patience_s:
            raise NotReady(f"the server has not answered for {failing_s:.0f} s: {error}") from error
        self._closed.wait(self._backoff.wait_s(failures, random.random()))  # noqa: S311 - jitter, no secret
        return max(1, size // 2) if isinstance(error, DeadlineExceeded) else size

    def _check_not_replaced(self) -> None:
        """Refuse to wait for a version that is gone where another one is served in its place."""
        try:
            info = self._newest.metadata(timeout_s=min(_PROBE_S, self._timeout_s))
        except (WidedeepError, ValueError):  # a ValueError where the scorer was closed meanwhile
            return
        if info.versions and self.identity.version not in info.versions:
            raise BundleError(
                f"model {info.name!r}: expected version {self.identity.version}, the bundle of digest "
                f"{self.identity.digest!r}; served is version {_newest(info.versions)}, {info.digest!r}"
            )


def _outputs(info: ModelInfo) -> tuple[TensorSpec, ...]:
    """Return the outputs that can become columns, one value a row as `(-1, 1)`.

    Raises:
        Unsupported: there is none.
    """
    usable = tuple(
        TensorSpec(output.name, DataType(output.datatype), output.shape if len(output.shape) > 1 else (-1, 1))
        for output in info.outputs
        if output.datatype in set(DataType) and output.shape[:1] == (-1,) and all(size > 0 for size in output.shape[1:])
    )
    if not usable:
        raise Unsupported(f"model {info.name!r}: expected an output of shape [-1, d1, ...], got {info.outputs}")
    return usable


def _newest(versions: Sequence[str]) -> str:
    """Return the version that a server means where none is named, "" where it tells none."""
    return max(
        versions, key=lambda version: (version.isdecimal(), int(version) if version.isdecimal() else 0), default=""
    )


def _status_of(error: WidedeepError) -> grpc.StatusCode | None:
    cause = error.__cause__
    return cause.code() if isinstance(cause, grpc.Call) else None
