"""URLs of OCI registries: what they name, and whether the registry is spoken to with TLS."""

import os
import re
from dataclasses import dataclass, replace
from typing import Self

from ..contract.errors import ConfigurationError

SCHEME = "oci://"
PLAIN_HTTP_VARIABLE = "WIDEDEEP_OCI_PLAIN_HTTP"
"""Names registries, separated by commas, that are spoken to without TLS; those on this machine always are."""

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_URL = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)"
    rf"/(?P<repository>{_NAME}(?:/{_NAME})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """What an `oci://` URL names.

    Attributes:
        host: of the registry, with its port if there is one.
        repository: in it; parts with `/` between them.
        tag: a tag, or a digest such as `sha256:...`; "" for the whole repository.
    """

    host: str
    repository: str
    tag: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            ConfigurationError: it is none of this form.
        """
        found = _URL.fullmatch(url.rstrip("/"))
        if found is None:
            shown = re.sub("//[^/]*@", "//...@", url)  # without a password
            raise ConfigurationError(
                f"{shown}: expected oci://<host>[:port]/<repository, lower case>[:tag], or "
                "@sha256:<digest> in place of the tag; credentials come from Docker's configuration"
            )
        return cls(found["host"], found["repository"], found["tag"] or found["digest"] or "")

    def __str__(self) -> str:
        mark = "@" if self.is_digest else ":"
        return f"{SCHEME}{self.host}/{self.repository}{mark + self.tag if self.tag else ''}"

    @property
    def is_digest(self) -> bool:
        """Whether it names what can never change."""
        return ":" in self.tag

    @property
    def is_plain(self) -> bool:
        """Whether the registry is spoken to without TLS."""
        name = re.sub(r":\d+$", "", self.host)
        return name in {"localhost", "127.0.0.1", "[::1]"} or self.host in _plain_hosts()

    def tagged(self, tag: str) -> Self:
        """Return another tag of the repository."""
        return replace(self, tag=tag)


def _plain_hosts() -> list[str]:
    return [host.strip() for host in os.environ.get(PLAIN_HTTP_VARIABLE, "").split(",")]
