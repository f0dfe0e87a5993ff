import socket

import pytest
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.workers.port import hold_port

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what servers bind by default


def listening(host: str, port: int, *, shared: bool) -> socket.socket:
    """Listen as a front end does that shares its port, or as any other server."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen()
    return listener


def close(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", EVERYWHERE])
def test_workers_share_a_port_that_is_held_and_connections_come_to_them_only(host: str) -> None:
    held = hold_port(host, 0)
    port = held[0].getsockname()[1]
    workers = [listening("127.0.0.1", port, shared=True) for _ in range(2)]
    callers = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(32)]
    for worker in workers:
        worker.setblocking(False)
    accepted = 0
    for worker in workers:
        try:
            while True:
                worker.accept()[0].close()
                accepted += 1
        except BlockingIOError:
            continue
    assert accepted == 32
    close(*held, *workers, *callers)


def test_nobody_else_can_have_a_port_that_is_held() -> None:
    held = hold_port("127.0.0.1", 0)
    port = held[0].getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        listening("127.0.0.1", port, shared=False)
    with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1:{port}: is the port in use\?"):
        hold_port("127.0.0.1", port)
    close(*held)


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_somebody_listens_on_is_refused_even_if_he_would_share_it(shared: bool) -> None:
    other = listening("127.0.0.1", 0, shared=shared)
    port = other.getsockname()[1]
    for host in ("127.0.0.1", EVERYWHERE):
        with pytest.raises(ConfigurationError, match="is the port in use"):
            hold_port(host, port)
    close(other)


def test_a_port_is_free_again_once_it_is_let_go() -> None:
    held = hold_port("127.0.0.1", 0)
    port = held[0].getsockname()[1]
    worker = listening("127.0.0.1", port, shared=True)
    caller = socket.create_connection(("127.0.0.1", port), timeout=5)
    answerer = worker.accept()[0]
    close(answerer, caller, worker, *held)  # the connection lingers on the server's side
    close(*hold_port("127.0.0.1", port))


def test_a_host_that_is_not_of_this_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192.0.2.1:8001"):
        hold_port("192.0.2.1", 8001)
