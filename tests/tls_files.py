"""Certificates from authorities of the tests' own, as PEM files, and what a server shows of them in a handshake."""

import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme
from cryptography import x509


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).serial_number


class Authority:
    """An authority whose certificates lie in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.path = folder / f"{name}.pem"
        self._ca = trustme.CA()
        folder.mkdir(parents=True, exist_ok=True)
        self._ca.cert_pem.write_to_path(str(self.path))

    def issue(self, stem: str = "server", *, folder: Path | None = None, not_after: datetime | None = None) -> Pair:
        """Issue a certificate for this machine, also in place of one before."""
        folder = folder or self.folder
        folder.mkdir(parents=True, exist_ok=True)
        leaf = self._ca.issue_cert("localhost", "127.0.0.1", common_name=stem, not_after=not_after)
        pair = Pair(folder / f"{stem}.pem", folder / f"{stem}.key")
        pair.cert.write_bytes(leaf.cert_chain_pems[0].bytes())
        pair.key.write_bytes(leaf.private_key_pem.bytes())
        return pair

    def shown(self, port: int, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[int, str]:
        """Return the serial of the certificate that a server shows, and the protocol agreed upon.

        Raises:
            ssl.SSLError: there is no agreement.
        """
        context = ssl.create_default_context(cafile=str(self.path))
        context.set_alpn_protocols(["h2"])
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # old versions are to be refused by the server, not here
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        ):
            shown = wrapped.getpeercert(binary_form=True)
            assert shown is not None
            return x509.load_der_x509_certificate(shown).serial_number, str(wrapped.version())
