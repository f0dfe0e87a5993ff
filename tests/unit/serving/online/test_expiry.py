"""When certificates expire: what other libraries made and read, and every kind of damage."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from widedeep.serving.online.expiry import expiries_s, not_after_s

_BEGAN = datetime(1985, 1, 1, tzinfo=UTC)
_TIMES = [
    datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2000, 2, 29, tzinfo=UTC),
    datetime(2027, 3, 1, 8, 30, 1, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),  # the last that is written with two digits of the year
    datetime(2050, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),  # stands for no end at all
]
_KEYS: dict[str, Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def certificate(not_after: datetime, *, key: str = "ec", n_names: int = 1) -> x509.Certificate:
    private = _KEYS[key]()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Größe")])
    names = [x509.DNSName(f"host-{number}.example.test") for number in range(n_names)]
    return (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), _BEGAN, not_after)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(private, None if key == "ed25519" else hashes.SHA256())
    )


def der(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.DER)


def pem(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("not_after", _TIMES, ids=str)
def test_the_end_is_what_another_library_wrote(not_after: datetime) -> None:
    assert not_after_s(der(certificate(not_after))) == not_after.timestamp()


@pytest.mark.parametrize("key", _KEYS)
@pytest.mark.parametrize("n_names", [1, 50, 4000], ids="{} names".format)  # lengths of one to three bytes
def test_any_key_and_any_size_is_read(key: str, n_names: int) -> None:
    assert not_after_s(der(certificate(_TIMES[2], key=key, n_names=n_names))) == _TIMES[2].timestamp()


def test_a_certificate_of_the_first_version_is_read(tmp_path: Path) -> None:
    for arguments in (
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=old", "-keyout", "old.key", "-out", "old.csr"],
        ["x509", "-req", "-in", "old.csr", "-signkey", "old.key", "-days", "30", "-out", "old.pem"],
    ):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)
    made = (tmp_path / "old.pem").read_bytes()
    read = x509.load_pem_x509_certificate(made)
    if read.version is not x509.Version.v1:
        pytest.skip("this openssl writes the third version only")
    assert expiries_s(made) == [read.not_valid_after_utc.timestamp()]


def test_a_file_may_hold_several_among_other_things() -> None:
    first, second = (pem(certificate(not_after)) for not_after in _TIMES[2:4])
    key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    text = "# Zuerst -----BEGIN CERTIFICATE----- im Text\n".encode("latin-1")
    wanted = [not_after.timestamp() for not_after in _TIMES[2:4]]
    assert expiries_s(text + first + key + second) == wanted
    assert expiries_s((text + first + second).replace(b"\n", b"\r\n")) == wanted
    assert expiries_s(key) == []


def test_whatever_byte_is_damaged_there_is_an_end_or_a_value_error() -> None:
    whole = der(certificate(_TIMES[2]))
    for at in range(len(whole)):
        with pytest.raises(ValueError, match=r"ends within an element|expected an element|written as DER"):
            not_after_s(whole[:at])
        for value in range(256):
            try:
                not_after_s(whole[:at] + bytes([value]) + whole[at + 1 :])
            except ValueError:
                continue


def element(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    length = bytes([len(body)]) if len(body) < 128 else b"\x81" + bytes([len(body)])
    return bytes([tag]) + length + body


def minimal(not_after: bytes, *, end: bytes = b"") -> bytes:
    """Return what comes before the subject of a certificate, and no more."""
    validity = element(0x30, element(0x17, b"000101000000Z"), not_after, end)
    fields = element(0x30, element(0x02, b"\1"), element(0x30), element(0x30), validity)
    return element(0x30, fields)


def test_times_are_those_of_certificates_alone() -> None:
    assert not_after_s(minimal(element(0x17, b"270301083001Z"))) == _TIMES[2].timestamp()
    assert not_after_s(minimal(element(0x18, b"20270301083001Z"))) == _TIMES[2].timestamp()
    early = not_after_s(minimal(element(0x17, b"500101000000Z")))
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=early) == datetime(1950, 1, 1, tzinfo=UTC)
    for tag, text in (
        (0x17, b"2703010830Z"),
        (0x17, b"270301083001+0100"),
        (0x17, b"270301083001"),
        (0x17, b"20270301083001Z"),
        (0x17, b"271301083001Z"),
        (0x17, b"270229083001Z"),
        (0x17, b"270301083060Z"),
        (0x17, b""),
        (0x18, b"270301083001Z"),
        (0x18, b"20270301083001.5Z"),
        (0x18, b"00000301083001Z"),
        (0x18, "\uff120270301083001Z".encode()),
    ):
        with pytest.raises(ValueError, match=r"is no time|does not match|out of range|must be in|unconverted"):
            not_after_s(minimal(element(tag, text)))


def test_lengths_and_order_are_those_of_der_alone() -> None:
    good = minimal(element(0x17, b"270301083001Z"))
    indefinite = b"\x30\x80" + good[2:] + b"\0\0"
    too_long = b"\x30\x81" + good[1:]
    padded = b"\x30\x82\0" + good[1:]
    for damaged, message in (
        (b"", "got nothing"),
        (good + b"\0", "1 bytes follow the certificate"),
        (indefinite, "not written as DER"),
        (too_long, "not written as DER"),
        (padded, "not written as DER"),
        (b"\x30\xff" + good[2:], "not written as DER"),
        (minimal(element(0x04, b"270301083001Z")), "expected an element of tag 0x17 or 0x18, got 04"),
        (minimal(element(0x17, b"270301083001Z"), end=b"\5\0"), "2 bytes follow the times"),
    ):
        with pytest.raises(ValueError, match=message):
            not_after_s(damaged)
