"""The commands `serve` and `tune` in this process, with a real server and real sessions."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from widedeep.serving import cli
from widedeep.serving.engine.cache import Cache
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.pool import Pool
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


def test_tune_measures_every_version_of_a_repository_and_servers_use_what_it_kept(
    repository_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    assert cli.main(["tune", str(repository_path), "--cache-dir", str(cache), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [graph["name"] for graph in found["animals/1"]] == ["deep", "wide"]
    assert found["animals/1"][0]["row_us"].keys() == {"all", "extended", "basic"}
    bundle = repository_path / "animals" / "1"
    ensemble = Ensemble.load(bundle, pool=Pool(1), cache=Cache.open(cache))
    assert [ensemble.plans[i].chunk_rows for i in (0, 1)] == [
        graph["setup"]["plan"]["chunk_rows"] for graph in found["animals/1"]
    ]


def test_tune_shows_a_table_of_each_bundle(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tune", str(bundle_path), "--cache-dir", str(tmp_path / "cache")]) == 0
    title, header, _, deep, wide = capsys.readouterr().out.splitlines()
    assert title == "animals version 1"
    assert header.split()[:3] == ["graph", "chunk", "rows"]
    assert (deep.split()[0], wide.split()[0]) == ("deep", "wide")


def test_tune_refuses_to_work_for_nothing(bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", str(bundle_path), "--cache-dir", ""]) == 1
    assert "no cache folder that can be used" in capsys.readouterr().err
