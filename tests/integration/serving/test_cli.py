"""The command `serve` in this process, with a real server."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from widedeep.serving import cli
from widedeep.serving.online.server import Server


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Put back what `serve` sets."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_serve_says_what_it_serves_and_where_then_drains_on_a_signal(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = Server.summary

    def summary_then_signal(server: Server) -> list[str]:
        os.kill(os.getpid(), signal.SIGINT)
        return summary(server)

    monkeypatch.setattr(Server, "summary", summary_then_signal)
    arguments = ["serve", str(bundle_path), "--host", "127.0.0.1", "--port", "0", "--drain-wait-s", "0"]
    assert cli.main(arguments) == 0
    serving, listening, draining, stopped = capsys.readouterr().out.splitlines()
    assert serving == "serving animals version 1: deep (CPU), wide (CPU)"
    assert listening.startswith("listening on 127.0.0.1:")
    assert draining.startswith("draining")
    assert stopped == "stopped"
