"""KServe's runtime and an InferenceService, against what KServe does with them.

Kubernetes' parts of them are validated by its schemas; the fields around those are KServe's own. Sources: KServe's API
reference (ServingRuntimeSpec, SupportedModelFormat, PredictorSpec, ModelSpec) and its guide on custom serving runtimes.
"""

import tomllib

import pytest
from jsonschema import Draft202012Validator
from manifests import DEPLOY, ROOT, Object, check_container, objects_of, validate, variables_of
from widedeep.serving.settings import ServeSettings

TEXT = {"type": "string"}
RUNTIME = {
    "type": "object",
    "required": ["supportedModelFormats", "containers"],
    "additionalProperties": False,
    "properties": {
        "annotations": {"additionalProperties": TEXT},
        "containers": {"type": "array", "minItems": 1},
        "multiModel": {"type": "boolean"},
        "protocolVersions": {"type": "array", "items": {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}},
        "supportedModelFormats": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {
                    "name": TEXT,
                    "version": TEXT,
                    "autoSelect": {"type": "boolean"},
                    "priority": {"type": "integer", "minimum": 1},
                },
            },
        },
        "volumes": {"type": "array"},
    },
}
MODEL = {
    "type": "object",
    "required": ["modelFormat"],
    "additionalProperties": False,
    "properties": {
        "modelFormat": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": TEXT, "version": TEXT},
        },
        "protocolVersion": TEXT,
        "runtime": TEXT,
        "storageUri": TEXT,
    },
}


@pytest.fixture(scope="module")
def runtime() -> Object:
    (document,) = objects_of((DEPLOY / "kserve" / "cluster-serving-runtime.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def service() -> Object:
    (document,) = objects_of((DEPLOY / "kserve" / "inference-service.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def container(runtime: Object) -> Object:
    """The container that KServe gives the model and the name to."""
    (found,) = runtime["spec"]["containers"]
    assert found["name"] == "kserve-container"
    return dict(found)


def test_the_runtime_has_kserve_s_fields_alone_and_a_valid_pod(runtime: Object, container: Object) -> None:
    Draft202012Validator(RUNTIME).validate(runtime["spec"])
    assert (runtime["apiVersion"], runtime["kind"]) == ("serving.kserve.io/v1alpha1", "ClusterServingRuntime")
    pod = {"containers": [container], "volumes": runtime["spec"]["volumes"]}
    validate([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "digits"}, "spec": pod}])
    check_container(container["securityContext"], container)
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in runtime["spec"]["volumes"]}


def test_the_first_port_is_grpc_by_http2(container: Object) -> None:
    """It becomes port 80 of the Service; `h2c` or `grpc` in its name makes it HTTP/2."""
    first = container["ports"][0]
    assert "h2c" in first["name"]
    assert first["containerPort"] == int(variables_of(container)["WIDEDEEP_PORT"])
    assert container["ports"][1]["containerPort"] == ServeSettings.load({}).metrics_port


def test_probes_are_those_that_kserve_s_agent_knows(container: Object) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert set(container[probe]) & {"exec", "grpc", "httpGet", "tcpSocket"} == {"httpGet"}
        assert container[probe]["httpGet"]["port"] == ServeSettings.load({}).metrics_port
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"


def test_the_model_is_served_from_where_it_is_mounted_under_the_name_of_the_service(container: Object) -> None:
    assert container["args"] == ["serve", "/mnt/models", "--name={{.Name}}"]


def test_the_service_selects_the_runtime(runtime: Object, service: Object) -> None:
    predictor = dict(service["spec"]["predictor"])
    model = predictor.pop("model")
    Draft202012Validator(MODEL).validate(model)
    formats = runtime["spec"]["supportedModelFormats"]
    assert [f for f in formats if f["name"] == model["modelFormat"]["name"] and f["autoSelect"]]
    assert model["modelFormat"]["version"] in {f["version"] for f in formats}
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    # What is left is KServe's numbers of replicas and fields of a pod.
    assert predictor.pop("minReplicas") <= predictor.pop("maxReplicas")
    pod = {**predictor, "containers": [{"name": "kserve-container", "image": "widedeep"}]}
    validate([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "digits"}, "spec": pod}])
    settings = ServeSettings.load({"name": service["metadata"]["name"]})
    assert predictor["terminationGracePeriodSeconds"] > settings.drain_wait_s + settings.grace_s


def test_metrics_are_announced_where_they_are(runtime: Object) -> None:
    annotations = runtime["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == str(ServeSettings.load({}).metrics_port)
    assert annotations["prometheus.kserve.io/path"] == "/metrics"


def test_the_runtime_ships_the_version_of_the_project(container: Object) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container["image"] == f"widedeep:{version}"
