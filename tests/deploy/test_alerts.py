"""The alert rules: checked and unit-tested by promtool, and each explained in the runbook."""

import re
import shutil
import subprocess

import pytest
import yaml
from manifests import DEPLOY, ROOT

PROMETHEUS = DEPLOY / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"][0]["rules"]
NAMES = [rule["alert"] for rule in RULES]

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool of Debian's package prometheus"
)


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"),
        ("test", "rules", "alerts_test.yaml"),
    ],
    ids=" ".join,
)
def test_promtool_passes(arguments: tuple[str, ...]) -> None:
    result = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    fires = {check["alertname"] for check in checks if check.get("exp_alerts")}
    assert fires == set(NAMES)
    quiet = {check["alertname"] for check in checks if not check.get("exp_alerts")}
    assert set(NAMES) - quiet <= {"WidedeepModelNotReady"}


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_alert_has_a_severity_and_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == str(rule["alert"]).lower()
    headings = re.findall(r"^#+ +`?(\w+)`?(?: .*)?$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
