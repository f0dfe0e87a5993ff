"""TLS and mTLS of a real server: real handshakes, stock clients, and certificates that change under it."""

import asyncio
import logging
import re
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from http_calls import scrape, value
from small_bundle import rows
from tls_files import Authority, Pair
from triton_calls import INFER, predict, request_message
from tritonclient.grpc import InferenceServerClient, service_pb2
from tritonclient.utils import InferenceServerException
from widedeep.serving.batch.remote import RemoteScorer
from widedeep.serving.cli import health
from widedeep.serving.client import AsyncClient, Client, tls_credentials
from widedeep.serving.contract.errors import ConfigurationError, NotReady, Unauthenticated
from widedeep.serving.online.server import Server
from widedeep.serving.online.tokens import new_token
from widedeep.serving.settings import ServeSettings

Starter = Callable[..., Server]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue()


def tls(pair: Pair) -> dict[str, str]:
    return {"tls_cert": str(pair.cert), "tls_key": str(pair.key)}


def secure_channel(server: Server, authority: Authority) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(f"localhost:{server.port}", tls_credentials(ca=authority.path), options)


def is_answered(channel: grpc.Channel) -> bool:
    call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
    return len(call(request_message(2).SerializeToString(), timeout=20).outputs) == 2


def test_tritonclient_is_answered_over_tls(
    start_server: Starter, repository_path: Path, authority: Authority, pair: Pair
) -> None:
    server = start_server(repository_path, **tls(pair))
    assert "gRPC over TLS" in server.summary()[-1]
    with InferenceServerClient(f"localhost:{server.port}", ssl=True, root_certificates=str(authority.path)) as client:
        assert client.is_server_ready()
        assert predict(client, rows(3))["probabilities"].shape == (3, 3)


def test_a_client_without_tls_gets_no_answer(start_server: Starter, repository_path: Path, pair: Pair) -> None:
    server = start_server(repository_path, **tls(pair))
    with (
        InferenceServerClient(f"localhost:{server.port}") as client,
        pytest.raises(InferenceServerException, match="UNAVAILABLE"),
    ):
        client.is_server_live(client_timeout=5)


def test_with_authorities_of_clients_only_their_clients_are_answered(
    start_server: Starter, repository_path: Path, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes("# Autorité, as it is named in a file of many\n".encode() + authority.path.read_bytes())
    server = start_server(repository_path, **tls(pair), tls_client_ca=str(authorities))
    target = f"localhost:{server.port}"
    own, stranger = authority.issue("client"), Authority(tmp_path).issue("client")
    for shown, is_known in ((own, True), (stranger, False)):
        with InferenceServerClient(
            target,
            ssl=True,
            root_certificates=str(authority.path),
            private_key=str(shown.key),
            certificate_chain=str(shown.cert),
        ) as client:
            if is_known:
                assert predict(client, rows(3))["probabilities"].shape == (3, 3)
            else:
                with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
                    client.is_server_live(client_timeout=5)
    with secure_channel(server, authority) as channel, pytest.raises(grpc.RpcError) as failure:
        is_answered(channel)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]  # a call, too


def test_tls_1_2_is_the_oldest_that_is_spoken(
    start_server: Starter, repository_path: Path, authority: Authority, pair: Pair
) -> None:
    server = start_server(repository_path, **tls(pair))
    assert authority.shown(server.port) == (pair.serial, "TLSv1.3")
    assert authority.shown(server.port, version=ssl.TLSVersion.TLSv1_2)[1] == "TLSv1.2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                authority.shown(server.port, version=version)


def test_new_connections_see_a_new_certificate_and_old_ones_live_on(
    start_server: Starter, repository_path: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    before = authority.issue().serial
    pair = Pair(tmp_path / "server.pem", tmp_path / "server.key")
    server = start_server(repository_path, **tls(pair))
    with secure_channel(server, authority) as old:
        assert is_answered(old)
        assert authority.shown(server.port)[0] == before
        after = authority.issue().serial
        assert after != before
        assert authority.shown(server.port)[0] == after
        with secure_channel(server, authority) as new:
            assert is_answered(new)
        assert is_answered(old)


def test_a_secret_that_is_swapped_by_its_link_is_seen(
    start_server: Starter, repository_path: Path, tmp_path: Path
) -> None:
    """Kubernetes mounts `server.pem -> ..data/server.pem` and lets `..data` point to another folder on a change."""
    authority = Authority(tmp_path)
    first, second = authority.issue(folder=tmp_path / "..1"), authority.issue(folder=tmp_path / "..2")
    (tmp_path / "..data").symlink_to("..1")
    pair = Pair(tmp_path / "server.pem", tmp_path / "server.key")
    for path in (pair.cert, pair.key):
        path.symlink_to(f"..data/{path.name}")
    server = start_server(repository_path, **tls(pair))
    assert authority.shown(server.port)[0] == first.serial
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert authority.shown(server.port)[0] == second.serial


@pytest.mark.parametrize("harm", ["mismatch", "half", "gone"])
def test_unusable_new_files_leave_what_is_in_force_and_are_logged_once(
    start_server: Starter, repository_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue()
    serial, other = pair.serial, authority.issue("other")
    server = start_server(repository_path, **tls(pair))
    harmed = pair.key if harm == "mismatch" else pair.cert
    whole = harmed.read_bytes()
    if harm == "gone":
        harmed.unlink()
    else:
        harmed.write_bytes(other.key.read_bytes() if harm == "mismatch" else whole[: len(whole) // 2])
    with caplog.at_level(logging.ERROR):
        assert [authority.shown(server.port)[0] for _ in range(3)] == [serial] * 3
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("widedeep")]
    assert str(harmed) in line
    assert "what was read before stays in force" in line
    renewed = authority.issue().serial
    assert authority.shown(server.port)[0] == renewed


def test_new_authorities_of_clients_are_asked_for_at_once(
    start_server: Starter, repository_path: Path, tmp_path: Path
) -> None:
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.path.read_bytes())
    server = start_server(repository_path, **tls(authority.issue()), tls_client_ca=str(trusted))
    client = other.issue("client")
    files = {"ca": authority.path, "cert": client.cert, "key": client.key}
    with Client(f"localhost:{server.port}", model="animals", credentials=tls_credentials(**files)) as refused:
        assert not refused.is_ready(timeout_s=2)
    trusted.write_bytes(authority.path.read_bytes() + other.path.read_bytes())
    with Client(f"localhost:{server.port}", model="animals", credentials=tls_credentials(**files)) as known:
        assert known.is_ready(timeout_s=10)


def test_bad_files_and_settings_are_refused_by_name(bundle_path: Path, authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.issue("good"), authority.issue("other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    half = tmp_path / "half.pem"
    half.write_bytes(pair.cert.read_bytes()[:200])
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    asking = tmp_path / "asking.key"  # encrypted, which only OpenSSL recognises: it asks for the password
    private = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    traditional = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    asking.write_bytes(traditional.replace(b"Proc-Type: 4", b"Proc-Type:4"))
    missing = tmp_path / "missing.pem"
    cases: list[tuple[dict[str, Path], str]] = [
        ({"tls_cert": pair.cert}, "setting tls_key is missing"),
        ({"tls_key": pair.key}, "setting tls_cert is missing"),
        ({"tls_client_ca": authority.path}, "setting tls_cert is missing"),
        ({"tls_cert": missing, "tls_key": pair.key}, f"{missing} cannot be read: No such file"),
        ({"tls_cert": pair.cert, "tls_key": tmp_path}, f"{tmp_path} cannot be read: Is a directory"),
        ({"tls_cert": text, "tls_key": pair.key}, rf"{text} \(tls_cert\) holds no PEM certificate"),
        ({"tls_cert": half, "tls_key": pair.key}, rf"{half} \(tls_cert\) and .* are no usable pair"),
        ({"tls_cert": pair.cert, "tls_key": text}, rf"{text} \(tls_key\) holds no PEM private key"),
        ({"tls_cert": pair.cert, "tls_key": encrypted}, rf"{encrypted} \(tls_key\) is encrypted"),
        ({"tls_cert": pair.cert, "tls_key": asking}, rf"{asking} \(tls_key\) are no usable pair"),
        ({"tls_cert": pair.cert, "tls_key": other.key}, rf"{other.key} \(tls_key\) is not the key of {pair.cert}"),
        (
            {"tls_cert": pair.cert, "tls_key": pair.key, "tls_client_ca": text},
            rf"{text} \(tls_client_ca\) holds no PEM certificate",
        ),
        (
            {"tls_cert": pair.cert, "tls_key": pair.key, "tls_client_ca": half},
            rf"{half} \(tls_client_ca\) holds no usable certificate",
        ),
    ]
    for files, message in cases:
        settings = ServeSettings.load({name: str(path) for name, path in files.items()})
        with pytest.raises(ConfigurationError, match=message):
            Server(bundle_path, settings)


def test_metrics_say_when_what_is_in_force_expires_and_follow_a_renewal_without_a_handshake(
    start_server: Starter, repository_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, today = Authority(tmp_path), datetime.now(UTC).replace(microsecond=0)
    soon, late = today + timedelta(days=13), today + timedelta(days=90)
    pair = authority.issue(not_after=soon)
    server = start_server(repository_path, **tls(pair), tls_client_ca=str(authority.path), metrics=True, metrics_port=0)
    name = "widedeep_tls_certificate_not_after_timestamp_seconds"
    found = scrape(server.metrics_port)
    assert value(found, name, file="cert") == soon.timestamp()
    assert (
        value(found, name, file="client_ca")
        == x509.load_pem_x509_certificate(authority.path.read_bytes()).not_valid_after_utc.timestamp()
    )
    authority.issue(not_after=late)
    assert value(scrape(server.metrics_port), name, file="cert") == late.timestamp()
    whole = pair.cert.read_bytes()
    pair.cert.write_bytes(whole[:100])
    assert value(scrape(server.metrics_port), name, file="cert") == late.timestamp()
    past = today - timedelta(days=1)
    authority.issue(not_after=past)
    for _ in range(2):
        assert value(scrape(server.metrics_port), name, file="cert") == past.timestamp()
    warned = [line for line in caplog.messages if "a certificate" in line]
    assert warned == [
        f"{pair.cert} (tls_cert): a certificate {verb} on {day}" for verb, day in (("expires", soon), ("expired", past))
    ]


def test_without_tls_no_certificate_expires(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, metrics=True, metrics_port=0)
    assert not [key for key in scrape(server.metrics_port) if "certificate" in key[0]]


def test_the_front_end_is_grpcio_and_the_native_one_is_refused(bundle_path: Path, pair: Pair) -> None:
    pytest.importorskip("pygrpc_native")
    with pytest.raises(ConfigurationError, match="front_end 'native' cannot do tls_cert"):
        Server(bundle_path, ServeSettings.load({**tls(pair), "front_end": "native"}))


def test_both_clients_speak_tls_and_mtls_and_name_what_they_cannot_reach(
    start_server: Starter, repository_path: Path, authority: Authority, pair: Pair
) -> None:
    server = start_server(repository_path, **tls(pair), tls_client_ca=str(authority.path))
    target, own = f"localhost:{server.port}", authority.issue("client")
    credentials = tls_credentials(ca=authority.path, cert=own.cert, key=own.key)
    with Client(target, model="animals", credentials=credentials) as client:
        expected = client.predict(rows(4)).probabilities
    assert expected is not None

    async def ask() -> None:
        async with AsyncClient(target, model="animals", credentials=credentials) as client:
            answer = await client.predict(rows(4))
            np.testing.assert_array_equal(answer.probabilities, expected)

    asyncio.run(ask())
    with (
        Client(target, model="animals", credentials=tls_credentials(ca=authority.path)) as stranger,
        pytest.raises(NotReady),
    ):
        stranger.predict(rows(4), timeout_s=1)


def test_the_health_command_speaks_tls_and_mtls(
    *,
    start_server: Starter,
    repository_path: Path,
    authority: Authority,
    pair: Pair,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = start_server(repository_path, **tls(pair), tls_client_ca=str(authority.path))
    own = authority.issue("client")
    address = f"localhost:{server.port}"
    certificate = ["--tls-cert", str(own.cert), "--tls-key", str(own.key)]
    assert health([address, "--tls-ca", str(authority.path), *certificate]) == 0
    assert capsys.readouterr().out == f"{address}: SERVING\n"
    assert health([address, "--tls-ca", str(authority.path), *certificate, "--tls-name", "elsewhere"]) == 1
    assert health([address, "--tls-ca", str(authority.path), "--timeout-s", "1"]) == 1
    assert health([address, "--timeout-s", "1"]) == 1
    assert capsys.readouterr().err.count(f"{address}: UNAVAILABLE") == 3
    with pytest.raises(ConfigurationError, match="come together"):
        health([address, "--tls-cert", str(own.cert)])
    for part, file in {"CA": authority.path, "CERT": own.cert, "KEY": own.key}.items():
        monkeypatch.setenv(f"WIDEDEEP_CLIENT_TLS_{part}", str(file))
    assert health([address]) == 0
    monkeypatch.setenv("WIDEDEEP_CLIENT_TLS_NAME", "elsewhere")
    assert health([address]) == 1


def test_several_workers_speak_tls_with_tokens_and_all_see_new_certificates(
    repository_path: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue()
    before = pair.serial
    token, line = new_token("reporting")
    (tmp_path / "tokens").write_text(line)
    command = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(repository_path), "--host", "127.0.0.1"]
    flags = ["--port", "0", "--workers", "2", "--drain-wait-s", "0", "--tokens", str(tmp_path / "tokens")]
    with subprocess.Popen(
        [*command, *flags, "--tls-cert", str(pair.cert), "--tls-key", str(pair.key)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            port = next(
                int(match[1]) for text in process.stdout if (match := re.match(r"listening on \S+:(\d+)", text))
            )
            with Client(
                f"localhost:{port}",
                model="animals",
                credentials=tls_credentials(ca=authority.path),
                token=token,
                connections=8,
            ) as client:
                for _ in range(16):
                    assert len(client.predict(rows(2)).label) == 2
                # Connections reach one worker each, by chance.
                assert {authority.shown(port)[0] for _ in range(16)} == {before}
                after = authority.issue().serial
                assert {authority.shown(port)[0] for _ in range(16)} == {after}
                assert len(client.predict(rows(2)).label) == 2
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_a_worker_with_unusable_files_ends_the_start_by_name(repository_path: Path, tmp_path: Path) -> None:
    flags = ["--workers", "2", "--port", "0", "--tls-cert", str(tmp_path / "no.pem"), "--tls-key", str(tmp_path / "no")]
    command = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(repository_path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"widedeep serve: {tmp_path / 'no.pem'} cannot be read" in done.stderr


def test_a_batch_jobs_scorer_takes_tls_and_a_token_from_variables(
    start_server: Starter, repository_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    token, line = new_token("nightly")
    (tmp_path / "tokens").write_text(line)
    (tmp_path / "token").write_text(f"{token}\n")
    server = start_server(repository_path, **tls(authority.issue()), tokens=str(tmp_path / "tokens"))
    monkeypatch.setenv("WIDEDEEP_CLIENT_TLS_CA", str(authority.path))
    with pytest.raises(Unauthenticated):
        RemoteScorer.connect(f"localhost:{server.port}", "animals")
    monkeypatch.setenv("WIDEDEEP_CLIENT_TOKEN_FILE", str(tmp_path / "token"))
    with RemoteScorer.connect(f"localhost:{server.port}", "animals") as scorer:
        assert scorer.score(rows(5), ["probabilities"])["probabilities"].shape == (5, 3)
