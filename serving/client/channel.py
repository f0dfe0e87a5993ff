"""What both clients' channels have in common: options, and gRPC failures as this project's errors."""

from collections.abc import Sequence
from typing import Any

import grpc

from ..contract.errors import InvalidInput, WidedeepError
from ..protocol.statuses import error_of

MAX_MESSAGE_BYTES = 64 << 20
DEFAULT_TIMEOUT_S = 30.0
MAX_ROWS = 8192

Options = Sequence[tuple[str, Any]]


def check_connections(connections: int) -> int:
    """Return the number of connections that a client was given.

    Raises:
        InvalidInput: it is none.
    """
    if connections < 1:
        raise InvalidInput(f"expected at least one connection, got {connections}")
    return connections


def channel_options(max_message_bytes: int, extra: Options) -> list[tuple[str, Any]]:
    """Return the options of a channel that has a connection of its own; extra ones come last and win.

    A lost connection is tried again within 0.1 to 2 s instead of gRPC's 1 to 120 s: until then every call of ours that
    could be tried again would fail unsent.
    """
    options = {
        "grpc.max_send_message_length": max_message_bytes,
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 2000,
        # Channels of one process with equal options would share a connection.
        "grpc.use_local_subchannel_pool": 1,
    }
    return list((options | dict(extra)).items())


def as_error(failure: grpc.RpcError) -> WidedeepError:
    """Return a failed call as an error that keeps the server's message; its `__cause__` is the failure itself."""
    error = error_of(failure.code(), failure.details() or failure.code().name)
    error.__cause__ = failure
    return error
