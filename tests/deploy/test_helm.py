"""The Helm chart: rendered by Helm itself, validated against Kubernetes' schemas, read by the server's own settings."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import helm_python as helm
import pytest
import yaml
from manifests import (
    DEPLOY,
    IMAGE_SETS,
    KUBERNETES,
    ROOT,
    Object,
    check_docker_config,
    check_files,
    check_pod,
    check_stop,
    containers_of,
    load_settings,
    objects_of,
    one,
    pod_of,
    validate,
    variables_of,
)
from oci_registry import OciRegistry, find_registry, oci_registry
from small_bundle import make_bundle
from widedeep.serving.engine.cache import Cache
from widedeep.serving.online.source import Source
from widedeep.serving.remote.reference import PLAIN_HTTP_VARIABLE, Reference
from widedeep.serving.settings import ServeSettings

CHART = DEPLOY / "helm" / "widedeep"
CASES = {"defaults": {}} | {
    path.stem.removesuffix("-values"): yaml.safe_load(path.read_text()) for path in sorted(CHART.glob("ci/*.yaml"))
}
COMMAND = (sys.executable, "-m", "widedeep.serving.cli")
Render = Callable[..., list[Object]]
OF_THE_CHART = {"host", "port", "metrics", "metrics_host", "metrics_port", "tokens", "cache_dir"} | {
    f"tls_{what}" for what in ("cert", "key", "client_ca")
}
RULES = ("type", "enum", "minimum", "maximum", "pattern")


@pytest.fixture(scope="module")
def chart() -> Iterator[helm.Chart]:
    with helm.Chart.load(CHART) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def render(chart: helm.Chart) -> Render:
    """Render the chart: `render({"replicaCount": 3})`."""

    def objects(values: Object, name: str = "widedeep") -> list[Object]:
        files = chart.render(values, name=name, namespace="models")
        return [o for path, text in files.items() if not path.endswith(".txt") for o in objects_of(text)]

    return objects


def toml_of(objects: list[Object]) -> str:
    return str(next(o["data"]["widedeep.toml"] for o in objects if "widedeep.toml" in o.get("data", {})))


@pytest.mark.parametrize("case", CASES)
def test_the_chart_lints_without_a_warning(case: str) -> None:
    report = helm.lint(CHART, CASES[case], strict=True, kube_version="v1.30.0")
    assert report["errors"] == []
    assert [m["error"] for m in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("case", CASES)
def test_every_object_is_valid_and_every_pod_is_locked_down(case: str, render: Render) -> None:
    objects = render(CASES[case])
    # Volumes of images came with 1.33.
    validate(objects, KUBERNETES[1:] if case == "image-volume" else KUBERNETES)
    for kind in ("Deployment", "Pod"):
        check_pod(pod_of(one(objects, kind)))


@pytest.mark.parametrize("case", CASES)
def test_the_server_accepts_the_settings_it_is_given(
    case: str, render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = render(CASES[case])
    pod = pod_of(one(objects, "Deployment"))
    container = pod["containers"][0]
    settings = load_settings(toml_of(objects), variables_of(container), tmp_path, monkeypatch)
    given = CASES[case].get("settings", {})
    for name, value in given.items():
        if name != "providers":
            assert getattr(settings, name) == value
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (settings.port, settings.metrics_port, settings.metrics) == (ports["grpc"], ports["http"], True)
    check_stop(pod, settings)
    check_files(pod, toml_of(objects))


def test_what_the_image_sets_does_not_go_before_the_file(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WIDEDEEP_LOG_FORMAT": "json", "WIDEDEEP_PROVIDERS": "CUDAExecutionProvider"}.items():
        monkeypatch.setenv(name, value)
    values = {"settings": {"log_format": "text", "providers": {"deep": "CPUExecutionProvider"}}}
    objects = render(values)
    variables = variables_of(pod_of(one(objects, "Deployment"))["containers"][0])
    assert set(variables) >= IMAGE_SETS
    settings = load_settings(toml_of(objects), variables, tmp_path, monkeypatch)
    assert (settings.log_format, settings.providers) == ("text", {"deep": ("CPUExecutionProvider",)})


@pytest.mark.parametrize("case", CASES)
def test_services_and_the_budget_select_the_servers_and_no_other_pod(case: str, render: Render) -> None:
    objects = render(CASES[case])
    deployment, test_pod = one(objects, "Deployment"), one(objects, "Pod")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [o["spec"]["selector"] for o in objects if o["kind"] == "Service"]
    selectors += [o["spec"]["selector"]["matchLabels"] for o in objects if o["kind"] == "PodDisruptionBudget"]
    selectors += [o["spec"]["podSelector"]["matchLabels"] for o in objects if o["kind"] == "NetworkPolicy"]
    selectors.append(deployment["spec"]["selector"]["matchLabels"])
    assert len(selectors) >= 4
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= test_pod["metadata"]["labels"].items()


@pytest.mark.parametrize("case", CASES)
def test_each_service_names_a_port_of_the_container(case: str, render: Render) -> None:
    objects = render(CASES[case])
    ports = {p["name"]: p["containerPort"] for p in pod_of(one(objects, "Deployment"))["containers"][0]["ports"]}
    services = [o for o in objects if o["kind"] == "Service"]
    assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} == {"grpc", "http"}
    for service in services:
        for port in service["spec"]["ports"]:
            assert port["port"] == ports[port["targetPort"]]


def test_clients_find_ready_pods_alone_and_prometheus_all(render: Render) -> None:
    objects = render({})
    headless, metrics = one(objects, "Service", "widedeep-headless"), one(objects, "Service", "widedeep-metrics")
    assert headless["spec"]["clusterIP"] == metrics["spec"]["clusterIP"] == "None"
    assert not headless["spec"].get("publishNotReadyAddresses", False)
    assert metrics["spec"]["publishNotReadyAddresses"] is True


def test_the_server_makes_its_cache_folder_in_a_volume_that_is_open_to_all(render: Render, tmp_path: Path) -> None:
    """As the root of an `emptyDir` is; the folder itself would be refused if it were."""
    container = pod_of(one(render({}), "Deployment"))["containers"][0]
    assert "/var/cache" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "XDG_CACHE_HOME=/var/cache" in (ROOT / "Dockerfile").read_text()
    tmp_path.chmod(0o777)
    assert Cache.open(tmp_path).folder is None
    assert Cache.open(tmp_path / "widedeep").folder == tmp_path / "widedeep"


def test_a_change_of_settings_restarts_the_pods_and_one_of_replicas_does_not(render: Render) -> None:
    def template(values: Object) -> Object:
        return dict(one(render(values), "Deployment")["spec"]["template"])

    assert template({}) == template({"replicaCount": 7})
    assert template({}) != template({"settings": {"max_batch_rows": 64}})


def test_the_autoscaler_owns_the_number_of_replicas_and_reads_the_queue(render: Render) -> None:
    objects = render(CASES["pull"])
    deployment, autoscaler = one(objects, "Deployment"), one(objects, "HorizontalPodAutoscaler")
    assert "replicas" not in deployment["spec"]
    assert autoscaler["apiVersion"] == "autoscaling/v2"
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    by_type = {metric["type"]: metric for metric in autoscaler["spec"]["metrics"]}
    assert by_type["Pods"]["pods"]["metric"]["name"] == "widedeep_waiting_rows"
    assert by_type["Resource"]["resource"]["target"]["averageUtilization"] == 70
    adapter = yaml.safe_load((DEPLOY / "prometheus" / "adapter.yaml").read_text())["rules"]["custom"]
    assert [rule["name"]["as"] for rule in adapter] == ["widedeep_waiting_rows"]
    assert re.fullmatch(adapter[0]["name"]["matches"], "widedeep_waiting_rows")


def test_the_monitor_selects_the_service_of_the_metrics_port_and_the_rules_are_the_shipped_ones(render: Render) -> None:
    objects = render(CASES["pull"])
    monitor, service = one(objects, "ServiceMonitor"), one(objects, "Service", "widedeep-metrics")
    others = [o for o in objects if o["kind"] == "Service" and o is not service]
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    assert selector <= service["metadata"]["labels"].items()
    assert not any(selector <= other["metadata"]["labels"].items() for other in others)
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    # `up{job="widedeep"}` of the alert rules.
    assert {"targetLabel": "job", "replacement": "widedeep"} in monitor["spec"]["endpoints"][0]["relabelings"]
    shipped = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    published = yaml.safe_load(shipped.replace("docs/runbook.md", "https://docs.example.com/runbook/"))
    assert one(objects, "PrometheusRule")["spec"] == published
    dashboard = next(o for o in objects if "widedeep.json" in o.get("data", {}))
    assert yaml.safe_load(dashboard["data"]["widedeep.json"]) == yaml.safe_load(
        (DEPLOY / "grafana" / "dashboard.json").read_text()
    )


def test_models_are_pulled_where_the_server_looks_and_with_the_secret(render: Render) -> None:
    pod = pod_of(one(render(CASES["pull"]), "Deployment"))
    pull, server = containers_of(pod)
    assert pull["args"] == ["pull", "s3://models/prod", "/models/pulled"]
    assert server["args"][:2] == ["serve", "/models/pulled"]
    assert pull["envFrom"] == [{"secretRef": {"name": "models-reader"}}]
    assert "envFrom" not in server
    mounts = [{m["mountPath"]: m.get("readOnly", False) for m in c["volumeMounts"]} for c in (pull, server)]
    assert [mount["/models"] for mount in mounts] == [False, True]


def test_a_server_that_polls_object_storage_has_the_secret_and_no_init_container(render: Render) -> None:
    remote = {"url": "gs://models/prod", "credentialsSecret": "reader"}
    pod = pod_of(one(render({"models": {"source": "remote", "remote": remote}}), "Deployment"))
    (server,) = containers_of(pod)
    assert server["args"][:2] == ["serve", "gs://models/prod"]
    assert server["envFrom"] == [{"secretRef": {"name": "reader"}}]


@pytest.mark.parametrize(("source", "reader"), [("pull", 0), ("remote", -1)])
def test_who_reads_the_registry_has_its_credentials_and_authorities_and_nobody_else(
    source: str, reader: int, render: Render
) -> None:
    models = {**CASES["oci"]["models"], "source": source}
    pod = pod_of(one(render({"models": models}), "Deployment"))
    containers = list(containers_of(pod))
    check_docker_config(containers[reader], pod, "models-registry")
    assert models["remote"]["url"] in containers[reader]["args"]
    volumes = {v["name"]: v for v in pod["volumes"]}
    mounted = {m["mountPath"]: volumes[m["name"]] for m in containers[reader]["volumeMounts"]}
    authorities = Path(variables_of(containers[reader])["REQUESTS_CA_BUNDLE"])
    assert authorities.name == "ca.crt"
    assert mounted[str(authorities.parent)]["configMap"] == {"name": "registry-ca"}
    others = [container for container in containers if container is not containers[reader]]
    assert len(others) == (source == "pull")
    for other in others:
        assert not variables_of(other).keys() & {"DOCKER_CONFIG", "REQUESTS_CA_BUNDLE"}
        assert not {m["name"] for m in other["volumeMounts"]} & {"registry", "remote-ca"}
    assert all("envFrom" not in container for container in containers)


@pytest.mark.parametrize("source", ["image", "pull", "remote"])
def test_lists_of_variables_may_be_deleted_by_null(source: str, render: Render) -> None:
    models = {**CASES["oci"]["models"], "source": source}
    given = one(render({"models": models}), "Deployment")
    assert one(render({"models": models, "extraEnv": None, "extraEnvFrom": None}), "Deployment") == given


def test_authorities_of_object_storage_are_where_amazons_library_looks(render: Render) -> None:
    remote = {"url": "s3://models/prod", "credentialsSecret": "reader", "caConfigMap": "store-ca"}
    pod = pod_of(one(render({"models": {"source": "remote", "remote": remote}}), "Deployment"))
    variables = variables_of(pod["containers"][0])
    assert variables["AWS_CA_BUNDLE"] == "/etc/widedeep/remote-ca/ca.crt"
    assert not variables.keys() & {"DOCKER_CONFIG", "REQUESTS_CA_BUNDLE"}
    assert not any("secret" in volume for volume in pod["volumes"])


@pytest.mark.parametrize("host", ["registry:5000", "registry.models.svc", "[fd00::1]:5000"])
def test_a_registry_without_tls_is_one_that_the_client_speaks_to_so(
    host: str, render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"oci://{host}/models/digits:1"
    remote = {"url": url, "plainHttp": True}
    objects = render({"models": {"source": "remote", "remote": remote}, "networkPolicy": {"enabled": True}})
    variables = variables_of(pod_of(one(objects, "Deployment"))["containers"][0])
    assert not Reference.parse(url).is_plain
    monkeypatch.setenv(PLAIN_HTTP_VARIABLE, variables[PLAIN_HTTP_VARIABLE])
    assert Reference.parse(url).is_plain
    ports = [port["port"] for rule in one(objects, "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 443, 5000 if host.endswith("5000") else 80]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OciRegistry]:
    pytest.importorskip("oras")
    if find_registry() is None:
        pytest.skip("needs docker-registry, Debian's package of that name")
    bundle = tmp_path_factory.mktemp("made") / "1"
    make_bundle(bundle)
    with oci_registry(tmp_path_factory.mktemp("registry")) as running:
        subprocess.run([*COMMAND, "push", bundle, running.url("models/small:1")], check=True)
        yield running


@pytest.mark.parametrize("tag", ["", ":1"])
def test_what_the_init_container_brings_from_a_registry_is_what_the_server_serves(
    tag: str, registry: OciRegistry, render: Render, tmp_path: Path
) -> None:
    models = {"source": "pull", "path": str(tmp_path), "remote": {"url": registry.url("models/small") + tag}}
    pull, server = containers_of(pod_of(one(render({"models": models}), "Deployment")))
    subprocess.run([*COMMAND, *pull["args"]], check=True)
    ((name, versions),) = Source(Path(server["args"][1])).scan().items()
    # One bundle has its own name, in a repository it has that of its folder.
    assert (name, list(versions)) == ("animals" if tag else "small", [1])


def test_the_policy_lets_in_callers_monitoring_and_the_chart_s_own_test(render: Render) -> None:
    objects = render(CASES["pull"])
    policy = one(objects, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    calls, metrics = policy["ingress"]
    assert (calls["ports"], metrics["ports"]) == ([{"port": "grpc"}], [{"port": "http"}])
    selectors = [peer["podSelector"]["matchLabels"] for peer in calls["from"]]
    assert {"role": "caller"} in selectors
    assert any(s.items() <= one(objects, "Pod")["metadata"]["labels"].items() for s in selectors)
    ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 443, 4317]


def test_gpus_are_limits_and_the_providers_are_those_given_or_cuda(render: Render) -> None:
    objects = render(CASES["gpu"])
    pod = pod_of(one(objects, "Deployment"))
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["runtimeClassName"] == "nvidia"
    assert tomllib.loads(toml_of(objects))["providers"] == CASES["gpu"]["settings"]["providers"]
    assert tomllib.loads(toml_of(render({"gpu": {"enabled": True}})))["providers"] == "CUDAExecutionProvider"


def test_grpc_probes_ask_the_port_and_never_kill_a_server_that_loads(render: Render) -> None:
    container = pod_of(one(render(CASES["pvc"]), "Deployment"))["containers"][0]
    assert container["startupProbe"]["grpc"] == container["readinessProbe"]["grpc"] == {"port": 9001}
    assert container["livenessProbe"]["tcpSocket"] == {"port": "grpc"}


def test_the_certificate_fills_the_secret_that_is_mounted_and_names_the_services(render: Render) -> None:
    objects = render(CASES["tls"])
    certificate = one(objects, "Certificate")["spec"]
    volumes = {v["name"]: v for v in pod_of(one(objects, "Deployment"))["volumes"]}
    assert certificate["secretName"] == volumes["tls"]["secret"]["secretName"]
    services = {o["metadata"]["name"] for o in objects if o["kind"] == "Service"} - {"scorer-metrics"}
    assert {f"{name}.models.svc" for name in services} | {"scorer.example.com"} <= set(certificate["dnsNames"])
    # With TLS the wire is no h2c.
    assert not any("appProtocol" in port for o in objects if o["kind"] == "Service" for port in o["spec"]["ports"])


def test_the_chart_s_own_test_calls_the_service_and_speaks_tls_where_it_must(render: Render) -> None:
    plain, secure = (pod_of(one(render(CASES[case]), "Pod"))["containers"][0] for case in ("defaults", "tls"))
    assert plain["args"] == ["health", "widedeep:8001", "--timeout-s=10"]
    assert secure["args"][:2] == ["health", "scorer:8001"]
    flags = dict(flag.split("=", 1) for flag in secure["args"][2:])
    assert flags.pop("--tls-name") == "scorer"
    files = {flags[f"--tls-{what}"] for what in ("ca", "cert", "key")}
    assert files == {f"{secure['volumeMounts'][0]['mountPath']}/{name}" for name in ("ca.crt", "tls.crt", "tls.key")}
    told = subprocess.run([*COMMAND, "health", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(flag in told for flag in ("--tls-name", "--tls-ca", "--tls-cert", "--tls-key"))


def test_client_certificates_may_be_of_another_authority(render: Render) -> None:
    tls = {"enabled": True, "secretName": "server", "clientCertificates": True, "clientCASecretName": "clients"}
    objects = render({"tls": tls})
    check_files(pod_of(one(objects, "Deployment")), toml_of(objects))
    assert tomllib.loads(toml_of(objects))["tls_client_ca"] == "/etc/widedeep/client-ca/ca.crt"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tls": {"enabled": True}}, "tls.secretName"),
        ({"tls": {"enabled": True, "secretName": "s"}, "probes": {"type": "grpc"}}, "cannot speak TLS"),
        ({"tls": {"enabled": True, "secretName": "s"}, "settings": {"front_end": "native"}}, "native front end"),
        ({"models": {"source": "pvc"}}, "models.pvc.claimName"),
        ({"models": {"source": "pull"}}, "models.remote.url"),
        ({"models": {"source": "remote"}}, "models.remote.url"),
        ({"models": {"source": "imageVolume"}}, "models.imageVolume.reference"),
        ({"autoscaling": {"enabled": True, "waitingRows": None}}, "waitingRows or cpu"),
        ({"settings": {"port": 1}}, "port"),
        ({"settings": {"max_batch_row": 1}}, "max_batch_row"),
        ({"settings": {"max_batch_rows": 0}}, "max_batch_rows"),
        ({"replicas": 3}, "replicas"),
        ({"models": {"source": "s3"}}, "source"),
        ({"models": {"source": "remote", "remote": {"url": "oci://registry/Models"}}}, "url"),
        ({"models": {"source": "remote", "remote": {"url": "oci://user:secret@registry/models"}}}, "url"),
        ({"models": {"source": "pull", "remote": {"url": "s3://models", "plainHttp": True}}}, "plainHttp"),
        ({"models": {"source": "remote", "remote": {"url": "gs://models", "caConfigMap": "ca"}}}, "caConfigMap"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"resources": {"limit": {}}}, "limit"),
        ({"preStopSeconds": 0}, "preStopSeconds"),
        ({"ports": {"grpc": 8002}}, "must differ"),
        ({"nameOverride": "a.b"}, "fullnameOverride"),
        ({"fullnameOverride": "Scorer"}, "fullnameOverride"),
        ({"models": {"path": "/"}}, "path"),
        ({"commonLabels": {"app.kubernetes.io/name": "other"}}, "app.kubernetes.io/name"),
        ({"podLabels": {"app.kubernetes.io/component": "other"}}, "app.kubernetes.io/component"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(values: Object, message: str, render: Render) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        render(values)


def test_the_schema_lists_exactly_the_settings_that_are_not_the_charts(chart: helm.Chart) -> None:
    assert chart.schema is not None
    listed = chart.schema["properties"]["settings"]
    expected = ServeSettings.model_json_schema()["properties"]
    assert listed["additionalProperties"] is False
    assert set(listed["properties"]) == set(expected) - OF_THE_CHART
    for name in set(listed["properties"]) - {"providers"}:
        assert listed["properties"][name] == {rule: expected[name][rule] for rule in RULES if rule in expected[name]}


def test_the_chart_ships_the_version_of_the_project(chart: helm.Chart) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart.metadata["appVersion"] == project["version"]


def test_an_image_is_named_by_registry_and_digest(render: Render) -> None:
    digest = "sha256:" + "0" * 64
    objects = render({"image": {"registry": "registry.example.com/team", "tag": "9", "digest": digest}})
    assert (
        pod_of(one(objects, "Deployment"))["containers"][0]["image"] == f"registry.example.com/team/widedeep@{digest}"
    )


def test_texts_that_yaml_takes_for_something_else_stay_texts(render: Render) -> None:
    url = "s3://models/a: b #c"
    for models in (
        {"source": "remote", "remote": {"url": url, "credentialsSecret": "123"}},
        {"source": "pull", "path": "/on: x", "remote": {"url": url, "credentialsSecret": "123"}},
        {"source": "pvc", "pvc": {"claimName": "1e3", "subPath": "yes"}},
        {"source": "imageVolume", "imageVolume": {"reference": "123"}},
    ):
        objects = render(
            {
                "models": models,
                "tls": {"enabled": True, "secretName": "12", "clientCertificates": True, "clientCASecretName": "0x1"},
                "tokens": {"secretName": "34", "key": "on"},
                "serviceAccount": {"name": "56"},
                "priorityClassName": "78",
                "gpu": {"enabled": True, "runtimeClassName": "90"},
            }
        )
        validate(objects, KUBERNETES[1:])
        if models["source"] == "remote":
            assert pod_of(one(objects, "Deployment"))["containers"][0]["args"][1] == url


def test_two_releases_share_no_name(render: Render) -> None:
    names = [{(o["kind"], o["metadata"]["name"]) for o in render({}, name=name)} for name in ("blue", "widedeep-green")]
    assert not names[0] & names[1]
    assert ("Deployment", "blue-widedeep") in names[0]


def test_the_notes_say_what_is_open(chart: helm.Chart) -> None:
    def notes(values: Object) -> str:
        return chart.render(values, name="w", namespace="m")["widedeep/templates/NOTES.txt"]

    assert "TLS is off" in notes({})
    assert "Whoever reaches" in notes({})
    closed = notes({"tls": {"enabled": True, "secretName": "s"}, "tokens": {"secretName": "t"}})
    assert "TLS is off" not in closed
    remote = {"url": "oci://registry:5000/models/digits", "plainHttp": True}
    assert "credentials of the registry cross" in notes({"models": {"source": "remote", "remote": remote}})
    assert "registry" not in closed
    assert "Whoever reaches" not in closed


def test_a_packaged_chart_holds_what_it_links_to(tmp_path: Path) -> None:
    with helm.Chart.load(helm.package(CHART, destination=tmp_path)) as chart:
        files = {file["name"]: file["data"] for file in chart.files}
        rendered = chart.render(CASES["pull"], name="w")
        rules = one(objects_of(rendered["widedeep/templates/monitoring.yaml"]), "PrometheusRule")
    assert "files/alerts.yaml" in files
    assert rules["spec"]["groups"]
    assert not any(name.startswith("ci/") for name in files)
