"""The port that workers share, held by the supervisor: in use for everybody else while it lives.

With SO_REUSEPORT the kernel lets any process of the same user join a port, a stale server as well. So the supervisor
binds the port without it, which fails if anybody else has it, and only then allows sharing on that very socket. It
never listens, so no connection comes to it.
"""

import socket

from ...contract.errors import ConfigurationError

_WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - to recognise them


def hold_port(host: str, port: int) -> list[socket.socket]:
    """Return sockets that hold a port on all addresses of a host; port 0 picks a free one.

    Raises:
        ConfigurationError: the port is in use, or the host is no address of this machine.
    """
    held: list[socket.socket] = []
    try:
        for family, address in _addresses(host):
            held.append(_bound(family, address, held[0].getsockname()[1] if held else port))
    except OSError as error:
        for each in held:
            each.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise ConfigurationError(f"cannot listen on {where}: is the port in use? ({error})") from error
    return held


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Return what the front ends bind: for a wildcard one address of both families, where there are two."""
    if host in _WILDCARDS:
        return [(socket.AF_INET6, "::") if socket.has_dualstack_ipv6() else (socket.AF_INET, "0.0.0.0")]  # noqa: S104
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if address == "::":
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Connections of the last server that linger do not count as use, but once bound nobody may join that way.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        bound.close()
        raise
    return bound
