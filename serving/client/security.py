"""How a client's channels are secured: TLS from PEM files, and a bearer token that goes along with every call.

    Client("host:8001", model="digits", credentials=tls_credentials(ca="ca.pem"), token=Path("token").read_text())

gRPC sends a token over TLS only. Where a proxy on the same machine encrypts, `plaintext_token` lets it go without.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from ..contract.errors import ConfigurationError, InvalidInput

Options = Sequence[tuple[str, Any]]


def tls_credentials(
    *, ca: str | Path | None = None, cert: str | Path | None = None, key: str | Path | None = None
) -> grpc.ChannelCredentials:
    """Return what channels to a server with TLS are opened with.

    Args:
        ca: PEM file of the authorities that may have signed the server's certificate; None means those that gRPC
            brings along.
        cert: PEM file of the client's own certificate and its chain, where the server asks for one.
        key: PEM file of that certificate's private key.

    Raises:
        ConfigurationError: a file cannot be read, or a certificate comes without its key.
    """
    if (cert is None) != (key is None):
        raise ConfigurationError(f"a client's certificate and its key come together: got {cert} and {key}")
    return grpc.ssl_channel_credentials(*(None if path is None else _read(path) for path in (ca, key, cert)))


class Security:
    """What the channels and the calls of one client carry. Immutable; may be used from any thread.

    Attributes:
        credentials: of the channels; None leaves them without encryption.
        metadata: of every call.
    """

    __slots__ = ("credentials", "metadata")

    def __init__(
        self,
        credentials: grpc.ChannelCredentials | None,
        token: str,
        metadata: Sequence[tuple[str, str]],
        *,
        plaintext_token: bool = False,
    ) -> None:
        """Put the parts together.

        Raises:
            InvalidInput: a token is to go over channels without encryption, or cannot stand in a header.
        """
        token = token.strip()
        if not token.isprintable() or not token.isascii() or " " in token:
            raise InvalidInput("expected a token of printable ASCII characters")
        self.metadata = tuple(metadata)
        self.credentials = credentials
        if not token:
            return
        if credentials is not None:
            self.credentials = grpc.composite_channel_credentials(
                credentials, grpc.access_token_call_credentials(token)
            )
        elif plaintext_token:
            self.metadata += (("authorization", f"Bearer {token}"),)
        else:
            raise InvalidInput(
                "a token without TLS can be read on its way: expected credentials, such as tls_credentials(ca=...), or "
                "plaintext_token=True where the way is safe"
            )


def from_environment() -> dict[str, Any]:
    """Return the arguments of a client that variables give: for programs that make the client themselves.

    They are WIDEDEEP_CLIENT_TLS_CA, WIDEDEEP_CLIENT_TLS_CERT and WIDEDEEP_CLIENT_TLS_KEY, which name the files of
    `tls_credentials`; WIDEDEEP_CLIENT_TOKEN_FILE, which names one that holds the token; and
    WIDEDEEP_CLIENT_PLAINTEXT_TOKEN, `true` where that may be sent without TLS.

    Raises:
        ConfigurationError: a file cannot be read, or a certificate comes without its key.
    """
    ca, cert, key, token = (
        os.environ.get(f"WIDEDEEP_CLIENT_{name}") or None for name in ("TLS_CA", "TLS_CERT", "TLS_KEY", "TOKEN_FILE")
    )
    return {
        "credentials": tls_credentials(ca=ca, cert=cert, key=key) if ca or cert or key else None,
        "token": "" if token is None else _read(token).decode(errors="replace"),
        "plaintext_token": os.environ.get("WIDEDEEP_CLIENT_PLAINTEXT_TOKEN", "").lower() == "true",
    }


def open_channel(target: str, credentials: grpc.ChannelCredentials | None, options: Options) -> grpc.Channel:
    """Return a channel, encrypted where there are credentials."""
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def open_aio_channel(target: str, credentials: grpc.ChannelCredentials | None, options: Options) -> grpc.aio.Channel:
    """Return a channel of grpc.aio, encrypted where there are credentials."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
