"""TLS of the gRPC port: the server's certificate and the authorities of its clients, from PEM files that may change.

gRPC asks for them with every handshake, so that new connections get what the files say now; those that exist stay as
they are. Its core takes nothing below TLS 1.2.
"""

import ssl
from collections.abc import Sequence
from pathlib import Path

import grpc

from ..contract.errors import ConfigurationError
from ..settings import ServeSettings
from .watched import Contents, Watched

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY_END = b"PRIVATE KEY-----"
_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")


def server_credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    """Return what the gRPC port listens with; None where it is not to be encrypted.

    Raises:
        ConfigurationError: a setting is missing beside another, or a file is missing or unusable; names it.
    """
    if not settings.tls_cert or not settings.tls_key:
        if settings.tls_cert or settings.tls_key or settings.tls_client_ca:
            missing = "tls_key" if settings.tls_cert else "tls_cert"
            raise ConfigurationError(f"setting {missing} is missing: TLS needs a certificate and its key")
        return None
    names = [settings.tls_cert, settings.tls_key, settings.tls_client_ca]
    paths = [Path(name) for name in names if name]
    watched = Watched(paths, lambda contents: _configuration(paths, contents), every_s=0)
    given = watched.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return what a new connection gets; None if that is what the last one got."""
        nonlocal given
        if (found := watched.current()) is given:
            return None
        given = found
        return found

    return grpc.dynamic_ssl_server_credentials(
        given,
        fetch,  # type: ignore[arg-type]  # None is what gRPC documents for no change
        require_client_authentication=bool(settings.tls_client_ca),
    )


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
