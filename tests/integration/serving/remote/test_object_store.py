"""Push, pull and serve against a real S3 server."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from object_store import ObjectStore, find_rclone, object_store
from small_bundle import make_bundle
from stored_servers import Serving
from waiting import wait_for
from widedeep.serving.contract.bundle import add_evidence, read_bundle

pytest.importorskip("s3fs")
pytestmark = pytest.mark.skipif(find_rclone() is None, reason="needs rclone, widedeep[deploy]")

MIB = 1 << 20
COMMAND = (sys.executable, "-m", "widedeep.serving.cli")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def slow_store(tmp_path: Path) -> Iterator[ObjectStore]:
    with object_store(tmp_path / "store", rate="24M") as running:
        yield running


def start(store: ObjectStore, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, **store.variables, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(store: ObjectStore, *arguments: object) -> tuple[int, str, str]:
    environment = {**os.environ, **store.variables}
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout, done.stderr


def moved(out: str) -> float:
    found = re.search(r": ([0-9.]+) MiB of [0-9.]+ MiB moved", out)
    assert found is not None, out
    return float(found[1])


def large_bundle(path: Path, sizes_mib: list[int]) -> Path:
    make_bundle(path)
    rng = np.random.default_rng(0)
    add_evidence(path, {f"{i}.bin": rng.bytes(size * MIB) for i, size in enumerate(sizes_mib)})
    return path


def test_a_repository_is_pushed_and_pulled_as_it_is(store: ObjectStore, tmp_path: Path) -> None:
    bundle = large_bundle(tmp_path / "models" / "animals" / "1", [20])
    status, out, err = run(store, "push", tmp_path / "models", store.url("round/models"))
    assert (status, err) == (0, "")
    assert sorted(path.name for path in store.place("round/models/animals/1").iterdir()) == [
        *("bundle.json", "evidence", "members", "samples.npz")
    ]
    status, out, err = run(store, "pull", store.url("round/models/animals"), tmp_path / "out", "--version", "latest")
    assert (status, err) == (0, "")
    assert read_bundle(tmp_path / "out").digest == read_bundle(bundle).digest in out


def test_a_push_that_is_there_moves_nothing_whether_it_came_in_parts_or_not(store: ObjectStore, tmp_path: Path) -> None:
    bundle = large_bundle(tmp_path / "bundle", [20])
    run(store, "push", bundle, store.url("again/1"))
    store.remove("again/1/bundle.json")
    status, out, _ = run(store, "push", bundle, store.url("again/1"))
    assert status == 0
    assert "KiB of 20" in out  # bundle.json alone


@pytest.mark.slow
def test_a_pushed_version_stays_unless_it_is_forced(store: ObjectStore, tmp_path: Path) -> None:
    make_bundle(tmp_path / "one")
    other = make_bundle(tmp_path / "other", seed=3)
    run(store, "push", tmp_path / "one", store.url("kept/1"))
    status, _, err = run(store, "push", tmp_path / "other", store.url("kept/1"))
    assert status == 1
    assert "holds another bundle" in err
    assert run(store, "push", "--force", tmp_path / "other", store.url("kept/1"))[0] == 0
    assert hashlib.sha256(store.place("kept/1/bundle.json").read_bytes()).hexdigest() == other.digest


def test_an_object_damaged_in_the_store_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    run(store, "push", tmp_path / "bundle", store.url("damaged/1"))
    graph = store.place("damaged/1/members/wide.onnx")
    graph.write_bytes(bytes(graph.stat().st_size))
    status, _, err = run(store, "pull", store.url("damaged/1"), tmp_path / "out")
    assert status == 1
    assert "members/wide.onnx is damaged" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_push_that_is_killed_goes_on_where_it_was(slow_store: ObjectStore, tmp_path: Path) -> None:
    bundle = large_bundle(tmp_path / "bundle", [4, 4, 48])
    process = start(slow_store, "push", bundle, slow_store.url("models/1"))
    evidence = slow_store.place("models/1/evidence")
    wait_for(lambda: (evidence / "0.bin").is_file() and (evidence / "1.bin").is_file(), "two files in the store")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not slow_store.place("models/1/bundle.json").exists()
    status, out, _ = run(slow_store, "push", bundle, slow_store.url("models/1"))
    assert status == 0
    assert 48 <= moved(out) < 50
    assert run(slow_store, "pull", slow_store.url("models/1"), tmp_path / "out")[0] == 0
    assert read_bundle(tmp_path / "out").digest == read_bundle(bundle).digest


@pytest.mark.slow
def test_a_pull_that_is_killed_goes_on_in_the_middle_of_a_file(slow_store: ObjectStore, tmp_path: Path) -> None:
    bundle = large_bundle(tmp_path / "bundle", [64])
    assert run(slow_store, "push", bundle, slow_store.url("models/1"))[0] == 0
    process = start(slow_store, "pull", slow_store.url("models/1"), tmp_path / "out")

    def part() -> list[Path]:
        return [path for path in tmp_path.glob(".out.pull-*/bundle/evidence/0.bin") if path.stat().st_size >= 16 * MIB]

    wait_for(part, "a part of the file")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    have = part()[0].stat().st_size / MIB
    assert have < 64
    assert not (tmp_path / "out").exists()
    status, out, _ = run(slow_store, "pull", slow_store.url("models/1"), tmp_path / "out")
    assert status == 0
    assert moved(out) == pytest.approx(64 - have, abs=0.2)
    assert read_bundle(tmp_path / "out").digest == read_bundle(bundle).digest
    assert not list(tmp_path.glob(".out*"))


def test_a_store_that_does_not_answer_is_told_with_its_url(store: ObjectStore, tmp_path: Path) -> None:
    nowhere = ObjectStore(store.folder, 1)
    status, _, err = run(nowhere, "pull", store.url("models"), tmp_path / "out")
    assert status == 1
    assert "s3://bucket/models: cannot list" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_pull_from_a_store_that_hangs_ends_soon_after_a_signal(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(ObjectStore(tmp_path, silent.getsockname()[1]), "pull", "s3://bucket/models", tmp_path / "out")
        connection, _ = silent.accept()
        with connection:
            process.terminate()
            process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_wrong_key_is_told_without_the_secret(store: ObjectStore, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    wrong = "wrong-and-hushed"
    process = start(store, "push", tmp_path / "bundle", store.url("locked/1"), AWS_SECRET_ACCESS_KEY=wrong)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "s3://bucket/locked/1: cannot list" in err
    assert wrong not in err


@pytest.fixture
def serve(servers: list[Serving]) -> Callable[..., Serving]:
    """Start servers from the command line, and wait until they listen."""

    def start_one(store: ObjectStore, url: str, cache: Path, *flags: str) -> Serving:
        servers.append(Serving(url, cache, *flags, variables=store.variables))
        assert servers[-1].address
        return servers[-1]

    return start_one


@pytest.fixture
def repository(store: ObjectStore, tmp_path: Path) -> str:
    """The URL of a repository in the store with version 1 of `animals`."""
    path = f"{tmp_path.name}/models"
    publish(store, path, 1)
    return store.url(path)


def publish(store: ObjectStore, path: str, version: int) -> None:
    made = store.folder / "made" / str(version)
    make_bundle(made, seed=version)
    assert run(store, "push", made, store.url(f"{path}/animals/{version}"))[0] == 0


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_repository_in_a_store_is_served_and_a_new_version_found(
    serve: Callable[..., Serving], store: ObjectStore, repository: str, tmp_path: Path, workers: int
) -> None:
    flags = ("--poll-interval-s", "0.2", "--workers", str(workers))
    server = serve(store, repository, tmp_path / "cache", *flags)
    assert server.answers() == "1"
    publish(store, f"{tmp_path.name}/models", 2)
    wait_for(lambda: server.answers() == "2", "version 2")
    wait_for(lambda: not list((tmp_path / "cache").glob("remote/*/models/animals/1")), "the end of version 1's copy")
    server.stop()


@pytest.mark.slow
def test_a_server_goes_on_and_starts_again_without_its_store(serve: Callable[..., Serving], tmp_path: Path) -> None:
    with object_store(tmp_path / "store") as store:
        publish(store, "models", 1)
        server = serve(store, store.url("models"), tmp_path / "cache", "--poll-interval-s", "0.2")
    time.sleep(5)
    assert server.answers() == "1"
    err = server.stop()
    assert err.count("going on with what was copied before") == 1
    server = serve(store, store.url("models"), tmp_path / "cache")
    assert server.answers() == "1"
    assert "going on with what was copied before" in server.stop()
    status, _, err = run(store, "serve", store.url("models"), "--cache-dir", tmp_path / "empty", "--port", "0")
    assert status == 1
    assert "cannot list" in err


@pytest.mark.slow
def test_servers_with_one_cache_have_a_copy_each(
    serve: Callable[..., Serving], store: ObjectStore, repository: str, tmp_path: Path
) -> None:
    first, second = (serve(store, repository, tmp_path / "cache") for _ in range(2))
    assert len(list((tmp_path / "cache").glob("remote/*/models/animals/1/bundle.json"))) == 2
    assert first.answers() == second.answers() == "1"
    first.stop()
    second.stop()


@pytest.mark.slow
def test_one_bundle_is_served_by_its_url_and_without_a_cache_leaves_nothing(
    serve: Callable[..., Serving], store: ObjectStore, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    server = serve(store, f"{repository}/animals/1", Path(), "--cache-dir", "")
    assert list((tmp_path / "tmp").glob("widedeep-*/remote/*/bundle/1/bundle.json"))
    assert server.answers() == "1"
    server.stop()
    assert not list((tmp_path / "tmp").glob("widedeep-*"))


@pytest.mark.slow
def test_the_process_that_copies_ends_with_a_server_that_is_killed(
    serve: Callable[..., Serving], store: ObjectStore, repository: str, tmp_path: Path
) -> None:
    server = serve(store, repository, tmp_path / "cache", "--poll-interval-s", "0.2")
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    assert children
    server.process.kill()
    server.process.communicate(timeout=40)
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "the end of the process")
