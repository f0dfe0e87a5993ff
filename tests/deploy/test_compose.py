"""The compose file: parsed by the rules of the Compose specification, and its parts seen to fit together."""

import re
from pathlib import Path

import compose_spec
import pytest
import yaml
from manifests import DEPLOY, Object, check_variables
from widedeep.serving.settings import ServeSettings

COMPOSE = DEPLOY / "compose"


def interpolated(text: str) -> str:
    """Replace `${NAME:-default}` by the default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture(scope="module")
def text() -> str:
    return interpolated((COMPOSE / "docker-compose.yaml").read_text())


@pytest.fixture(scope="module")
def services(text: str) -> dict[str, Object]:
    return dict(yaml.safe_load(text)["services"])


def test_the_file_keeps_to_the_compose_specification(text: str) -> None:
    project = compose_spec.PyCompose.from_yaml(text)
    project.validate()
    assert set(project.service_names()) == {"widedeep", "prometheus", "grafana"}


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [("read_only:", "read_onyl:", "read_onyl"), ("interval: 10s", "interval: soon", "duration `soon`")],
)
def test_a_mistake_would_be_found(right: str, wrong: str, message: str, text: str) -> None:
    with pytest.raises(ValueError, match=message):
        compose_spec.PyCompose.from_yaml(text.replace(right, wrong, 1)).validate()


def test_every_service_is_locked_down(services: dict[str, Object]) -> None:
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service


def test_only_the_grpc_port_is_open_to_other_machines(services: dict[str, Object]) -> None:
    published = [port for service in services.values() for port in service["ports"]]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == ["8001:8001"]


def test_everything_that_is_mounted_exists(text: str, services: dict[str, Object]) -> None:
    mounts = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    assert {mount for mount in mounts if not mount.startswith(".")} == set(yaml.safe_load(text)["volumes"])
    files = [COMPOSE / mount for mount in mounts if mount.startswith(".") and mount != "../../demo"]
    assert len(files) == 4
    assert all(file.exists() and not file.is_symlink() for file in files)


def test_the_server_has_time_to_drain_and_settings_that_exist(services: dict[str, Object]) -> None:
    server = services["widedeep"]
    check_variables(list(server["environment"]))
    settings = ServeSettings.load({})
    stop_s = int(server["stop_grace_period"].removesuffix("s"))
    assert stop_s > settings.drain_wait_s + settings.grace_s
    assert server["healthcheck"]["test"][1:] == ["widedeep", "health"]
    assert (COMPOSE / server["build"]["context"] / "Dockerfile").resolve().exists()


def test_prometheus_and_grafana_find_each_other_and_the_server(services: dict[str, Object]) -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (target,) = prometheus["scrape_configs"][0]["dns_sd_configs"]
    assert target["names"] == ["widedeep"]
    assert target["port"] == ServeSettings.load({}).metrics_port
    mounted = dict(volume.split(":")[:2][::-1] for volume in services["prometheus"]["volumes"])
    assert all(f"/etc/prometheus/{name}" in mounted for name in prometheus["rule_files"])
    provisioning = COMPOSE / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "widedeep.yaml").read_text())["providers"]
    targets = [Path(volume.split(":")[1]) for volume in services["grafana"]["volumes"]]
    assert Path(provider["options"]["path"]) in [target.parent for target in targets if target.suffix == ".json"]
    home = Path(services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home in targets
