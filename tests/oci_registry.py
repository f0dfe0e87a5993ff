"""A real OCI registry on this machine: Docker's, over a folder, and a service that gives out its tokens."""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from waiting import wait_listening

USER = "user"
PASSWORD = "a-password-1"  # noqa: S105 - of a server that lives as long as a test
PASSWORD_FILE = "user:$2y$04$lEdwGsx2f69frSLQ2zDsWua1Nvl7wgj.oyRiLsHF9116Cj6CWuvBy"  # noqa: S105 - as above
"""What `htpasswd -nbB -C 4` makes of the two."""


@dataclass(frozen=True, slots=True)
class OciRegistry:
    """A registry. Blobs are files below `folder`."""

    folder: Path
    address: str

    def url(self, repository: str) -> str:
        """Return the URL of a repository, or of a tag in it."""
        return f"oci://{self.address}/{repository}"

    def blob(self, digest: str) -> Path:
        """Return the file behind a blob."""
        digest = digest.removeprefix("sha256:")
        return self.folder / "docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"

    def blobs(self) -> set[Path]:
        """Return the files of all blobs."""
        return set(self.folder.glob("docker/registry/v2/blobs/sha256/*/*/data"))


def find_registry() -> str | None:
    """Return the registry's path, None where it is not installed."""
    return shutil.which("docker-registry")


@contextmanager
def oci_registry(
    folder: Path, *, host: str = "127.0.0.1", auth: str = "", cert: Path | None = None
) -> Iterator[OciRegistry]:
    """Run a registry over a folder, on a free port.

    Args:
        folder: for its blobs.
        host: to listen on; what begins with 127. is this machine.
        auth: the `auth` section of its configuration, as JSON; without one everybody may do everything.
        cert: its certificate and key in one PEM file; without one it speaks plain HTTP.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = int(probe.getsockname()[1])
    http: dict[str, Any] = {"addr": f"{host}:{port}", "relativeurls": True}
    if cert is not None:
        http["tls"] = {"certificate": str(cert), "key": str(cert)}
    config = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(folder)}}, "http": http}
    if auth:
        config["auth"] = json.loads(auth)
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(find_registry()), "serve", str(folder / "config.yml")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_listening(process, port, host=host, said=lambda: (folder / "log").read_text()[-2000:])
        yield OciRegistry(folder, f"{host}:{port}")
    finally:
        process.kill()
        process.wait()


def password_auth(folder: Path) -> str:
    """Return an `auth` section for `USER` and `PASSWORD`; its file lies in a folder."""
    (folder / "htpasswd").write_text(PASSWORD_FILE + "\n")
    return json.dumps({"htpasswd": {"realm": "the registry", "path": str(folder / "htpasswd")}})


def docker_config(folder: Path, *, auths: Mapping[str, str] | None = None, **others: object) -> dict[str, str]:
    """Write a configuration of Docker, and return the variables that make clients read it.

    Args:
        folder: for it.
        auths: registry -> `user:password`.
        others: further entries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = {host: {"auth": base64.b64encode(text.encode()).decode()} for host, text in (auths or {}).items()}
    (folder / "config.json").write_text(json.dumps({"auths": entries, **others}))
    return {"DOCKER_CONFIG": str(folder)}


@dataclass
class TokenService:
    """Gives tokens to `USER`, for what they ask and no more. `scopes` are those asked for."""

    folder: Path
    lifetime_s: int
    scopes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make what tokens are signed with."""
        import trustme

        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        leaf = authority.issue_cert("tokens.test", key_type=trustme.KeyType.RSA)
        authority.cert_pem.write_to_path(self.folder / "roots.pem")
        self._chain = [blob.bytes() for blob in leaf.cert_chain_pems]
        self._key = leaf.private_key_pem.bytes()

    def auth(self, port: int) -> str:
        """Return the `auth` section of a registry that trusts this service."""
        realm = f"http://127.0.0.1:{port}/token"
        names = {"service": "registry.test", "issuer": "tokens.test"}
        return json.dumps({"token": {"realm": realm, "rootcertbundle": str(self.folder / "roots.pem"), **names}})

    def token(self, scope: str) -> str:
        """Return a signed token for a scope such as `repository:models/animals:pull,push`."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa

        self.scopes.append(scope)
        access = []
        if scope:
            kind, name, actions = scope.split(":")
            access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        der = [x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER) for pem in self._chain]
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(one).decode() for one in der]}
        now = int(time.time())
        # The registry forgives a minute of difference between clocks.
        times = {"iat": now, "nbf": now - 5, "exp": now - 60 + self.lifetime_s}
        names = {"iss": "tokens.test", "aud": "registry.test", "sub": USER, "jti": str(time.time_ns())}
        signed = f"{_base64(header)}.{_base64({**names, **times, 'access': access})}"
        key = serialization.load_pem_private_key(self._key, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@contextmanager
def token_service(folder: Path, *, lifetime_s: int = 300) -> Iterator[tuple[TokenService, int]]:
    """Run a token service; returns it and its port."""
    service = TokenService(folder, lifetime_s)
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.headers.get("Authorization") == expected
            scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
            body = json.dumps({"token": service.token(scope)} if is_known else {}).encode()
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield service, server.server_port
        finally:
            server.shutdown()


def _base64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
