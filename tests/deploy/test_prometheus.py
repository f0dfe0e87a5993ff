"""A real Prometheus scrapes a real server under load, with the shipped rules and the dashboard's queries."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import DEPLOY
from peers.processes import free_port
from queries import expressions
from small_bundle import make_bundle, rows
from widedeep.serving.client import Client
from widedeep.serving.contract.errors import WidedeepError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="needs Debian's package prometheus"),
]

EMPTY_WHERE_ALL_IS_WELL = {"Load failures"}


@dataclass(frozen=True)
class Monitored:
    """A server under load, its repository, and the Prometheus that watches it."""

    repository: Path
    address: str
    prometheus: str

    def ask(self, path: str, **query: str) -> Any:
        """Return what an endpoint of Prometheus's HTTP API answers."""
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:  # noqa: S310
            return json.load(answer)["data"]

    def firing(self) -> dict[str, dict[str, str]]:
        """Return the alerts that fire, by name, with their labels."""
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert["labels"] for alert in alerts if alert["state"] == "firing"}


def wait(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Return the first true value of a condition."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if found := condition():
                return found
        except OSError:
            pass  # not listening yet
        time.sleep(0.1)
    pytest.fail(f"{what}: not within {seconds} s")


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    folder = tmp_path_factory.mktemp("monitored")
    repository = folder / "models"
    make_bundle(repository / "animals" / "1")
    command = [sys.executable, "-m", "widedeep.serving.cli", "serve", repository, "--host=127.0.0.1"]
    flags = ["--metrics", "--poll-interval-s=0.2", "--drain-wait-s=0"]
    ports = [free_port() for _ in range(3)]
    flags += [f"--port={ports[0]}", f"--metrics-port={ports[1]}"]
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(DEPLOY / "prometheus" / "alerts.yaml")]
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[1]}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    prometheus = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    prometheus += [f"--web.listen-address=127.0.0.1:{ports[2]}", "--log.level=error"]
    with subprocess.Popen([*command, *flags]) as server, subprocess.Popen(prometheus) as watcher:
        try:
            found = Monitored(repository, f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[2]}")
            ready = f"http://127.0.0.1:{ports[1]}/v2/health/ready"
            wait(lambda: urllib.request.urlopen(ready).status == 200, "ready server")
            with load(found.address):
                yield found
        finally:
            for process in (watcher, server):
                process.send_signal(signal.SIGTERM)
    assert server.returncode == 0


class load:  # noqa: N801 - reads as a verb
    """Calls a server, mostly well and sometimes with a name that it does not know, until the block ends."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _call(self) -> None:
        with Client(self._address, model="animals") as client, Client(self._address, model="dragons") as lost:
            while not self._stop.wait(0.02):
                client.predict(rows(3))
                with pytest.raises(WidedeepError):
                    lost.predict(rows(1))


def test_prometheus_reads_the_server_and_nothing_is_wrong(monitored: Monitored) -> None:
    wait(lambda: monitored.ask("query", query="rate(widedeep_calls_total[5s]) > 0")["result"], "rate of calls")
    (target,) = monitored.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert monitored.firing() == {}


def test_every_panel_of_the_dashboard_shows_something(monitored: Monitored) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    empty = []
    for title, expression in expressions(dashboard):
        query = re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "10s"))
        if title not in EMPTY_WHERE_ALL_IS_WELL:
            try:
                wait(lambda: monitored.ask("query", query=query)["result"], title, seconds=5)  # noqa: B023
            except pytest.fail.Exception:
                empty.append((title, query))
    assert empty == []


def test_a_broken_version_fires_the_alert_while_the_good_one_is_served(monitored: Monitored) -> None:
    broken = monitored.repository / ".new"
    shutil.copytree(monitored.repository / "animals" / "1", broken)
    graph = next(broken.rglob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])
    broken.rename(monitored.repository / "animals" / "2")
    labels = wait(lambda: monitored.firing().get("WidedeepLoadFailure"), "alert")
    assert (labels["model"], labels["severity"]) == ("animals", "warning")
    assert monitored.ask("query", query="widedeep_model_ready{version='1'} == 1")["result"]
    with Client(monitored.address, model="animals") as client:
        assert len(client.predict(rows(2)).label) == 2
