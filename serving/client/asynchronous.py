"""The client for asyncio: drives `steps` over a gRPC channel of grpc.aio."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
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
from .security import Security, open_aio_channel
from .steps import Conversation, Limits, Steps, Wait
from .tables import Data

T = TypeVar("T")


class AsyncClient:
    """One model of one server, for one event loop. Calls may be under way side by side; `close` last."""

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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Store the settings, which are those of `Client`; the channels belong to the loop of the first call."""
        self._conversation = Conversation(
            model,
            version,
            limits=Limits(max_rows, max_message_bytes),
            backoff=backoff,
            clock=clock,
            random=(rng or random.Random()).random,  # noqa: S311 - jitter, no secret
            digest=digest,
        )
        self._target = target
        self._connections = check_connections(connections)
        self._options = channel_options(target, max_message_bytes, options)
        self._timeout_s = timeout_s
        self._security = Security(credentials, token, metadata, plaintext_token=plaintext_token)
        self._sleep = sleep
        self._channels: list[grpc.aio.Channel] = []
        self._calls: dict[str, Iterator[Callable[..., Any]]] = {}

    async def predict(
        self,
        data: Data,
        outputs: Collection[str] | None = None,
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> Prediction:
        """Return the model's outputs for some rows; arguments and errors are those of `Client.predict`."""
        return await self._run(self._conversation.predict(data, outputs, self._limit(timeout_s), request_id))

    async def metadata(self, *, timeout_s: float | None = None) -> ModelInfo:
        """Return the model's inputs and outputs, as the server has them now."""
        return await self._run(self._conversation.metadata(self._limit(timeout_s)))

    async def is_ready(self, *, timeout_s: float = 1.0) -> bool:
        """Return whether the model can answer now; a server that cannot be reached in time is not ready."""
        return await self._run(self._conversation.is_ready(timeout_s))

    async def close(self) -> None:
        """Close the channels; calls under way fail."""
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _limit(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s

    async def _run(self, steps: Steps[T]) -> T:
        """Do what the steps say and return what they end with."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    await self._sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    response = await self._call(step.method)(
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
        if not self._channels:
            self._channels = [
                open_aio_channel(self._target, self._security.credentials, self._options)
                for _ in range(self._connections)
            ]
        if method.name not in self._calls:
            self._calls[method.name] = cycle(
                [
                    channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
                    for channel in self._channels
                ]
            )
        return next(self._calls[method.name])
