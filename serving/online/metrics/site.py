"""Metrics, health and the status page of one server, on the port that its settings name."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...contract.errors import ConfigurationError
from ...settings import ServeSettings
from .listener import Listener
from .routes import Routes
from .seam import Subject


class Site:
    """Answers over HTTP while the server lives. Order of calls: `opening`, `stop`. Owner: server or supervisor.

    It comes up before the server loads anything and goes last, so that loading and draining can be watched.
    """

    def __init__(self, subject: Subject, settings: ServeSettings) -> None:
        """Store the parts; where metrics are switched off, nothing listens."""
        self._settings = settings
        self._listener = Listener(Routes(subject)) if settings.metrics else None

    @property
    def port(self) -> int:
        """Where it listens; 0 before `opening` and where metrics are switched off."""
        return 0 if self._listener is None else self._listener.port

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Listen from now on, unless what is done in this context fails: then let go of the port.

        Raises:
            ConfigurationError: the port is taken, or is that of gRPC.
        """
        self._listen()
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def _listen(self) -> None:
        if self._listener is None:
            return
        settings = self._settings
        if settings.metrics_port == settings.port != 0:
            raise ConfigurationError(f"port and metrics_port are both {settings.port}; expected two ports")
        self._listener.start(self._host, settings.metrics_port)

    def stop(self) -> None:
        """Let go of the port; may be called again."""
        if self._listener is not None:
            self._listener.stop()

    def summary(self) -> list[str]:
        """Return the line that tells a person where it is."""
        if not self.port:
            return []
        host = f"[{self._host}]" if ":" in self._host else self._host
        return [f"metrics, health and status page on http://{host}:{self.port}/"]

    @property
    def _host(self) -> str:
        return self._settings.metrics_host or self._settings.host
