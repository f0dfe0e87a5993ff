"""What both clients' channels have in common: options, and gRPC failures as this project's errors."""

import json
from collections.abc import Sequence
from typing import Any

import grpc

from ..contract.errors import InvalidInput, WidedeepError
from ..protocol.statuses import error_of

MAX_MESSAGE_BYTES = 64 << 20
DEFAULT_TIMEOUT_S = 30.0
MAX_ROWS = 8192

Options = Sequence[tuple[str, Any]]

_SEVERAL = ("dns:", "ipv4:", "ipv6:")
"""Schemes of targets that stand for several addresses; `host:port` alone is one server, whatever it resolves to."""

# Servers that drain say so on their health service, and calls keep away from them before they refuse any.
_TAKE_TURNS = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
_RESOLVE_MS = 5000


def check_connections(connections: int) -> int:
    """Return the number of connections that a client was given.

    Raises:
        InvalidInput: it is none.
    """
    if connections < 1:
        raise InvalidInput(f"expected at least one connection, got {connections}")
    return connections


def channel_options(target: str, max_message_bytes: int, extra: Options) -> list[tuple[str, Any]]:
    """Return the options of a channel that has a connection of its own; extra ones come last and win.

    Calls to a target such as `dns:///models:8001` or `ipv4:10.0.0.1:8001,10.0.0.2:8001` take turns on all its addresses
    that are up. A name is resolved again when a connection ends, at most every 5 s instead of gRPC's 30.

    A lost connection is tried again within 0.1 to 2 s instead of gRPC's 1 to 120 s: until then every call of ours that
    could be tried again would fail unsent.
    """
    options: dict[str, Any] = {
        "grpc.max_send_message_length": max_message_bytes,
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 2000,
        # Channels of one process with equal options would share a connection.
        "grpc.use_local_subchannel_pool": 1,
        "grpc.dns_min_time_between_resolutions_ms": _RESOLVE_MS,
    }
    if target.startswith(_SEVERAL):
        options["grpc.service_config"] = json.dumps(_TAKE_TURNS)
    scheme, _, addresses = target.partition(":")
    if "," in addresses and scheme in {"ipv4", "ipv6"}:
        # By default the authority is the whole list, which is no authority: the native front end refuses it.
        options["grpc.default_authority"] = addresses.split(",")[0]
    return list((options | dict(extra)).items())


def as_error(failure: grpc.RpcError) -> WidedeepError:
    """Return a failed call as an error that keeps the server's message; its `__cause__` is the failure itself."""
    error = error_of(failure.code(), failure.details() or failure.code().name)
    error.__cause__ = failure
    return error
