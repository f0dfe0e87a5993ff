"""Which expiry is told of where files hold several certificates; handshakes are tested on real servers."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tls_files import Authority, Pair
from widedeep.serving.online.tls import open_tls
from widedeep.serving.settings import ServeSettings

_TODAY = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def issued(authority: Authority, *days: int) -> Path:
    """Return a file of certificates that expire in so many days each."""
    pems = [authority.issue("part", not_after=_TODAY + timedelta(days=each)).cert.read_bytes() for each in days]
    path = authority.folder / "several.pem"
    path.write_bytes(b"".join(pems))
    return path


def days_left(pair: Pair, client_ca: Path | None = None) -> dict[str, float]:
    names = {"tls_cert": str(pair.cert), "tls_key": str(pair.key), "tls_client_ca": str(client_ca or "")}
    tls = open_tls(ServeSettings.load(names))
    assert tls is not None
    return {name: (expiry - _TODAY.timestamp()) / 86400 for name, expiry in tls.expiries_s().items()}


def test_a_chain_ends_with_the_first_of_its_certificates(authority: Authority) -> None:
    pair = authority.issue(not_after=_TODAY + timedelta(days=60))
    pair.cert.write_bytes(pair.cert.read_bytes() + issued(authority, 40, 80).read_bytes())
    assert days_left(pair) == {"cert": 40}


@pytest.mark.parametrize(
    ("days", "told", "warned"),
    [
        ((90, 30, 60), 30, ""),
        ((90, -5, 60), 60, "expired on"),  # what a renewal has left there
        ((-5, -9), -5, "expired on"),
        ((90, 13), 13, "expires on"),
        ((15,), 15, ""),
    ],
)
def test_of_authorities_the_first_counts_that_had_not_expired_or_the_last_if_all_had(
    authority: Authority, caplog: pytest.LogCaptureFixture, days: tuple[int, ...], told: int, warned: str
) -> None:
    pair = authority.issue(not_after=_TODAY + timedelta(days=60))
    assert days_left(pair, issued(authority, *days)) == {"cert": 60, "client_ca": told}
    lines = [line for line in caplog.messages if "tls_client_ca" in line]
    assert len(lines) == bool(warned)
    assert all(warned in line and str(_TODAY + timedelta(days=min(days))) in line for line in lines)


def test_a_certificate_that_only_others_can_read_is_served_and_its_end_not_told(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.issue()
    der = ssl.PEM_cert_to_DER_cert(pair.cert.read_text())
    assert der[:2] == b"\x30\x82"
    pair.cert.write_text(ssl.DER_cert_to_PEM_cert(b"\x30\x83\0" + der[2:]))  # as BER has it; OpenSSL takes it
    assert days_left(pair) == {}
    assert "cannot tell when a certificate expires: a length is not written as DER has it" in caplog.text
