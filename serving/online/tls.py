"""TLS of the gRPC port: the server's certificate and the authorities of its clients, from PEM files that may change.

gRPC asks for them with every handshake, so that new connections get what the files say now; those that exist stay as
they are. Its core takes nothing below TLS 1.2.
"""

import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc

from ..contract.errors import ConfigurationError
from ..settings import ServeSettings
from .expiry import expiries_s
from .watched import Contents, Watched

_LOG = logging.getLogger(__name__)
_SOON_S = 14 * 24 * 3600
"""Certificates that expire within this are warned of, as `deploy/prometheus/alerts.yaml` does."""
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY_END = b"PRIVATE KEY-----"
_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")


class Tls:
    """The files as they are in force. Any method may be called from any thread. Owner: the server.

    Attributes:
        credentials: what the gRPC port listens with.
    """

    def __init__(self, settings: ServeSettings) -> None:
        """Read the files.

        Raises:
            ConfigurationError: a file is missing or unusable; names it.
        """
        names = [settings.tls_cert, settings.tls_key, settings.tls_client_ca]
        paths = [Path(name) for name in names if name]
        self._watched = Watched(paths, lambda contents: _in_force(paths, contents), every_s=0)
        self._given = self._watched.current().configuration
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._given,
            self._changed,  # type: ignore[arg-type]  # None is what gRPC documents for no change
            require_client_authentication=bool(settings.tls_client_ca),
        )

    def expiries_s(self) -> Mapping[str, float]:
        """Return when certificates expire, in seconds since the epoch, by what they are for.

        Of the server's own and its chain (`cert`) that is the first to expire. Of the authorities of clients
        (`client_ca`) it is the first of those that had not expired when the file was read: one that a renewal has left
        there admits nobody, and nobody waits for it. Where all had expired, it is the last of them.
        """
        return self._watched.current().expiries_s

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what a new connection gets; None if that is what the last one got."""
        if (found := self._watched.current().configuration) is self._given:
            return None
        self._given = found
        return found


def open_tls(settings: ServeSettings) -> Tls | None:
    """Return what the settings ask for; None where the gRPC port is not to be encrypted.

    Raises:
        ConfigurationError: a setting is missing beside another, or a file is missing or unusable; names it.
    """
    if settings.tls_cert and settings.tls_key:
        return Tls(settings)
    if settings.tls_cert or settings.tls_key or settings.tls_client_ca:
        missing = "tls_key" if settings.tls_cert else "tls_cert"
        raise ConfigurationError(f"setting {missing} is missing: TLS needs a certificate and its key")
    return None


@dataclass(frozen=True, slots=True)
class _InForce:
    """What files say: for gRPC, and when it ends."""

    configuration: grpc.ServerCertificateConfiguration
    expiries_s: Mapping[str, float]


def _in_force(paths: Sequence[Path], contents: Contents) -> _InForce:
    """Return the files' contents, once they have been found to fit together; warn of what has expired or soon will."""
    configuration = _configuration(paths, contents)
    certificate, _, *authorities = contents
    now_s = time.time()
    expiries: dict[str, float] = {}
    if found := _expiries(paths[0], "tls_cert", certificate, now_s):
        expiries["cert"] = found[0]
    for authority in authorities:
        if found := _expiries(paths[2], "tls_client_ca", authority, now_s):
            expiries["client_ca"] = next((expiry for expiry in found if expiry > now_s), found[-1])
    return _InForce(configuration, expiries)


def _expiries(path: Path, setting: str, pem: bytes, now_s: float) -> list[float]:
    """Return when the certificates of a file expire, the first to do so first; none if that cannot be told."""
    try:
        found = sorted(expiries_s(pem))
    except ValueError as error:
        _LOG.warning("%s (%s): cannot tell when a certificate expires: %s", path, setting, error)
        return []
    if found and found[0] < now_s + _SOON_S:
        verb = "expired" if found[0] <= now_s else "expires"
        _LOG.warning("%s (%s): a certificate %s on %s", path, setting, verb, datetime.fromtimestamp(found[0], UTC))
    return found


def _configuration(paths: Sequence[Path], contents: Contents) -> grpc.ServerCertificateConfiguration:
    """Return the files' contents as gRPC takes them, once they have been found to fit together."""
    certificate, key, *authorities = contents
    if _CERTIFICATE not in certificate:
        raise ConfigurationError(f"{paths[0]} (tls_cert) holds no PEM certificate")
    if any(mark in key for mark in _ENCRYPTED):
        raise ConfigurationError(f"{paths[1]} (tls_key) is encrypted; expected a private key without a password")
    if _KEY_END not in key:
        raise ConfigurationError(f"{paths[1]} (tls_key) holds no PEM private key")
    _check_pair(paths[0], paths[1])
    for authority in authorities:
        _check_authorities(paths[2], authority)
    # The pair was checked as the files are, which may have changed since their contents were read.
    if [paths[0].read_bytes(), paths[1].read_bytes()] != [certificate, key]:
        raise ConfigurationError(f"{paths[0]} and {paths[1]} changed while they were read")
    return grpc.ssl_server_certificate_configuration([(key, certificate)], *authorities)


def _check_pair(certificate: Path, key: Path) -> None:
    try:
        # Asked for a password, OpenSSL would otherwise wait for someone to type it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(f"{key} (tls_key) is not the key of {certificate} (tls_cert)") from error
        raise ConfigurationError(
            f"{certificate} (tls_cert) and {key} (tls_key) are no usable pair: {error.reason or error}"
        ) from error


def _check_authorities(path: Path, authority: bytes) -> None:
    if _CERTIFICATE not in authority:
        raise ConfigurationError(f"{path} (tls_client_ca) holds no PEM certificate")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=authority.decode("ascii", "ignore"))
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{path} (tls_client_ca) holds no usable certificate: {error.reason or error}"
        ) from error
