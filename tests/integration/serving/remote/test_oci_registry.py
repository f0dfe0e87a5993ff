"""Push, pull and serve against a real OCI registry."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oci_registry import (
    PASSWORD,
    PASSWORD_FILE,
    USER,
    OciRegistry,
    docker_config,
    find_registry,
    oci_registry,
    password_auth,
    token_service,
)
from small_bundle import make_bundle
from stored_servers import Serving
from waiting import wait_for
from widedeep.serving.cli import main
from widedeep.serving.contract.bundle import add_evidence, read_bundle
from widedeep.serving.contract.errors import StorageError

pytest.importorskip("oras")
pytestmark = pytest.mark.skipif(find_registry() is None, reason="needs docker-registry, Debian's package of that name")

MIB = 1 << 20
COMMAND = (sys.executable, "-m", "widedeep.serving.cli")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OciRegistry]:
    with oci_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of `animals` with two versions."""
    folder = tmp_path_factory.mktemp("made") / "models"
    for version in (1, 2):
        make_bundle(folder / "animals" / str(version), seed=version)
    return folder


def run(*arguments: object, **variables: str) -> tuple[int, str, str]:
    """Run a command in this process; returns its status, and what it has written to stdout and stderr."""
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        patch.delenv("DOCKER_CONFIG", raising=False)
        for name, value in {"HOME": "/nowhere", **variables}.items():
            patch.setenv(name, value)
        status = main([str(argument) for argument in arguments])
    signal.signal(signal.SIGTERM, handler)
    return status, out.getvalue(), err.getvalue()


def manifest(registry: OciRegistry, repository: str, tag: str) -> Any:
    url = f"http://{registry.address}/v2/{repository}/manifests/{tag}"
    headers = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
        return json.load(response)


def test_a_bundle_becomes_an_artifact_whose_layers_are_its_files(
    registry: OciRegistry, bundles: Path, tmp_path: Path
) -> None:
    bundle = bundles / "animals" / "1"
    status, out, err = run("push", bundle, registry.url("round/animals:one"))
    assert (status, err) == (0, "")
    digest = read_bundle(bundle).digest
    pushed = manifest(registry, "round/animals", "one")
    assert pushed["artifactType"] == "application/vnd.widedeep.bundle.v1"
    assert pushed["annotations"]["vnd.widedeep.bundle.digest"] == digest
    for layer in pushed["layers"]:
        title = layer["annotations"]["org.opencontainers.image.title"]
        assert layer["digest"] == f"sha256:{hashlib.sha256((bundle / title).read_bytes()).hexdigest()}"
    status, out, err = run("pull", registry.url("round/animals:one"), tmp_path / "out")
    assert (status, err) == (0, "")
    assert read_bundle(tmp_path / "out").digest == digest
    assert digest in out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_library_oras_pulls_what_was_pushed(registry: OciRegistry, bundles: Path, tmp_path: Path) -> None:
    from oras.client import OrasClient

    run("push", bundles / "animals" / "1", registry.url("other/animals:1"))
    OrasClient(insecure=True).pull(target=f"{registry.address}/other/animals:1", outdir=str(tmp_path / "out"))
    assert read_bundle(tmp_path / "out").digest == read_bundle(bundles / "animals" / "1").digest


def test_pushing_again_moves_nothing_and_files_that_are_there_are_not_sent(
    registry: OciRegistry, bundles: Path, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "bundle", seed=5)
    add_evidence(tmp_path / "bundle", {"large.bin": np.random.default_rng(0).bytes(3 * MIB)})
    assert "3.0 MiB of 3.0 MiB moved" in run("push", tmp_path / "bundle", registry.url("again/animals:1"))[1]
    assert "is there already" in run("push", tmp_path / "bundle", registry.url("again/animals:1"))[1]
    # As after a push that was cut off: blobs, but no manifest.
    assert "KiB of 3.0 MiB moved" in run("push", tmp_path / "bundle", registry.url("again/animals:2"))[1]
    assert bundle.name == "animals"


def test_a_tag_is_moved_only_by_force(registry: OciRegistry, bundles: Path, tmp_path: Path) -> None:
    first, second = (bundles / "animals" / version for version in "12")
    url = registry.url("moved/animals:stable")
    run("push", first, url)
    status, _, err = run("push", second, url)
    assert status == 1
    assert "holds another bundle" in err
    assert run("pull", url, tmp_path / "out")[0] == 0
    assert run("push", "--force", second, url)[0] == 0
    status, _, err = run("pull", url, tmp_path / "out")
    assert status == 1
    assert "holds another bundle" in err
    assert run("pull", "--force", url, tmp_path / "out")[0] == 0
    assert read_bundle(tmp_path / "out").digest == read_bundle(second).digest


def test_a_digest_names_a_bundle_wherever_its_tag_goes(registry: OciRegistry, bundles: Path, tmp_path: Path) -> None:
    first, second = (bundles / "animals" / version for version in "12")
    run("push", first, registry.url("pinned/animals:stable"))
    url = f"http://{registry.address}/v2/pinned/animals/manifests/stable"
    headers = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
        digest = response.headers["Docker-Content-Digest"]
    run("push", "--force", second, registry.url("pinned/animals:stable"))
    assert run("pull", registry.url(f"pinned/animals@{digest}"), tmp_path / "out")[0] == 0
    assert read_bundle(tmp_path / "out").digest == read_bundle(first).digest


def test_a_repository_becomes_a_tag_for_each_version_of_each_model(
    registry: OciRegistry, bundles: Path, tmp_path: Path
) -> None:
    assert run("push", bundles, registry.url("all"))[0] == 0
    assert run("pull", registry.url("all/animals"), tmp_path / "animals")[0] == 0
    assert sorted(path.name for path in (tmp_path / "animals").iterdir()) == ["1", "2"]
    assert run("pull", registry.url("all/animals"), tmp_path / "latest", "--version", "latest")[0] == 0
    assert read_bundle(tmp_path / "latest").digest == read_bundle(bundles / "animals" / "2").digest


@pytest.mark.parametrize("file", ["members/wide.onnx", "bundle.json"])
def test_a_blob_damaged_in_the_registry_is_refused(bundles: Path, tmp_path: Path, file: str) -> None:
    bundle = bundles / "animals" / "1"
    with oci_registry(tmp_path / "registry") as registry:
        run("push", bundle, registry.url("animals:1"))
        blob = registry.blob(hashlib.sha256((bundle / file).read_bytes()).hexdigest())
        blob.write_bytes(bytes(blob.stat().st_size))
        status, _, err = run("pull", registry.url("animals:1"), tmp_path / "out")
    assert status == 1
    assert f"{file} is damaged" in err
    assert not (tmp_path / "out").exists()


def test_a_blob_that_is_gone_is_told(bundles: Path, tmp_path: Path) -> None:
    bundle = bundles / "animals" / "1"
    with oci_registry(tmp_path / "registry") as registry:
        run("push", bundle, registry.url("animals:1"))
        registry.blob(hashlib.sha256((bundle / "samples.npz").read_bytes()).hexdigest()).unlink()
        status, _, err = run("pull", registry.url("animals:1"), tmp_path / "out")
    assert status == 1
    assert "went away meanwhile" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("title", ["../outside", "/tmp/outside", "members/../../outside", "a\\b"])  # noqa: S108
def test_a_title_that_leads_out_of_the_folder_is_refused(
    registry: OciRegistry, bundles: Path, tmp_path: Path, title: str
) -> None:
    run("push", bundles / "animals" / "1", registry.url("unsafe/animals:1"))
    changed = manifest(registry, "unsafe/animals", "1")
    changed["layers"][0]["annotations"]["org.opencontainers.image.title"] = title
    put_manifest(registry, "unsafe/animals", "2", changed)
    status, _, err = run("pull", registry.url("unsafe/animals:2"), tmp_path / "a" / "out")
    assert status == 1
    assert f"has a layer titled {title!r}" in err
    assert not (tmp_path / "a").exists()


def put_manifest(registry: OciRegistry, repository: str, tag: str, value: object) -> None:
    url = f"http://{registry.address}/v2/{repository}/manifests/{tag}"
    headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    data = json.dumps(value).encode()
    urllib.request.urlopen(urllib.request.Request(url, data, headers, method="PUT")).close()


def test_an_image_is_neither_pulled_nor_replaced(registry: OciRegistry, bundles: Path, tmp_path: Path) -> None:
    run("push", bundles / "animals" / "1", registry.url("image/animals:1"))
    image = manifest(registry, "image/animals", "1")
    del image["artifactType"]
    put_manifest(registry, "image/animals", "image", image)
    for command in (
        ("pull", registry.url("image/animals:image"), tmp_path / "out"),
        ("push", "--force", bundles / "animals" / "1", registry.url("image/animals:image")),
    ):
        status, _, err = run(*command)
        assert status == 1
        assert "is no bundle: expected an artifact of type application/vnd.widedeep.bundle.v1" in err


def test_what_is_not_there_is_told(registry: OciRegistry, bundles: Path, tmp_path: Path) -> None:
    run("push", bundles / "animals" / "1", registry.url("named/animals:stable"))
    for path, said in (
        ("none/such:1", "no bundle at oci://"),
        ("none/such", "it has no tags"),
        ("named/animals:2", "no bundle at oci://"),
        ("named/animals", "it has the tags stable: name one"),
        ("Named/animals", "expected oci://<host>[:port]/<repository, lower case>"),
    ):
        status, _, err = run("pull", registry.url(path), tmp_path / "out")
        assert status == 1
        assert said in err
        assert "Traceback" not in err


@pytest.mark.slow
def test_a_large_file_is_neither_sent_nor_fetched_through_memory(registry: OciRegistry, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    size = 384 * MIB
    add_evidence(tmp_path / "bundle", {"large.bin": bytes(size)})
    program = (
        "import resource, sys\n"
        "from widedeep.serving.remote import cli\n"
        "getattr(cli, sys.argv[1])(sys.argv[2:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
    )
    peaks = []
    for command in (
        ("push", tmp_path / "bundle", registry.url("large/animals:1")),
        ("pull", registry.url("large/animals:1"), tmp_path / "out"),
    ):
        # A child begins with the high-water mark of the process that it is forked from: a small one in between.
        line = ["sh", "-c", '"$@"; exit', "sh", sys.executable, "-c", program, *map(str, command)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=100, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
    # The program and its libraries, and eight blocks of 8 MiB with what copies of them there are.
    assert peaks[0] < 110 * MIB, peaks
    assert peaks[1] < 330 * MIB, peaks
    assert read_bundle(tmp_path / "out").digest == read_bundle(tmp_path / "bundle").digest


def test_a_password_comes_from_dockers_configuration(bundles: Path, tmp_path: Path) -> None:
    bundle = bundles / "animals" / "1"
    with oci_registry(tmp_path / "registry", auth=password_auth(tmp_path)) as registry:
        right = docker_config(tmp_path / "right", auths={registry.address: f"{USER}:{PASSWORD}"})
        wrong = docker_config(tmp_path / "wrong", auths={registry.address: f"{USER}:not-this-one"})
        for variables in ({}, wrong):
            began = time.monotonic()
            status, _, err = run("push", bundle, registry.url("animals:1"), **variables)
            assert status == 1
            assert "status 401" in err
            assert "log in with `docker login`" in err
            assert "not-this-one" not in err
            assert time.monotonic() - began < 20
        status, _, err = run("push", bundle, registry.url("animals:1"), **right)
        assert (status, err) == (0, "")
        assert run("pull", registry.url("animals:1"), tmp_path / "out", **right)[0] == 0
    assert read_bundle(tmp_path / "out").digest == read_bundle(bundle).digest


def test_a_password_that_has_been_replaced_is_read_anew(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widedeep.serving.remote.stores import open_store

    with oci_registry(tmp_path / "registry", auth=password_auth(tmp_path)) as registry:
        variables = docker_config(tmp_path / "docker", auths={registry.address: f"{USER}:{PASSWORD}"})
        assert run("push", bundles / "animals" / "1", registry.url("animals:1"), **variables)[0] == 0
        monkeypatch.setenv("DOCKER_CONFIG", variables["DOCKER_CONFIG"])
        store = open_store(registry.url("animals:1"))
        assert "bundle.json" in store.list()
        # The registry reads its users anew when the file's date has changed.
        (tmp_path / "htpasswd").write_text(PASSWORD_FILE.replace("user:", "next:"))
        os.utime(tmp_path / "htpasswd", (0, 0))
        with pytest.raises(StorageError, match="status 401"):
            store.list()
        docker_config(tmp_path / "docker", auths={registry.address: f"next:{PASSWORD}"})
        assert "bundle.json" in store.list()


def test_the_folder_of_docker_config_counts_and_no_other(bundles: Path, tmp_path: Path) -> None:
    with oci_registry(tmp_path / "registry", auth=password_auth(tmp_path)) as registry:
        right, wrong = ({registry.address: f"{USER}:{password}"} for password in (PASSWORD, "not-this-one"))
        docker_config(tmp_path / "home" / ".docker", auths=right)
        variables = {"HOME": str(tmp_path / "home")}
        assert run("push", bundles / "animals" / "1", registry.url("animals:1"), **variables)[0] == 0
        variables |= docker_config(tmp_path / "docker", auths=wrong)
        assert run("push", bundles / "animals" / "1", registry.url("animals:1"), **variables)[0] == 1


def test_a_password_comes_from_a_credential_helper(bundles: Path, tmp_path: Path) -> None:
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(f'#!/bin/sh\ncat >/dev/null\necho \'{{"Username": "{USER}", "Secret": "{PASSWORD}"}}\'\n')
    helper.chmod(0o755)
    with oci_registry(tmp_path / "registry", auth=password_auth(tmp_path)) as registry:
        variables = docker_config(tmp_path / "docker", credHelpers={registry.address: "test"})
        variables["PATH"] = f"{helper.parent}:{os.environ['PATH']}"
        status, _, err = run("push", bundles / "animals" / "1", registry.url("animals:1"), **variables)
        assert (status, err) == (0, "")


def test_tokens_are_asked_for_what_a_call_needs(bundles: Path, tmp_path: Path) -> None:
    bundle = bundles / "animals" / "1"
    with token_service(tmp_path) as (service, port), oci_registry(tmp_path / "r", auth=service.auth(port)) as registry:
        variables = docker_config(tmp_path / "docker", auths={registry.address: f"{USER}:{PASSWORD}"})
        status, _, err = run("push", bundle, registry.url("models/animals:1"), **variables)
        assert (status, err) == (0, "")
        asked = [set(scope.rpartition(":")[2].split(",")) for scope in service.scopes]
        assert asked == [{"pull"}, {"pull", "push"}]
        status, _, err = run("pull", registry.url("models/animals:1"), tmp_path / "out", **variables)
        assert (status, err) == (0, "")
        assert read_bundle(tmp_path / "out").digest == read_bundle(bundle).digest
        none = docker_config(tmp_path / "none")
        status, _, err = run("pull", registry.url("models/animals:1"), tmp_path / "not", **none)
        assert status == 1
        assert "status 401" in err


def test_a_token_that_has_run_out_is_renewed(bundles: Path, tmp_path: Path) -> None:
    from widedeep.serving.remote.stores import open_store

    with (
        token_service(tmp_path, lifetime_s=2) as (service, port),
        oci_registry(tmp_path / "r", auth=service.auth(port)) as registry,
        pytest.MonkeyPatch.context() as patch,
    ):
        variables = docker_config(tmp_path / "docker", auths={registry.address: f"{USER}:{PASSWORD}"})
        assert run("push", bundles / "animals" / "1", registry.url("animals:1"), **variables)[0] == 0
        patch.setenv("DOCKER_CONFIG", variables["DOCKER_CONFIG"])
        store = open_store(registry.url("animals:1"))
        service.scopes.clear()
        assert "bundle.json" in store.list()
        time.sleep(3)
        store.read("bundle.json")
        assert len(service.scopes) == 2


def test_other_machines_must_speak_tls_unless_they_are_named(bundles: Path, tmp_path: Path) -> None:
    bundle = bundles / "animals" / "1"
    with oci_registry(tmp_path / "plain", host="127.0.0.2") as registry:
        status, _, err = run("push", bundle, registry.url("animals:1"))
        assert status == 1
        assert "WIDEDEEP_OCI_PLAIN_HTTP" in err
        named = {"WIDEDEEP_OCI_PLAIN_HTTP": f"other:5000,{registry.address}"}
        assert run("push", bundle, registry.url("animals:1"), **named)[0] == 0


def test_tls_is_spoken_with_authorities_of_ones_own(bundles: Path, tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.2").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    with oci_registry(tmp_path / "registry", host="127.0.0.2", cert=tmp_path / "server.pem") as registry:
        variables = {"REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem")}
        status, _, err = run("push", bundles / "animals" / "1", registry.url("animals:1"), **variables)
        assert (status, err) == (0, "")
        assert run("push", bundles / "animals" / "1", registry.url("animals:2"))[0] == 1


def test_tags_that_are_numbers_are_served_as_versions(
    registry: OciRegistry, bundles: Path, tmp_path: Path, servers: list[Serving]
) -> None:
    run("push", bundles / "animals" / "1", registry.url("served/animals:1"))
    run("push", bundles / "animals" / "1", registry.url("served/animals:latest"))
    server = Serving(registry.url("served/animals"), tmp_path / "cache", "--poll-interval-s", "0.2")
    servers.append(server)
    assert server.answers() == "1"
    run("push", bundles / "animals" / "2", registry.url("served/animals:2"))
    wait_for(lambda: server.answers() == "2", "version 2")
    server.stop()


def test_a_tag_that_moves_is_served_anew(
    registry: OciRegistry, bundles: Path, tmp_path: Path, servers: list[Serving]
) -> None:
    url = registry.url("tracked/animals:stable")
    run("push", bundles / "animals" / "1", url)
    server = Serving(url, tmp_path / "cache", "--poll-interval-s", "0.2")
    servers.append(server)
    before = server.answer()[1]
    run("push", "--force", bundles / "animals" / "2", url)
    wait_for(lambda: server.answer()[1] != before, "the other bundle")
    server.stop()
