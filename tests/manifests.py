"""Readers of deploy/, and checks that hold for every pod there, whatever tool wrote it."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from widedeep.serving.remote.reference import PLAIN_HTTP_VARIABLE
from widedeep.serving.settings import ServeSettings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = ("1.30", "1.34", kubernetes_validate.latest_version())
"""The oldest version that the chart takes, one between, the newest whose schemas are installed."""
FOREIGN = {"monitoring.coreos.com/v1", "cert-manager.io/v1", "serving.kserve.io/v1alpha1", "serving.kserve.io/v1beta1"}
"""API groups of operators, whose schemas are not Kubernetes' own."""
IMAGE_SETS = {"WIDEDEEP_LOG_FORMAT", "WIDEDEEP_PROVIDERS"}
"""Variables that the image sets and that go before the file of settings."""

Object = dict[str, Any]


def objects_of(text: str) -> list[Object]:
    """Return the objects of a stream of YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]


def one(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Return the object of that kind, and of that name where several are of it."""
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects {kind} {name or ''}"
    return found[0]


def validate(objects: list[Object], versions: tuple[str, ...] = KUBERNETES) -> None:
    """Validate against the strict schemas of these Kubernetes versions."""
    for document in objects:
        if document["apiVersion"] not in FOREIGN:
            for version in versions:
                kubernetes_validate.validate(document, version, strict=True)


def pod_of(document: Object) -> Object:
    """Return the spec of the pod that an object describes."""
    spec: Object = document["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def containers_of(pod: Object) -> Iterator[Object]:
    """Yield all containers of a pod."""
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def variables_of(container: Object) -> dict[str, str]:
    """Return the environment that a container is given in the clear."""
    return {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}


def load_settings(toml: str, variables: Mapping[str, str], tmp_path: Path, monkeypatch: Any) -> ServeSettings:
    """Return what the server makes of a file of settings and an environment."""
    path = tmp_path / "widedeep.toml"
    path.write_text(toml)
    monkeypatch.delenv("WIDEDEEP_METRICS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return ServeSettings.load({}, path)


def check_variables(names: Iterator[str] | list[str]) -> None:
    """See that something reads each WIDEDEEP_ variable."""
    settings = {f"WIDEDEEP_{name.upper()}" for name in ServeSettings.model_fields}
    read = settings | {"WIDEDEEP_CONFIG", PLAIN_HTTP_VARIABLE}
    assert {name for name in names if name.startswith("WIDEDEEP_")} <= read


def check_pod(pod: Object) -> None:
    """See that a pod is locked down and that what its containers refer to exists."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for container in containers_of(pod):
        check_container({**pod.get("securityContext", {}), **container["securityContext"]}, container)
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        assert not any("subPath" in m and m["name"] != "models" for m in container.get("volumeMounts", []))


def check_container(security: Object, container: Object) -> None:
    """See that a container is locked down, keeps to its memory, and that its probes ask ports that it has."""
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 10001
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["resources"]["limits"]["memory"]
    check_variables(list(variables_of(container)))
    ports = {p["name"] for p in container.get("ports", [])} | {p["containerPort"] for p in container.get("ports", [])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        handler = container.get(probe, {})
        for how in ("httpGet", "tcpSocket", "grpc"):
            assert handler.get(how, {"port": next(iter(ports), None)})["port"] in ports | {None}


def check_stop(pod: Object, settings: ServeSettings) -> None:
    """See that a pod has time to leave the endpoints, drain and finish its calls before it is killed."""
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before >= 1
    assert pod["terminationGracePeriodSeconds"] > before + settings.drain_wait_s + settings.grace_s


def check_files(pod: Object, toml: str) -> None:
    """See that each file which the settings name is mounted, from a secret that says so where it lists its keys."""
    settings = tomllib.loads(toml)
    container = pod["containers"][0]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    for key in ("tls_cert", "tls_key", "tls_client_ca", "tokens"):
        if key in settings:
            file = Path(settings[key])
            secret = mounted[str(file.parent)]["secret"]
            assert secret["defaultMode"] == 0o440  # the group's: fsGroup is the server's
            assert file.name in {item["path"] for item in secret.get("items", [{"path": file.name}])}
    for path, volume in mounted.items():
        if "secret" in volume:
            values = [*settings.values(), *variables_of(container).values()]
            assert any(f"{value}/".startswith(f"{path}/") for value in values), f"no setting reads {path}"


def check_docker_config(container: Object, pod: Object, secret: str) -> None:
    """See that a container finds a secret of type kubernetes.io/dockerconfigjson where clients of registries look."""
    (volume,) = (v for v in pod["volumes"] if v.get("secret", {}).get("secretName") == secret)
    assert volume["secret"]["items"] == [{"key": ".dockerconfigjson", "path": "config.json"}]
    assert volume["secret"]["defaultMode"] == 0o440  # the group's: fsGroup is the server's
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == volume["name"])
    assert mount["readOnly"]
    assert variables_of(container)["DOCKER_CONFIG"] == mount["mountPath"]
