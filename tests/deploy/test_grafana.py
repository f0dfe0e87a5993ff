"""The dashboard: its queries parse, and ask for metrics and labels that a real server has."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from manifests import DEPLOY, Object
from queries import expressions, labels_of, names_in
from widedeep.serving.online.metrics.families import FAMILIES
from widedeep.serving.online.server import Server

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
TARGETS = {f"{panel}: {expr}": expr for panel, expr in expressions(DASHBOARD)}

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool of Debian's package prometheus"
)


@pytest.fixture
def exposed(start_server: Callable[..., Server], repository_path: Path) -> dict[str, set[str]]:
    """The labels of each metric of a real server."""
    server = start_server(repository_path, metrics=True, metrics_port=0)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as answer:
        return labels_of(answer.read().decode())


def test_every_query_and_alert_asks_for_metrics_and_labels_that_a_server_has(exposed: dict[str, set[str]]) -> None:
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
    queries = [*TARGETS.values(), *(alert["expr"] for alert in alerts)]
    by_prometheus = {"up": {"job", "instance"}}
    # Some have values only where a store is served, or with TLS; tests of those say so.
    declared = {family.name: set(family.labels) for family in FAMILIES}
    known = {**declared, **exposed, **by_prometheus}
    for query in queries:
        for name, labels in names_in(query):
            assert name in known, query
            assert labels - {"instance", "job", "namespace"} <= known[name], query


def test_the_autoscaler_s_metric_is_one_of_the_server(exposed: dict[str, set[str]]) -> None:
    assert "widedeep_waiting_rows" in exposed


@needs_promtool
def test_every_query_parses(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:query:{number}", "expr": substituted(expr)} for number, expr in enumerate(TARGETS.values())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"{len(TARGETS)} rules found" in result.stdout


def substituted(expr: str) -> str:
    return re.sub(r"\$\w+", ".*", expr.replace("$__rate_interval", "5m"))


def test_the_variables_that_queries_use_are_those_that_there_are() -> None:
    used = {name for expr in TARGETS.values() for name in re.findall(r"\$(\w+)", expr)}
    assert used - {"__rate_interval"} <= set(VARIABLES)
    assert {"datasource", "model", "instance"} <= set(VARIABLES)


def test_every_panel_takes_the_chosen_data_source_and_overlaps_no_other() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_panel_says_what_it_shows() -> None:
    panels: list[Object] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in panels if not panel["description"]] == []
