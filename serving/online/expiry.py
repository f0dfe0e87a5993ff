"""When certificates expire, read from their bytes: the standard library tells it of none that it has not verified.

A certificate is DER: elements of a tag, a length and contents, one in another. Only the way to `notAfter` is walked.

Source: RFC 5280, sections 4.1 and 4.1.2.5; ITU-T X.690, sections 8.1 and 10.1 (tags and lengths).
"""

import base64
import re
from datetime import UTC, datetime

_PEM = re.compile(rb"^-----BEGIN CERTIFICATE-----(.*?)^-----END CERTIFICATE-----", re.MULTILINE | re.DOTALL)
_INTEGER = 0x02
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_SEQUENCE = 0x30
_VERSION = 0xA0
_UTC_TIME_PIVOT = b"50"
"""Two digits of a year mean 1950 to 2049."""


def expiries_s(pem: bytes) -> list[float]:
    """Return when each certificate of a PEM file expires, in its order, in seconds since the epoch.

    Raises:
        ValueError: one of them is no such certificate.
    """
    return [not_after_s(base64.b64decode(body)) for body in _PEM.findall(pem)]


def not_after_s(certificate: bytes) -> float:
    """Return when a certificate, as DER, expires, in seconds since the epoch.

    Raises:
        ValueError: it is no certificate.
    """
    contents, rest = _take(certificate, _SEQUENCE)
    if rest:
        raise ValueError(f"{len(rest)} bytes follow the certificate")
    fields, _ = _take(contents, _SEQUENCE)
    if fields[:1] == bytes([_VERSION]):  # the first version has none
        _, fields = _take(fields, _VERSION)
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serial number, algorithm, issuer
        _, fields = _take(fields, tag)
    validity, _ = _take(fields, _SEQUENCE)
    _, validity = _take(validity, _UTC_TIME, _GENERALIZED_TIME)
    digits, rest = _take(validity, _UTC_TIME, _GENERALIZED_TIME)
    if rest:
        raise ValueError(f"{len(rest)} bytes follow the times of its validity")
    return _seconds(validity[0], digits)


def _take(data: bytes, *tags: int) -> tuple[bytes, bytes]:
    """Return the contents of the first element, which must have one of the tags, and the bytes behind it."""
    if not data or data[0] not in tags:
        expected = " or ".join(f"{tag:#04x}" for tag in tags)
        raise ValueError(f"expected an element of tag {expected}, got {data[:1].hex() or 'nothing'}")
    size, start = data[1:2], 2
    if size and size[0] >= 0x80:  # the length of the length; none means that an end is marked, which DER forbids
        start += size[0] - 0x80
        size = data[2:start]
        if len(size) < start - 2 or size[:1] in {b"", b"\0"} or (len(size) == 1 and size[0] < 0x80):
            raise ValueError("a length is not written as DER has it")
    end = start + int.from_bytes(size)
    if not size or end > len(data):
        raise ValueError(f"it ends within an element: {len(data)} bytes of {end}")
    return data[start:end], data[end:]


def _seconds(tag: int, digits: bytes) -> float:
    """Return a time, which profiles of certificates have in seconds and in UTC."""
    if tag == _UTC_TIME:
        digits = (b"20" if digits[:2] < _UTC_TIME_PIVOT else b"19") + digits
    if not re.fullmatch(rb"\d{14}Z", digits):
        raise ValueError(f"{digits!r} is no time as certificates have it")
    return datetime.strptime(digits.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
