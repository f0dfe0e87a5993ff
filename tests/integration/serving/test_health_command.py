import socket

import pytest
from widedeep.serving.cli import health
from widedeep.serving.online.server import Server


def test_a_ready_server_gives_status_0(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert health([server.address]) == 0
    assert capsys.readouterr().out == f"{server.address}: SERVING\n"


def test_no_server_gives_status_1_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nothing can answer there
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert health([address, "--timeout-s", "0.5"]) == 1
    assert address in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", "tcp://10.0.0.1:8001"])
def test_without_an_address_the_port_is_the_servers_default_or_that_of_the_variable(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("WIDEDEEP_PORT", str(server.port))
    assert health([]) == 0
    assert capsys.readouterr().out == f"localhost:{server.port}: SERVING\n"
    monkeypatch.setenv("WIDEDEEP_PORT", value)
    with pytest.raises(SystemExit):
        health(["--help"])
    assert "localhost and WIDEDEEP_PORT, or 8001" in " ".join(capsys.readouterr().out.split())
