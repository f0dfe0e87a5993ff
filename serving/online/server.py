"""The server: repository, service, health and reflection on one port; started, drained and stopped in order."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from ..contract.errors import ConfigurationError
from ..engine.cache import Cache
from ..engine.ensemble import Ensemble
from ..engine.pool import Pool
from ..engine.runtime import check_installation, trim_heap
from ..protocol.reflection import add_reflection
from ..protocol.service import SERVICE
from ..settings import ServeSettings
from .access import Access, Guard
from .call_log import CallLog
from .describe import facts
from .handlers import Handlers
from .health import HEALTH_SERVICE, Health
from .metrics.observation import Observation
from .metrics.observer import Observer
from .metrics.site import Site
from .metrics.watch import Watch
from .native import NativeFront, is_installed
from .origin import Folder, Origin
from .policy import BatchPolicy
from .polling import Poller
from .repository import Repository, Source
from .servable import Servable
from .servicer import Servicer, own_counters
from .siblings import Models, Siblings
from .tally import SharedCount
from .tls import open_tls
from .transport import HandlerPool

if TYPE_CHECKING:
    from .tracing import Tracing

_LOG = logging.getLogger(__name__)
_US = 1e-6
_MS = 1e3
"""Milliseconds in a second."""
_MAX_PENDING = 1 << 16
_LEAST_HANDLERS = 16
_HOLD_S = 1.0
"""How long new calls are held at most before the server stops; see `gate`."""


class Server:
    """One gRPC server over a bundle or a repository.

    Order of calls: `start` once, then `stop` once, from the same thread; one of several workers goes through the steps
    of `stop` together with the others. Owner: the command line, a test or a worker.
    """

    def __init__(
        self, origin: Path | Origin | None, settings: ServeSettings, *, siblings: Siblings | None = None
    ) -> None:
        """Store the settings; `start` does the work.

        Args:
            origin: a repository or one bundle, or what brings one; None where there are siblings, which have it.
            settings: of the server.
            siblings: the workers of which this server is one; they share the port.

        Raises:
            ConfigurationError: the front end asked for is not installed or cannot do what the settings ask for, or a
                file of certificates or tokens is unusable.
        """
        origin = Folder(origin) if isinstance(origin, Path) else origin
        self._siblings = siblings
        self._settings = settings
        self._tls = open_tls(settings)
        self._access = Access(Path(settings.tokens)) if settings.tokens else None
        self._observer = Observer(self.served, self._is_ready)
        self._log = CallLog(
            logs_all=settings.log_calls,
            caller_of=(lambda _: "") if self._access is None else self._access.name,
            on_failure=self._observer.failed,
        )
        self._guard = None if self._access is None else Guard(self._access, self._log)
        self._tracing: Tracing | None = None
        self._pool = Pool(settings.cores or None)
        self._cache = Cache.open(settings.cache_dir)
        self._poller: Poller | None = None
        self._load: Callable[[], None] = lambda: None
        if siblings is not None:
            self.repository: Models = siblings.repository(self._open_servable)
        elif origin is not None:
            own = Repository(self._open_servable, max_versions=settings.versions)
            self._load = lambda: own.start(Source(origin.start(), settings.name))
            self._poller = Poller(lambda: _follow(own), settings.poll_interval_s)
            self.repository = own
        else:
            raise ValueError("expected something to serve, or siblings")
        self._ready = threading.Event()
        servicer = Servicer(
            self.repository,
            allow_model_control=settings.allow_model_control,
            is_ready=self._is_ready,
            counters=own_counters if siblings is None else siblings.counters,
        )
        # Where the native front end listens, the grpcio server stands behind it.
        self._native = _native_front(settings, servicer, self._pool, siblings, access=self._access, log=self._log)
        calls = siblings.calls if siblings is not None and self._native is None else None
        self._infer_pool = HandlerPool(
            _handler_threads(settings, self._pool), "widedeep-infer", settings.max_queue_calls, calls
        )
        if settings.tracing:
            self._tracing = _tracing()
        self._handlers = Handlers(
            servicer,
            self._infer_pool,
            self._pool,
            max_streams=settings.max_streams,
            streams=None if siblings is None else siblings.streams,
            access=self._access,
            log=self._log,
            tracing=self._tracing,
        )
        self._site = Site(Watch(self.repository, self.observation, self._is_ready, origin=origin), settings)
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

    @property
    def metrics_port(self) -> int:
        """Where metrics, health and the status page are served; 0 if they are not, or not by this process."""
        return self._site.port

    def start(self) -> None:
        """Load every model, then listen, then turn ready; one of several workers is turned ready once all listen.

        Health and metrics come first, and tell of what has to be copied from a store before anything can be loaded.

        Raises:
            ConfigurationError: a port is taken, nothing to serve, a provider is missing or meant for no member here.
            BundleError: a bundle is damaged or fails its golden check.
            WidedeepError: what the origin raises.
        """
        check_installation()
        with self._site.opening():
            self._start()

    def _start(self) -> None:
        self._pool.start()
        self._load()
        self._check_providers()
        limit = self._settings.max_message_bytes
        server = grpc.server(
            self._infer_pool,
            interceptors=self._interceptors(),
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                # What grpc-core lets wait before Python hears of it: above its own limit, a thousand, it cancels calls
                # at random (measured under overload), which callers do not retry.
                ("grpc.server.max_pending_requests", _MAX_PENDING),
                ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING),
                # Otherwise a second server would silently share the port with a stale one.
                ("grpc.so_reuseport", int(self._siblings is not None)),
                *_connection_age(self._settings),
            ],
        )
        server.add_generic_rpc_handlers((self._handlers.generic(), self._health.generic()))
        self._end_reflection = add_reflection(server, (SERVICE, HEALTH_SERVICE))
        self.port = self._listen(server)
        self._server = server
        if self._siblings is None:
            self.turn(ready=True)
        if self._poller is not None:
            self._poller.start()

    def turn(self, *, ready: bool) -> None:
        """Tell clients that this server accepts work, or that it will soon accept none."""
        if ready:
            self._ready.set()
        else:
            self._ready.clear()
        self._health.tell()

    def served(self) -> set[tuple[str, int]]:
        """Return the names and versions of the models that are ready."""
        return {(one.name, one.version) for one in self.repository.servables()}

    def summary(self) -> list[str]:
        """Return the lines that tell a person what is served and where."""
        lines = []
        for servable in self.repository.servables():
            members = ", ".join(
                f"{member.spec.name} ({member.provider.removesuffix('ExecutionProvider')})"
                for member in servable.ensemble.members
            )
            lines.append(f"serving {servable.name} version {servable.version}: {members}")
        transport = "gRPC" if self._tls is None else "gRPC over TLS"
        about = f"{transport}, Open Inference Protocol v2, {self._front_end} front end"
        return [*lines, *self._site.summary(), f"listening on {self.address} ({about})"]

    def observation(self) -> Observation:
        """Return what this process has served and refused, and what it is doing."""
        under_way = self._infer_pool.n_under_way if self._native is None else self._native.under_way
        return self._observer.observation(
            calls_under_way=under_way,
            front_end=self._front_end,
            certificates={} if self._tls is None else self._tls.expiries_s(),
        )

    def stop(self) -> None:
        """Turn not ready, wait for that to be seen, refuse new calls, answer those accepted, let go of the models."""
        self.hold()
        self.shut()
        self.leave()

    def hold(self) -> None:
        """Turn not ready, wait for that to be seen, and let calls wait that come from now on."""
        self.turn(ready=False)
        if self._poller is not None:
            self._poller.stop()
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
        if self._guard is not None:
            self._guard.close()
        if self._tracing is not None:
            self._tracing.close()
        self._infer_pool.shutdown(wait=False)
        self._pool.close()
        self._site.stop()

    @property
    def _front_end(self) -> str:
        return "grpcio" if self._native is None else "native"

    def _interceptors(self) -> list[grpc.ServerInterceptor]:
        """Return what calls pass on their way to the handlers, outermost first."""
        found: list[grpc.ServerInterceptor] = []
        if self._guard is not None:
            found.append(self._guard)
        if self._tracing is not None:
            found.append(self._tracing.interceptor)
        return found

    def _listen(self, server: grpc.Server) -> int:
        """Answer calls from now on; returns the port."""

        def serve(address: str) -> int:
            try:
                if self._tls is None:
                    port = server.add_insecure_port(address)
                else:
                    port = server.add_secure_port(address, self._tls.credentials)
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

    def _clock(self) -> Callable[[], float]:
        """Return what times the runs by which a version is planned.

        Beside calls it is the processor time of the thread, which counts no waiting for a core that they have; what
        runs on an accelerator takes none.
        """
        return time.perf_counter if self._server is None or self._settings.providers else time.thread_time

    def _open_servable(self, name: str, version: int, path: Path, waiting: SharedCount | None = None) -> Servable:
        settings = self._settings
        ensemble = Ensemble.load(
            path,
            pool=self._pool,
            providers=settings.providers,
            fallback=settings.provider_fallback,
            cache=self._cache,
            clock=self._clock(),
        )
        _warn_of_fallback(name, ensemble, settings.providers)
        policy = BatchPolicy(
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            max_delay_s=settings.max_queue_delay_us * _US,
        )
        servable = Servable(
            name, version, ensemble, policy, max_request_rows=settings.max_request_rows, waiting=waiting
        )
        self._observer.opened(servable, facts(servable))
        return servable


def _handler_threads(settings: ServeSettings, pool: Pool) -> int:
    """Return how many calls are handled at once.

    A call holds its thread until it is answered, so there must be more than cores. But threads also contend with the
    one in which grpcio takes calls (measured at 120 % load on two cores: 64 of them answered 0.76 of the peak, 16
    answered 0.97, in a third of the time).
    """
    return settings.handler_threads or max(_LEAST_HANDLERS, 4 * pool.n_cores)


def _follow(repository: Repository[Servable]) -> bool:
    """Poll, then give back to the system what models that went have left."""
    before = {(one.name, one.version, one.digest) for one in repository.servables()}
    is_settled = repository.poll()
    if before != {(one.name, one.version, one.digest) for one in repository.servables()}:
        trim_heap()
    return is_settled


def _connection_age(settings: ServeSettings) -> list[tuple[str, int]]:
    """Return the options that have connections renewed; grpcio varies the age by a tenth, lest all go at once."""
    if not settings.max_connection_age_s:
        return []
    return [
        ("grpc.max_connection_age_ms", max(1, round(settings.max_connection_age_s * _MS))),
        ("grpc.max_connection_age_grace_ms", max(1, round(settings.grace_s * _MS))),
    ]


def _only_with_grpcio(settings: ServeSettings) -> str:
    """Return the first setting made that the native front end cannot do, "" if there is none."""
    names = ("max_connection_age_s", "tls_cert", "tracing")
    return next((name for name in names if getattr(settings, name)), "")


def _native_front(
    settings: ServeSettings,
    servicer: Servicer,
    pool: Pool,
    siblings: Siblings | None,
    *,
    access: Access | None,
    log: CallLog,
) -> NativeFront | None:
    """Return the native front end where it is asked for, or none is and it is installed."""
    if settings.front_end == "grpcio":
        return None
    if setting := _only_with_grpcio(settings):
        if settings.front_end == "native":
            raise ConfigurationError(f"front_end 'native' cannot do {setting}: set front_end to 'grpcio' or 'auto'")
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
        access=access,
        log=log,
    )


def _tracing() -> "Tracing":
    """Return what makes spans of calls; only here is OpenTelemetry imported."""
    try:
        from .tracing import Tracing
    except ImportError as error:
        raise ConfigurationError(f"tracing needs OpenTelemetry ({error}): install widedeep[tracing]") from error
    return Tracing()


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
