"""Bearer tokens, of which the server keeps only SHA-256 digests: the file they stand in, and new ones for it.

    # name, digest, and for those that may load and unload models the word admin
    reporting  sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
    operator   sha256:50d858e0985ecc7f60418aaf0cc5ab587f42c2570a884095a9e8ccacd0f6545c  admin

A plain digest without salt or stretching is enough: tokens are 32 random bytes, not passwords, so that there is nothing
to guess. Nor does it matter how long a look-up takes: its time may depend on the digest of what was presented, which
nobody can steer towards the digest of a token that is not known.
"""

import contextlib
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..contract.errors import ConfigurationError

_TOKEN_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token belongs to.

    Attributes:
        name: in logs; several tokens may have one name, so that one can be replaced by another without a gap.
        is_admin: whether models may be loaded and unloaded.
    """

    name: str
    is_admin: bool = False


Callers = Mapping[bytes, Caller]
"""Digest of a token -> whose it is."""


def digest(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


_NOTHING = digest("")
"""What a script that meets an unset variable would write, and so admit everybody."""


def new_token(name: str, *, is_admin: bool = False) -> tuple[str, str]:
    """Return a new random token, and the line that admits it.

    Raises:
        ConfigurationError: the name cannot stand in a line.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"expected a name of letters, digits and . _ @ -, at most 64, got {name!r}")
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    return token, f"{name} sha256:{digest(token).hex()}{f' {_ADMIN}' if is_admin else ''}"


def read_tokens(path: Path, data: bytes) -> Callers:
    """Return the tokens that the bytes of a file admit.

    Raises:
        ConfigurationError: a line is no such line, or there is none; names file and line, but not what it says.
    """
    callers: dict[bytes, Caller] = {}
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, hashed, *rest = [*words, ""][: max(len(words), 2)]
        match = _DIGEST.fullmatch(hashed)
        if not _NAME.fullmatch(name) or match is None or rest not in ([], [_ADMIN]):
            raise ConfigurationError(
                f"{path}, line {number}: expected `<name> sha256:<64 hexadecimal digits>`, then `{_ADMIN}` or nothing"
            )
        key = bytes.fromhex(match[1])
        if key == _NOTHING:
            raise ConfigurationError(f"{path}, line {number}: this is the digest of an empty token")
        if key in callers:
            raise ConfigurationError(f"{path}, line {number}: this digest has been given before")
        callers[key] = Caller(name, is_admin=bool(rest))
    if not callers:
        raise ConfigurationError(f"{path} holds no token; `widedeep token NAME --append {path}` makes one")
    return callers


def append_line(path: Path, line: str) -> None:
    """Add a line to a file of tokens, or make one that only its owner may read; readers see all of it or nothing.

    Raises:
        ConfigurationError: the file is there and is none of tokens.
        OSError: it cannot be written.
    """
    path = path.resolve()  # a link stays a link
    before = path.read_bytes() if path.exists() else b""
    if before.strip():
        read_tokens(path, before)
    if before and not before.endswith(b"\n"):
        before += b"\n"
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # of mode 600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(before + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
