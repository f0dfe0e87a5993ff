"""What health, metrics and the status page tell of a store that a real server serves from."""

import ctypes
import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Answer, ask, scrape
from object_store import ObjectStore, find_rclone, gated, object_store
from peers.processes import free_port
from small_bundle import make_bundle
from stored_servers import Serving
from waiting import wait_for

pytest.importorskip("s3fs")
pytestmark = pytest.mark.skipif(find_rclone() is None, reason="needs rclone, widedeep[deploy]")

WORKERS = pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A store with version 1 of `animals`."""
    with object_store(tmp_path_factory.mktemp("store")) as running:
        made = tmp_path_factory.mktemp("made")
        make_bundle(made / "1")
        running.put(made / "1", "models/animals/1")
        yield running


class Watched(Serving):
    """A server that is asked over HTTP, before it listens too."""

    def __init__(self, store: ObjectStore, url: str, cache: Path, *flags: str) -> None:
        self.http = free_port()
        super().__init__(url, cache, "--metrics", "--metrics-port", str(self.http), *flags, variables=store.variables)

    def get(self, path: str) -> Answer | None:
        """Return what is answered, None while nothing listens."""
        try:
            return ask(self.http, path)
        except (OSError, http.client.HTTPException):
            assert self.process.poll() is None, self.process.communicate()[1]
            return None

    def is_ready(self) -> bool:
        """Return whether it says that it is ready."""
        answer = self.get("/v2/health/ready")
        return answer is not None and answer.status == 200

    def told(self) -> dict[str, float]:
        """Return what metrics tell of the store, and whether the server is ready; labels come after the name."""
        return {
            " ".join([name.removeprefix("widedeep_"), *(value for _, value in labels)]): number
            for (name, labels), number in scrape(self.http).items()
            if name.startswith("widedeep_store_") or name == "widedeep_ready"
        }

    def status(self) -> dict[str, Any]:
        """Return what the status page is told of the store."""
        found: dict[str, Any] = ask(self.http, "/status.json").json["store"]
        return found


@pytest.fixture
def serve(servers: list[Serving], tmp_path: Path) -> Callable[..., Watched]:
    """Start servers."""

    def start(store: ObjectStore, url: str, *flags: str) -> Watched:
        server = Watched(store, url, tmp_path / "cache", *flags)
        servers.append(server)
        return server

    return start


@WORKERS
def test_a_server_is_alive_and_not_ready_while_the_first_copy_is_under_way(
    serve: Callable[..., Watched], store: ObjectStore, workers: int
) -> None:
    with gated(store) as (slow, gate):
        server = serve(slow, slow.url("models"), "--workers", str(workers))
        wait_for(lambda: server.get("/v2/health/live"), "HTTP")
        assert gate.is_asked.wait(30)
        assert ask(server.http, "/v2/health/live").status == 200
        assert ask(server.http, "/v2/health/ready").status == 503
        assert ask(server.http, "/v2/models/animals/ready").status == 503
        assert server.told() == {"ready": 0, "store_copying": 1}
        assert "widedeep_build_info{" in ask(server.http, "/metrics").body.decode()  # there is a server
        status = server.status()
        assert (status["url"], status["copying"], status["up"]) == ("s3://bucket/models", True, None)
        assert "first copy under way" in ask(server.http, "/").body.decode()
        gate.is_open.set()
        wait_for(server.is_ready, "readiness")
    told = server.told()
    assert time.time() - 30 < told.pop("store_last_success_timestamp_seconds") < time.time()
    assert told == {"ready": 1, "store_copying": 0, "store_up": 1}
    assert server.answers() == "1"
    server.stop()


@WORKERS
@pytest.mark.parametrize("choose", [min, max], ids=["main", "another"])
def test_a_server_that_is_told_to_end_during_the_first_copy_ends_at_once_whichever_thread_gets_the_signal(
    serve: Callable[..., Watched], store: ObjectStore, choose: Callable[[Iterable[int]], int], workers: int
) -> None:
    with gated(store) as (slow, gate):
        server = serve(slow, slow.url("models"), "--workers", str(workers))
        assert gate.is_asked.wait(30)
        assert server.told()["store_copying"]
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        assert len(children) >= workers
        start = time.monotonic()
        thread = choose(int(path.name) for path in Path(f"/proc/{server.process.pid}/task").iterdir())
        assert ctypes.CDLL(None).tgkill(server.process.pid, thread, int(signal.SIGTERM)) == 0
        out, err = server.process.communicate(timeout=20)
        assert time.monotonic() - start < 5
    assert (server.process.returncode, out) == (0, "")
    assert all(" INFO " in line for line in err.splitlines()), err
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "the end of its processes")


def test_ctrl_c_does_not_reach_the_process_that_copies_however_early_it_comes(
    serve: Callable[..., Watched], store: ObjectStore
) -> None:
    server = serve(store, store.url("models"), "--log-format", "json")
    wait_for(lambda: any(_copying(server.process.pid)), "the process that copies")
    os.kill(next(_copying(server.process.pid)), signal.SIGINT)
    wait_for(server.is_ready, "readiness")
    for line in server.stop().splitlines():
        json.loads(line)


def _copying(process: int) -> Iterator[int]:
    """Return the children of a process that copy, from the moment at which they are another program."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in children.read_text().split():
            if "widedeep.serving.remote.mirror" in Path(f"/proc/{child}/cmdline").read_text():
                yield int(child)


@WORKERS
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_first_copy_that_fails_ends_the_server_with_the_reason(
    serve: Callable[..., Watched], store: ObjectStore, log_format: str, workers: int
) -> None:
    server = serve(store, store.url("nothing"), "--log-format", log_format, "--workers", str(workers))
    out, err = server.process.communicate(timeout=40)
    assert (server.process.returncode, out) == (1, "")
    last = err.splitlines()[-1]
    why = "s3://bucket/nothing: expected a bundle, <version>/bundle.json or <model>/<version>/bundle.json"
    if log_format == "text":
        assert last == f"widedeep serve: {why}"
    else:
        line = json.loads(last)
        assert (line["level"], line["message"]) == ("critical", why)
    assert "Traceback" not in err


def test_a_version_damaged_in_the_store_is_told_of_until_it_is_whole_and_what_is_served_goes_on(
    serve: Callable[..., Watched], store: ObjectStore, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "1")
    store.put(tmp_path / "1", "renewed/animals/1")
    server = serve(store, store.url("renewed"), "--poll-interval-s", "0.2")
    assert server.answers() == "1"
    newer = tmp_path / "2"
    make_bundle(newer, seed=2)
    whole = (newer / "samples.npz").read_bytes()
    (newer / "samples.npz").write_bytes(whole[:-1] + b"!")
    store.put(newer, "renewed/animals/2")
    wait_for(lambda: server.told().get("store_left_out animals 2") and server.status()["left_out"], "what is left out")
    assert server.told()["store_up"] == 1
    (left_out,) = server.status()["left_out"]
    assert (left_out["model"], left_out["version"]) == ("animals", 2)
    assert "samples.npz" in left_out["why"]
    assert server.answers() == "1"
    (newer / "samples.npz").write_bytes(whole)
    store.put(newer, "renewed/animals/2")
    wait_for(lambda: "store_left_out animals 2" not in server.told(), "the version")
    wait_for(lambda: server.answers() == "2", "version 2")
    server.stop()


@pytest.mark.slow
def test_a_store_that_goes_away_and_comes_back_is_told_of(serve: Callable[..., Watched], tmp_path: Path) -> None:
    make_bundle(tmp_path / "store" / "bucket" / "models" / "animals" / "1")
    with object_store(tmp_path / "store") as first:
        server = serve(first, first.url("models"), "--poll-interval-s", "0.2")
        wait_for(server.is_ready, "readiness")
        seen_s = server.told()["store_last_success_timestamp_seconds"]
        wait_for(lambda: server.told()["store_last_success_timestamp_seconds"] > seen_s, "another look")
        assert server.told()["store_up"] == 1
    wait_for(lambda: server.told()["store_up"] == 0, "the loss")
    trouble = server.status()["trouble"]
    assert "cannot list" in trouble
    assert f"{first.endpoint}/bucket" in trouble
    assert "list-type" not in trouble  # the query of a URL may be a signature
    assert "cannot be read" in ask(server.http, "/").body.decode()
    assert server.told()["ready"] == 1
    with object_store(tmp_path / "store", first.port):
        wait_for(lambda: server.told()["store_up"] == 1, "the store")
        wait_for(lambda: server.status()["trouble"] == "", "the end of the trouble")
    assert server.stop().count("going on with what was copied before") == 1
