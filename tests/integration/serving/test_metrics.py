"""Metrics and HTTP health of real servers, of one process and of several workers, read as a scraper reads them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from http_calls import Samples, ask, samples, scrape, value
from small_bundle import make_bundle, rows
from tls_files import Authority
from triton_calls import infer_bytes, request_message, triton_inputs
from tritonclient.grpc import InferenceServerClient
from waiting import wait_for as wait
from widedeep.serving.client import Client
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.server import Server
from widedeep.serving.settings import ServeSettings

wait_for = partial(wait, timeout_s=20)

ON = {"metrics": True, "metrics_port": 0}
V1 = {"model": "animals", "version": "1"}


def refused(found: Samples) -> dict[str, float]:
    """Return reason -> count of those that are not zero."""
    return {dict(labels)["reason"]: n for (name, labels), n in found.items() if name == "widedeep_refusals_total" and n}


@pytest.mark.each_front_end
def test_metrics_say_what_was_sent_and_agree_with_the_statistics_call(
    start_server: Callable[..., Server], repository_path: Path, front_end: str
) -> None:
    server = start_server(repository_path, **ON)
    with InferenceServerClient(server.address) as client:
        for n_rows in (1, 2, 5):
            client.infer("animals", triton_inputs(rows(n_rows)))
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            client.infer("animals", triton_inputs({"image": rows(1)["image"]}))
        wait_for(lambda: value(scrape(server.metrics_port), "widedeep_calls_total", status="OK", **V1) == 3)
        entry, *members = client.get_inference_statistics("animals").model_stats
    found = scrape(server.metrics_port)
    assert value(found, "widedeep_calls_total", status="INVALID_ARGUMENT", **V1) == 1
    assert value(found, "widedeep_rows_total", **V1) == 8 == entry.inference_count
    assert value(found, "widedeep_batch_rows_sum", **V1) == 8
    assert value(found, "widedeep_batch_rows_bucket", le="2.0", **V1) == 2
    assert value(found, "widedeep_executions_total", **V1) == entry.execution_count == 3
    assert value(found, "widedeep_call_seconds_count", **V1) == entry.inference_stats.success.count == 3
    for metric, statistic in {
        "widedeep_call_seconds": entry.inference_stats.success,
        "widedeep_queue_seconds": entry.inference_stats.queue,
        "widedeep_compute_input_seconds": entry.inference_stats.compute_input,
        "widedeep_compute_seconds": entry.inference_stats.compute_infer,
        "widedeep_compute_output_seconds": entry.inference_stats.compute_output,
    }.items():
        assert value(found, f"{metric}_sum", **V1) == pytest.approx(statistic.ns / 1e9)
    assert (
        value(found, "nv_inference_compute_infer_duration_us", **V1) == entry.inference_stats.compute_infer.ns // 1000
    )
    for member in members:
        labels = {**V1, "member": member.name.split("/")[1]}
        assert value(found, "widedeep_member_rows_total", **labels) == member.inference_count == 8
        seconds = value(found, "widedeep_member_seconds_sum", **labels)
        assert seconds == pytest.approx(member.inference_stats.compute_infer.ns / 1e9)
    assert [value(found, "widedeep_member_weight", member=name, **V1) for name in ("deep", "wide")] == [0.6, 0.4]
    used = "native" if front_end == "native" else "grpcio"
    (build,) = [dict(labels) for name, labels in found if name == "widedeep_build_info"]
    assert front_end == "auto" or build["front_end"] == used
    assert value(found, "widedeep_ready") == 1


@pytest.mark.each_front_end
def test_calls_that_reach_no_model_are_counted_by_reason_and_no_name_of_theirs_is_told(
    start_server: Callable[..., Server], repository_path: Path
) -> None:
    server = start_server(repository_path, **ON)
    unknown, old = request_message(), request_message()
    unknown.model_name, old.model_version = "secret", "7"
    for data in (unknown.SerializeToString(), old.SerializeToString(), b"\xff\xff no message"):
        with pytest.raises(grpc.RpcError):
            infer_bytes(server.address, data)
    text = ask(server.metrics_port, "/metrics").body.decode()
    assert refused(samples(text)) == {"unknown_model": 2, "invalid": 1}
    assert "secret" not in text
    assert 'version="7"' not in text


@pytest.mark.each_front_end
def test_calls_without_a_token_are_counted(
    start_server: Callable[..., Server], repository_path: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"somebody sha256:{'0' * 64}\n")
    server = start_server(repository_path, tokens=str(tokens), **ON)
    with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
        infer_bytes(server.address, request_message().SerializeToString())
    assert refused(scrape(server.metrics_port)) == {"unauthenticated": 1}


@pytest.mark.each_front_end
def test_a_stream_counts_each_of_its_requests(start_server: Callable[..., Server], repository_path: Path) -> None:
    server = start_server(repository_path, **ON)
    answered: list[object] = []
    with InferenceServerClient(server.address) as client:
        client.start_stream(lambda **answer: answered.append(answer["error"]))
        for model in ("animals", "animals", "nothing"):
            client.async_stream_infer(model, triton_inputs(rows(2)))
        wait_for(lambda: len(answered) == 3)
        client.stop_stream()
    found = scrape(server.metrics_port)
    assert value(found, "widedeep_calls_total", status="OK", **V1) == 2
    assert refused(found) == {"unknown_model": 1}


@pytest.mark.each_front_end
def test_a_call_whose_time_is_over_is_counted_as_late(
    start_server: Callable[..., Server], repository_path: Path
) -> None:
    server = start_server(repository_path, max_queue_delay_us=300_000, **ON)
    with InferenceServerClient(server.address) as client, pytest.raises(Exception, match="DEADLINE_EXCEEDED"):
        client.infer("animals", triton_inputs(rows(1)), client_timeout=0.05)
    wait_for(
        lambda: (
            ("widedeep_calls_total", tuple(sorted({**V1, "status": "DEADLINE_EXCEEDED"}.items())))
            in scrape(server.metrics_port)
        )
    )


@pytest.mark.each_front_end
def test_counters_survive_a_swap_under_load_and_every_call_is_counted(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    make_bundle(tmp_path / "animals" / "1")
    server = start_server(tmp_path, allow_model_control=True, **ON)
    sent = [0, 0, 0, 0]
    ended = threading.Event()

    def call(place: int) -> None:
        with Client(server.address, model="animals") as client:
            while not ended.is_set():
                client.predict(rows(2))
                sent[place] += 1

    def rows_of(found: Samples) -> dict[str, float]:
        return {dict(labels)["version"]: n for (name, labels), n in found.items() if name == "widedeep_rows_total"}

    threads = [threading.Thread(target=call, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    seen: list[dict[str, float]] = []
    with InferenceServerClient(server.address) as client:
        for seed, version in enumerate((1, 2, 2, 3)):  # the same version anew, then others
            make_bundle(tmp_path / "animals" / str(version), seed=seed)
            client.load_model("animals")
            seen.append(rows_of(scrape(server.metrics_port)))
            time.sleep(0.1)
    ended.set()
    for thread in threads:
        thread.join()
    wait_for(lambda: sum(rows_of(scrape(server.metrics_port)).values()) == 2 * sum(sent))
    seen.append(rows_of(scrape(server.metrics_port)))
    for before, after in pairwise(seen):
        assert all(after[version] >= n for version, n in before.items())
    assert seen[-1].keys() == {"1", "2", "3"}
    assert all(seen[-1].values())


def test_a_version_that_cannot_be_loaded_is_counted_and_shown(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    make_bundle(tmp_path / "animals" / "1")
    server = start_server(tmp_path, allow_model_control=True, **ON)
    (tmp_path / "animals" / "2").mkdir()
    (tmp_path / "animals" / "2" / "bundle.json").write_text("{}")
    with InferenceServerClient(server.address) as client, pytest.raises(Exception, match="cannot be served"):
        client.load_model("animals")
    found = scrape(server.metrics_port)
    assert value(found, "widedeep_load_failures_total", model="animals") == 1
    assert value(found, "widedeep_model_ready", model="animals", version="2") == 0
    assert value(found, "widedeep_model_ready", **V1) == 1
    shown = ask(server.metrics_port, "/").body.decode()
    assert "bundle.json" in shown


def test_paths_and_methods(start_server: Callable[..., Server], repository_path: Path) -> None:
    port = start_server(repository_path, **ON).metrics_port
    assert ask(port, "/v2/health/live").json == {"live": True}
    assert ask(port, "/v2/health/ready").json == {"ready": True}
    assert ask(port, "/v2/models/animals/ready").json == {"name": "animals", "ready": True}
    assert ask(port, "/v2/models/animals/versions/1/ready").status == 200
    for path in ("/v2/models/animals/versions/2/ready", "/v2/models/nothing/ready", "/v2/models/%00/ready"):
        assert ask(port, path).status == 404
    for path in ("/v2", "/metrics/", "/..", "/page.css", "/v2/models/animals/infer", "/%2e%2e/etc/passwd"):
        assert ask(port, path).status == 404
    for path in ("/", "/metrics", "/status.json", "/v2/health/ready"):
        answer = ask(port, path, "HEAD")
        assert (answer.status, answer.body) == (200, b"")
        refusal = ask(port, path, "POST")
        assert (refusal.status, refusal.headers["allow"]) == (405, "GET, HEAD")
    for name, expected in {
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }.items():
        assert ask(port, "/metrics").headers[name] == expected


def test_text_is_compressed_for_those_who_take_it(start_server: Callable[..., Server], repository_path: Path) -> None:
    port = start_server(repository_path, **ON).metrics_port
    plain, packed = ask(port, "/metrics"), ask(port, "/metrics", Accept_Encoding="gzip, deflate")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 4
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    asked = ask(port, "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.body.endswith(b"# EOF\n")


@pytest.mark.each_front_end
def test_a_server_that_drains_says_so_over_http_until_it_has_gone(repository_path: Path, front_end: str) -> None:
    settings = {"host": "127.0.0.1", "port": 0, "drain_wait_s": 0.5, "front_end": front_end, **ON}
    server = Server(repository_path, ServeSettings.load(settings))
    server.start()
    port = server.metrics_port
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    wait_for(lambda: ask(port, "/v2/health/ready").status == 503)
    assert ask(port, "/v2/health/live").status == 200
    assert ask(port, "/v2/models/animals/ready").status == 503
    assert value(scrape(port), "widedeep_ready") == 0
    stopping.join()
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/v2/health/live")


def test_health_is_there_before_the_models_are(tmp_path: Path) -> None:
    seen = []

    class Origin:
        """Brings a repository, and asks the server meanwhile."""

        def start(self) -> Path:
            paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/animals/ready", "/metrics", "/")
            seen.extend(ask(server.metrics_port, path).status for path in paths)
            make_bundle(tmp_path / "animals" / "1")
            return tmp_path

        def state(self) -> None:
            return None

    server = Server(Origin(), ServeSettings.load({"host": "127.0.0.1", "port": 0, "drain_wait_s": 0, **ON}))
    server.start()
    server.stop()
    assert seen == [200, 503, 503, 200, 200]


def test_a_server_that_cannot_start_lets_go_of_the_port_for_metrics(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(
        tmp_path, ServeSettings.load({"host": "127.0.0.1", "port": 0, "metrics": True, "metrics_port": port})
    )
    with pytest.raises(ConfigurationError, match="no <model>/<version>"):
        server.start()
    socket.create_server(("127.0.0.1", port)).close()
    server.stop()


def test_a_port_for_metrics_that_is_taken_or_grpcs_own_is_refused(repository_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"host": "127.0.0.1", "metrics": True, "metrics_port": port}
        server = Server(repository_path, ServeSettings.load({**settings, "port": 0}))
        with pytest.raises(ConfigurationError, match="metrics_port"):
            server.start()
        server.stop()
    same = Server(repository_path, ServeSettings.load({**settings, "port": port}))
    with pytest.raises(ConfigurationError, match=f"port and metrics_port are both {port}"):
        same.start()
    same.stop()


def test_nothing_is_served_over_http_where_metrics_are_off(
    start_server: Callable[..., Server], bundle_path: Path
) -> None:
    server = start_server(bundle_path, metrics=False)
    assert server.metrics_port == 0
    assert not [line for line in server.summary() if "http://" in line]


@contextlib.contextmanager
def workers(path: Path, *flags: str) -> Iterator[tuple["subprocess.Popen[str]", str, int]]:
    """Run `widedeep serve` with two workers; yields the process, its address and its port for metrics."""
    command = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(path), "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--metrics", "--metrics-port", "0", "--log-level", "error", *flags],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = ""
        while "listening on" not in said:
            said += (line := process.stdout.readline())
            assert line, said
        address = re.search(r"listening on (\S+)", said)
        site = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        assert address is not None
        assert site is not None
        yield process, address[1], int(site[1])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def call_each(address: str, n: int) -> None:
    """Call over many connections, so that every worker gets some."""
    for _ in range(n):
        with InferenceServerClient(address, channel_args=[("grpc.use_local_subchannel_pool", 1)]) as client:
            client.infer("animals", triton_inputs(rows(3)))


def worker_processes(supervisor: int) -> list[int]:
    def children(process: int) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]

    (nursery,) = children(supervisor)
    return children(nursery)


@pytest.mark.parametrize("front_end", ["grpcio", "native"])
def test_one_place_answers_for_all_workers_and_no_count_goes_back_when_one_dies(tmp_path: Path, front_end: str) -> None:
    if front_end == "native":
        pytest.importorskip("pygrpc_native")
    make_bundle(tmp_path / "animals" / "1")
    with workers(tmp_path, "--front-end", front_end, "--drain-wait-s", "1") as (process, address, port):
        call_each(address, 16)
        wait_for(lambda: value(scrape(port), "widedeep_calls_total", status="OK", **V1) == 16)
        before = scrape(port)
        assert value(before, "widedeep_rows_total", **V1) == 48
        assert value(before, "widedeep_call_seconds_count", **V1) == 16
        assert value(before, "widedeep_member_seconds_count", member="deep", **V1) >= 16
        assert value(before, "widedeep_workers") == 2
        os.kill(worker_processes(process.pid)[0], signal.SIGKILL)
        wait_for(lambda: value(scrape(port), "widedeep_workers") == 1)
        wait_for(lambda: value(scrape(port), "widedeep_workers") == 2)
        after = scrape(port)
        for key, number in before.items():
            if key[0].endswith(("_total", "_count", "_sum", "_bucket")):
                assert after[key] >= number, key
        call_each(address, 4)
        wait_for(lambda: value(scrape(port), "widedeep_calls_total", status="OK", **V1) == 20)
        assert value(scrape(port), "widedeep_batch_rows_sum", **V1) == 60
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: ask(port, "/v2/health/ready").status == 503)
        assert ask(port, "/v2/health/live").status == 200
        assert process.wait(20) == 0


def test_workers_say_together_when_certificates_expire_and_follow_a_renewal(tmp_path: Path) -> None:
    make_bundle(tmp_path / "models" / "animals" / "1")
    authority, soon = Authority(tmp_path), datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    pair = authority.issue(not_after=soon)
    flags = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--log-level", "warning")
    with workers(tmp_path / "models", *flags) as (_, _, port):
        name = "widedeep_tls_certificate_not_after_timestamp_seconds"
        assert value(scrape(port), name, file="cert") == soon.timestamp()
        later = soon + timedelta(days=90)
        authority.issue(not_after=later)
        wait_for(lambda: value(scrape(port), name, file="cert") == later.timestamp())


def test_workers_show_a_swap_and_what_cannot_be_served_as_one_server(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals" / "1")
    with workers(tmp_path, "--allow-model-control") as (_, address, port):
        call_each(address, 8)
        make_bundle(tmp_path / "animals" / "2", seed=2)
        with InferenceServerClient(address) as client:
            client.load_model("animals")
            call_each(address, 8)
            (tmp_path / "animals" / "3").mkdir()
            (tmp_path / "animals" / "3" / "bundle.json").write_text("{}")
            with pytest.raises(Exception, match="cannot be served"):
                client.load_model("animals")
        found = scrape(port)
        assert value(found, "widedeep_rows_total", **V1) == 24
        assert value(found, "widedeep_rows_total", model="animals", version="2") == 24
        assert value(found, "widedeep_load_failures_total", model="animals") == 1
        assert value(found, "widedeep_model_ready", model="animals", version="3") == 0
        shown = ask(port, "/status.json").json
        assert [version["state"] for version in shown["models"][0]["versions"]] == [
            "UNAVAILABLE",
            "READY",
            "UNAVAILABLE",
        ]
        assert shown["server"]["workers_up"] == 2
