"""The Kustomize base and its example overlay: built by kubectl, validated, and the base compared with the chart."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import helm_python as helm
import pytest
import yaml
from manifests import (
    DEPLOY,
    ROOT,
    Object,
    check_docker_config,
    check_files,
    check_pod,
    check_stop,
    load_settings,
    objects_of,
    one,
    pod_of,
    validate,
    variables_of,
)
from widedeep.serving.remote.reference import Reference

KUSTOMIZE = DEPLOY / "kustomize"
PRODUCTION = KUSTOMIZE / "overlays" / "production"
REGISTRY = KUSTOMIZE / "overlays" / "registry"
FOLDERS = {"base": KUSTOMIZE / "base", "production": PRODUCTION, "registry": REGISTRY}


def kustomize_version() -> int:
    """Return the major version of the Kustomize in kubectl, 0 without one."""
    if not shutil.which("kubectl"):
        return 0
    told = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Kustomize Version: v(\d+)", told)
    return int(found[1]) if found else 0


needs_kubectl = pytest.mark.skipif(kustomize_version() < 5, reason="needs kubectl with Kustomize 5 or newer")


@pytest.fixture(scope="module")
def built() -> dict[str, list[Object]]:
    texts = {
        name: subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True).stdout
        for name, folder in FOLDERS.items()
    }
    return {name: objects_of(text) for name, text in texts.items()}


def toml_of(objects: list[Object]) -> str:
    return str(one(objects, "ConfigMap")["data"]["widedeep.toml"])


@pytest.mark.parametrize("name", FOLDERS)
def test_every_file_of_a_kustomization_is_listed_and_every_listed_one_exists(name: str) -> None:
    folder = FOLDERS[name]
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    listed = {*kustomization["resources"], *(p["path"] for p in kustomization.get("patches", []) if "path" in p)}
    listed |= {file for generator in kustomization["configMapGenerator"] for file in generator["files"]}
    assert all((folder / path).exists() for path in listed)
    assert {file.name for file in folder.iterdir()} - {"kustomization.yaml"} == {p for p in listed if ".." not in p}


@needs_kubectl
@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_built_is_valid_and_locked_down(
    name: str, built: dict[str, list[Object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = built[name]
    validate(objects)
    pod = pod_of(one(objects, "Deployment"))
    check_pod(pod)
    check_files(pod, toml_of(objects))
    settings = load_settings(toml_of(objects), variables_of(pod["containers"][0]), tmp_path, monkeypatch)
    check_stop(pod, settings)
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports == {"grpc": settings.port, "http": settings.metrics_port}
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for service in (o for o in objects if o["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= labels.items()


@needs_kubectl
def test_the_base_is_what_the_chart_makes_with_its_defaults(built: dict[str, list[Object]]) -> None:
    with helm.Chart.load(DEPLOY / "helm" / "widedeep") as chart:
        files = chart.render({}, name="widedeep")
    rendered = [o for path, text in files.items() if not path.endswith(".txt") for o in objects_of(text)]
    assert tomllib.loads(toml_of(built["base"])) == tomllib.loads(toml_of(rendered))
    for kind, name in [
        ("Deployment", "widedeep"),
        ("Service", "widedeep"),
        ("Service", "widedeep-headless"),
        ("Service", "widedeep-metrics"),
        ("PodDisruptionBudget", "widedeep"),
    ]:
        ours, theirs = one(built["base"], kind, name)["spec"], one(rendered, kind, name)["spec"]
        for spec in (ours, theirs) if kind == "Deployment" else ():
            spec["template"]["metadata"] = {}
            next(v for v in spec["template"]["spec"]["volumes"] if v["name"] == "config")["configMap"]["name"] = ""
        assert ours == theirs


@needs_kubectl
def test_the_overlay_scales_on_the_queue_and_moves_all_to_its_namespace(built: dict[str, list[Object]]) -> None:
    objects = built["production"]
    assert {o["metadata"]["namespace"] for o in objects} == {"models"}
    deployment = one(objects, "Deployment")
    assert "replicas" not in deployment["spec"]
    assert one(objects, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["metric"] == {
        "name": "widedeep_waiting_rows"
    }
    assert pod_of(deployment)["containers"][0]["image"].startswith("registry.example.com/team/widedeep:")
    assert "appProtocol" not in one(objects, "Service", "widedeep")["spec"]["ports"][0]


@needs_kubectl
def test_the_overlay_of_a_registry_serves_a_url_with_the_secret_of_docker(built: dict[str, list[Object]]) -> None:
    pod = pod_of(one(built["registry"], "Deployment"))
    (server,), (base_server,) = pod["containers"], pod_of(one(built["base"], "Deployment"))["containers"]
    command, url, *flags = server["args"]
    assert [command, "/models", *flags] == base_server["args"]
    assert Reference.parse(url).host == "registry.example.com"
    check_docker_config(server, pod, "models-registry")
    assert tomllib.loads(toml_of(built["registry"])) == {**tomllib.loads(toml_of(built["base"])), "poll_interval_s": 30}


@needs_kubectl
def test_the_base_names_the_image_of_the_project_s_version(built: dict[str, list[Object]]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert pod_of(one(built["base"], "Deployment"))["containers"][0]["image"] == f"widedeep:{version}"
