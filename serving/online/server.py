"""The server: repository, service, health and reflection on one port; started, drained and stopped in order."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from ..contract.errors import ConfigurationError
from ..engine.cache import Cache
from ..engine.ensemble import Ensemble
from ..engine.pool import Pool
from ..engine.runtime import check_installation
from ..protocol.reflection import add_reflection
from ..protocol.service import SERVICE
from ..settings import ServeSettings
from .handlers import Handlers
from .health import HEALTH_SERVICE, Health
from .native import NativeFront, is_installed
from .policy import BatchPolicy
from .repository import Repository, Source
from .servable import Servable
from .servicer import Servicer, own_counters
from .siblings import Models, Siblings
from .tally import SharedCount
from .transport import HandlerPool

_LOG = logging.getLogger(__name__)
_US = 1e-6
_MAX_PENDING = 1 << 16
_LEAST_HANDLERS = 16
_HOLD_S = 1.0
"""How long new calls are held at most before the server stops; see `gate`."""


class Server:
    """One gRPC server over a bundle or a repository.

    Order of calls: `start` once, then `stop` once, from the same thread; one of several workers goes through the steps
    of `stop` together with the others. Owner: the command line, a test or a worker.
    """

    def __init__(self, path: Path, settings: ServeSettings, *, siblings: Siblings | None = None) -> None:
        """Store the settings; `start` does the work.

        Args:
            path: a repository or one bundle.
            settings: of the server.
            siblings: the workers of which this server is one; they share the port.

        Raises:
            ConfigurationError: the front end asked for is not installed.
        """
        self._siblings = siblings
        self._settings = settings
        self._pool = Pool(settings.cores or None)
        self._cache = Cache.open(settings.cache_dir)
        self.repository: Models = (
            Repository(Source(path, settings.name), self._open_servable, max_versions=settings.versions)
            if siblings is None
            else siblings.repository(self._open_servable)
        )
        self._ready = threading.Event()
        servicer = Servicer(
            self.repository,
            allow_model_control=settings.allow_model_control,
            is_ready=self._is_ready,
            counters=own_counters if siblings is None else siblings.counters,
        )
        # Where the native front end listens, the grpcio server stands behind it.
        self._native = _native_front(settings, servicer, self._pool, siblings)
        calls = siblings.calls if siblings is not None and self._native is None else None
        self._infer_pool = HandlerPool(
            _handler_threads(settings, self._pool), "widedeep-infer", settings.max_queue_calls, calls
        )
        self._handlers = Handlers(
            servicer,
            self._infer_pool,
            self._pool,
            max_streams=settings.max_streams,
            streams=None if siblings is None else siblings.streams,
        )
        self._health = Health(("", SERVICE), self._handlers.control_pool, is_serving=self._is_ready)
        self._server: grpc.Server | None = None
        self._stopped: threading.Event | None = None
        self._end_reflection: Callable[[], None] = lambda: None
        self.port = settings.port

    @property
    def address(self) -> str:
        """Host and port that clients connect to."""
        host = self._settings.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def start(self) -> None:
        """Load every model, then listen, then turn ready; one of several workers is turned ready once all listen.

        Raises:
            ConfigurationError: the port is taken, nothing to serve, a provider is missing or meant for no member here.
            BundleError: a bundle is damaged or fails its golden check.
        """
        check_installation()
        self._pool.start()
        self.repository.start()
        self._check_providers()
        limit = self._settings.max_message_bytes
        server = grpc.server(
            self._infer_pool,
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                # What grpc-core lets wait before Python hears of it: above its own limit, a thousand, it cancels calls
                # at random (measured under overload), which callers do not retry.
                ("grpc.server.max_pending_requests", _MAX_PENDING),
                ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING),
                # Otherwise a second server would silently share the port with a stale one.
                ("grpc.so_reuseport", int(self._siblings is not None)),
            ],
        )
        server.add_generic_rpc_handlers((self._handlers.generic(), self._health.generic()))
        self._end_reflection = add_reflection(server, (SERVICE, HEALTH_SERVICE))
        self.port = self._listen(server)
        self._server = server
        if self._siblings is None:
            self.turn(ready=True)

    def turn(self, *, ready: bool) -> None:
        """Tell clients that this server accepts work, or that it will soon accept none."""
        if ready:
            self._ready.set()
        else:
            self._ready.clear()
        self._health.tell()

    def summary(self) -> list[str]:
        """Return the lines that tell a person what is served and where."""
        lines = []
        for servable in self.repository.servables():
            members = ", ".join(
                f"{member.spec.name} ({member.provider.removesuffix('ExecutionProvider')})"
                for member in servable.ensemble.members
            )
            lines.append(f"serving {servable.name} version {servable.version}: {members}")
        front_end = "grpcio" if self._native is None else "native"
        return [*lines, f"listening on {self.address} (gRPC, Open Inference Protocol v2, {front_end} front end)"]

    def stop(self) -> None:
        """Turn not ready, wait for that to be seen, refuse new calls, answer those accepted, let go of the models."""
        self.hold()
        self.shut()
        self.leave()

    def hold(self) -> None:
        """Turn not ready, wait for that to be seen, and let calls wait that come from now on."""
        self.turn(ready=False)
        if self._server is not None:
            time.sleep(self._settings.drain_wait_s)
            self._handlers.gate.hold(_HOLD_S)

    def shut(self) -> None:
        """Take no connections and calls any more; those accepted go on."""
        if self._server is not None:
            self._stopped = self._server.stop(self._settings.grace_s)

    def leave(self) -> None:
        """Refuse the calls that wait since `hold`, answer those accepted, let go of the models."""
        if self._stopped is not None:
            self._handlers.gate.release()
            # Calls that stay open by nature would otherwise hold the server until the grace is over.
            self._handlers.end_streams()
            self._health.end()
            self._end_reflection()
            if self._native is not None:
                self._native.drain(self._settings.grace_s)
            if not self._stopped.wait(self._settings.grace_s + 1):
                _LOG.warning("calls were still in flight after %s s", self._settings.grace_s)
        if self._native is not None:
            self._native.close()
        self.repository.close()
        self._handlers.close()
        self._infer_pool.shutdown(wait=False)
        self._pool.close()

    def _listen(self, server: grpc.Server) -> int:
        """Answer calls from now on; returns the port."""

        def serve(address: str) -> int:
            try:
                port = server.add_insecure_port(address)
            except RuntimeError as error:
                raise ConfigurationError(f"cannot listen on {address}: is the port in use? ({error})") from error
            server.start()
            return port

        return serve(self.address) if self._native is None else self._native.start(self.address, serve)

    def _check_providers(self) -> None:
        """Refuse providers for a member that no model has: the name must be misspelt."""
        names = {member.spec.name for servable in self.repository.servables() for member in servable.ensemble.members}
        if unknown := self._settings.providers.keys() - names - {""}:
            raise ConfigurationError(
                f"providers for unknown member {min(unknown)!r}; the models served have "
                f"{', '.join(map(repr, sorted(names)))}"
            )

    def _is_ready(self) -> bool:
        return self._ready.is_set() if self._siblings is None else self._siblings.is_open

    def _open_servable(self, name: str, version: int, path: Path, waiting: SharedCount | None = None) -> Servable:
        settings = self._settings
        ensemble = Ensemble.load(
            path,
            pool=self._pool,
            providers=settings.providers,
            fallback=settings.provider_fallback,
            cache=self._cache,
        )
        _warn_of_fallback(name, ensemble, settings.providers)
        policy = BatchPolicy(
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            max_delay_s=settings.max_queue_delay_us * _US,
        )
        return Servable(name, version, ensemble, policy, max_request_rows=settings.max_request_rows, waiting=waiting)


def _handler_threads(settings: ServeSettings, pool: Pool) -> int:
    """Return how many calls are handled at once.

    A call holds its thread until it is answered, so there must be more than cores. But threads also contend with the
    one in which grpcio takes calls (measured at 120 % load on two cores: 64 of them answered 0.76 of the peak, 16
    answered 0.97, in a third of the time).
    """
    return settings.handler_threads or max(_LEAST_HANDLERS, 4 * pool.n_cores)


def _native_front(
    settings: ServeSettings, servicer: Servicer, pool: Pool, siblings: Siblings | None
) -> NativeFront | None:
    """Return the native front end where it is asked for, or none is and it is installed."""
    if settings.front_end == "grpcio":
        return None
    if not is_installed():
        if settings.front_end == "native":
            raise ConfigurationError("front_end 'native' needs the package pygrpc-native: install widedeep[native]")
        return None
    return NativeFront(
        servicer.infer,
        pool,
        max_calls=_handler_threads(settings, pool) + settings.max_queue_calls,
        max_message_bytes=settings.max_message_bytes,
        count=None if siblings is None else siblings.calls,
        reuse_port=siblings is not None,
    )


def _warn_of_fallback(name: str, ensemble: Ensemble, wanted: dict[str, tuple[str, ...]]) -> None:
    for member in ensemble.members:
        providers: Sequence[str] = wanted.get(member.spec.name, wanted.get("", ()))
        if providers and member.provider != providers[0]:
            _LOG.warning(
                "model %s, member %s: %s is not to be had here, runs on %s",
                name,
                member.spec.name,
                providers[0],
                member.provider,
            )
