"""The client that blocks: drives `steps` over a gRPC channel."""

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import cycle
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from ..protocol.service import Method
from .backoff import DEFAULT, Backoff
from .channel import (
    DEFAULT_TIMEOUT_S,
    MAX_MESSAGE_BYTES,
    MAX_ROWS,
    Options,
    as_error,
    channel_options,
    check_connections,
)
from .model import ModelInfo
from .prediction import Prediction
from .security import Security, open_channel
from .steps import Conversation, Limits, Steps, Wait
from .tables import Data

T = TypeVar("T")


class Client:
    """One model of one server. Every method may be called from any thread; `close` last, or use it in a `with`."""

    def __init__(
        self,
        target: str,
        *,
        model: str,
        version: str = "",
        digest: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        connections: int = 1,
        credentials: grpc.ChannelCredentials | None = None,
        token: str = "",
        plaintext_token: bool = False,
        metadata: Sequence[tuple[str, str]] = (),
        options: Options = (),
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_rows: int = MAX_ROWS,
        backoff: Backoff = DEFAULT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare the channels; each connects with its first call.

        Args:
            target: `host:port`, or any other name that gRPC resolves; calls to `dns:///name:port` and to
                `ipv4:address:port,address:port` take turns on all servers there.
            model: the served name.
            version: the served version; "" means the newest.
            digest: of the only bundle that may answer; calls raise BundleError while another one is served. "" means
                any.
            timeout_s: seconds that a call may take where it names no other limit, waits and all; `math.inf` for no
                limit.
            connections: how many calls take turns on. A connection reaches one worker of a server, by chance, so one
                client makes use of several workers with several times as many connections.
            credentials: of TLS, see `tls_credentials`; without them the channels are not encrypted.
            token: bearer token to send along with every call.
            plaintext_token: whether it may be sent over channels that are not encrypted.
            metadata: sent along with every call.
            options: further gRPC channel options.
            max_message_bytes: size of one message, either way; more rows than fit are sent in several calls.
            max_rows: rows of one call at most.
            backoff: waits between attempts while the server is UNAVAILABLE.
            clock: seconds, monotonic.
            sleep: waits some seconds.
            rng: draws the waits' jitter.

        Raises:
            InvalidInput: no connections, or a token without encryption.
        """
        self._conversation = Conversation(
            model,
            version,
            limits=Limits(max_rows, max_message_bytes),
            backoff=backoff,
            clock=clock,
            random=(rng or random.Random()).random,  # noqa: S311 - jitter, no secret
            digest=digest,
        )
        self._timeout_s = timeout_s
        self._security = Security(credentials, token, metadata, plaintext_token=plaintext_token)
        self._sleep = sleep
        arguments = channel_options(target, max_message_bytes, options)
        self._channels = [
            open_channel(target, self._security.credentials, arguments) for _ in range(check_connections(connections))
        ]
        self._calls: dict[str, Iterator[Callable[..., Any]]] = {}

    def predict(
        self,
        data: Data,
        outputs: Collection[str] | None = None,
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> Prediction:
        """Return the model's outputs for some rows.

        Args:
            data: rows, as one of: an array `(n_rows, d1, ...)`, where the model has one input; a mapping of input name
                -> array; a mapping of column name -> values; a pandas DataFrame; a pyarrow Table or RecordBatch.
                Columns become inputs as `widedeep.serving.contract.columns` says; others are ignored.
            outputs: names to answer, for example `scores/<member>`; None means the model's defaults.
            timeout_s: seconds for all of it; None means the client's own limit.
            request_id: comes back in the prediction, and in the server's logs.

        Raises:
            InvalidInput: the data does not fit the model's inputs.
            NotFound: no such model or version.
            NotReady: the server could not be reached, or was not ready, until no time was left.
            DeadlineExceeded: the time ran out.
            WidedeepError: any other failure; its `__cause__` is the gRPC error.
        """
        return self._run(self._conversation.predict(data, outputs, self._limit(timeout_s), request_id))

    def metadata(self, *, timeout_s: float | None = None) -> ModelInfo:
        """Return the model's inputs and outputs, as the server has them now."""
        return self._run(self._conversation.metadata(self._limit(timeout_s)))

    def is_ready(self, *, timeout_s: float = 1.0) -> bool:
        """Return whether the model can answer now; a server that cannot be reached in time is not ready."""
        return self._run(self._conversation.is_ready(timeout_s))

    def close(self) -> None:
        """Close the channels; calls under way fail."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _limit(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s

    def _run(self, steps: Steps[T]) -> T:
        """Do what the steps say and return what they end with."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    self._sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    response = self._call(step.method)(
                        step.request, timeout=step.timeout_s, metadata=self._security.metadata
                    )
                except grpc.RpcError as failure:
                    step = steps.throw(as_error(failure))
                else:
                    step = steps.send(response)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # steps end with a T

    def _call(self, method: Method) -> Callable[..., Any]:
        """Return what calls a method on the connection whose turn it is."""
        if method.name not in self._calls:
            self._calls[method.name] = cycle(
                [
                    channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
                    for channel in self._channels
                ]
            )
        return next(self._calls[method.name])
