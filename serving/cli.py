"""The command `widedeep`: finds its commands through the entry-point group `widedeep.commands` and runs one.

A command is a function that takes the remaining arguments and returns the exit status; the first line of its docstring
is its help. The entry point of one that needs extras names them. Here are the commands of the base install: serve,
health, token, inspect, verify and tune.
"""

import argparse
import ast
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from .contract.bundle import BUNDLE_FILE, read_bundle, read_samples
from .contract.errors import ConfigurationError, WidedeepError
from .logs import configure
from .report import describe_bundle, describe_tuning
from .settings import CONFIG_VARIABLE, ServeSettings
from .signals import LOOK_S

if TYPE_CHECKING:
    from .online.origin import Origin
    from .online.server import Server
    from .online.workers.supervisor import Supervisor
    from .remote.copy import Served

_LOG = logging.getLogger("widedeep.serving.cli")

COMMANDS_GROUP = "widedeep.commands"
_FAILED = 0
"""Stands among signals, of which none has this number, for a server that cannot go on by itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `widedeep <command> ...` and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {point.name: point for point in entry_points(group=COMMANDS_GROUP)}
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_help(commands))
        return 0
    if arguments[0] == "--version":
        print(f"widedeep {version('widedeep')}")
        return 0
    name, *rest = arguments
    if name not in commands:
        print(f"widedeep: unknown command {name!r}; expected one of {', '.join(commands)}", file=sys.stderr)
        return 2
    command = commands[name]
    try:
        return int(command.load()(rest))
    except (WidedeepError, OSError) as error:
        print(f"widedeep {name}: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if (error.name or "widedeep").partition(".")[0] == "widedeep":
            raise
        hint = f": install widedeep[{','.join(command.extras)}]" if command.extras else ""
        print(f"widedeep {name} needs {error.name}, which is not installed{hint}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"widedeep {name}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 1


def serve(argv: Sequence[str]) -> int:
    """Serve a bundle or a repository over gRPC."""
    parser = argparse.ArgumentParser(
        prog="widedeep serve",
        description=f"{serve.__doc__} Every flag can also be set by an environment variable, WIDEDEEP_<NAME>, or in a "
        "TOML file; flags come first, then variables, then the file.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "path",
        help="a bundle, or a repository of <model>/<version>/ folders, or a URL of one in object storage, such as "
        "s3://bucket/models, which is copied into the cache folder",
    )
    parser.add_argument(
        "--config", type=Path, default=os.environ.get(CONFIG_VARIABLE) or None, help="TOML file of settings"
    )
    ServeSettings.add_flags(parser)
    flags = vars(parser.parse_args(argv))
    path, config = flags.pop("path"), flags.pop("config")
    settings = ServeSettings.load(flags, None if config is None else Path(config))
    configure(settings.log_level, settings.log_format)
    if settings.log_format == "text":
        return _serve(path, settings, partial(print, flush=True))
    try:
        return _serve(path, settings, _LOG.info)
    except (WidedeepError, OSError) as error:
        _LOG.critical("%s", error)
        return 1


def _serve(path: str, settings: ServeSettings, say: Callable[[str], None]) -> int:
    """Serve until a signal comes, and return the exit status; what a person wants to know is said."""
    # Its `put` may interrupt anything, which `Event.set` may not: it could meet its own lock.
    signals: SimpleQueue[int] = SimpleQueue()
    listening = False

    def stop(number: int, _: object) -> None:
        signals.put(number)
        if not listening:
            raise SystemExit(0)  # nothing has been accepted yet

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with _origin(path, settings) as (origin, follow):
        server = _server(origin, settings, failed=lambda: signals.put(_FAILED))
        server.start()
        listening = True
        follow(server.served)
        for line in server.summary():
            say(line)
        why = _first(signals)
        say("draining (Ctrl-C again ends it at once)")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        server.stop()
    say("stopped")
    return int(why == _FAILED)


def _first(signals: SimpleQueue[int]) -> int:
    """Wait for a signal and return its number."""
    while True:
        with suppress(Empty):
            return signals.get(timeout=LOOK_S)


@contextmanager
def _origin(path: str, settings: ServeSettings) -> Iterator[tuple["Path | Origin", Callable[["Served"], None]]]:
    """Give what there is to serve, and what is to be told what is being served."""
    if "://" not in path:
        yield Path(path), lambda _: None
        return
    from .remote.copy import RemoteCopy

    copy = RemoteCopy(path, settings)
    try:
        yield copy, copy.follow
    finally:
        copy.stop()


def _server(origin: "Path | Origin", settings: ServeSettings, failed: Callable[[], None]) -> "Server | Supervisor":
    """Return what serves; imported late: nothing before this starts a thread or opens a session."""
    if settings.workers > 1:
        from .online.workers.supervisor import Supervisor

        return Supervisor(origin, settings, failed=failed)
    from .online.server import Server

    return Server(origin, settings)


def health(argv: Sequence[str]) -> int:
    """Ask a server over gRPC whether it is ready: status 0 if so, else 1."""
    parser = argparse.ArgumentParser(prog="widedeep health", description=health.__doc__)
    default = f"localhost:{ServeSettings.load({}).port}"
    parser.add_argument(
        "address", nargs="?", default=default, help="host and port (default: localhost and WIDEDEEP_PORT, or 8001)"
    )
    parser.add_argument("--timeout-s", type=float, default=2.0, help="seconds to wait for the answer (default: 2)")
    for part, metavar, meaning in (
        ("ca", "FILE", "authorities of the server's certificate, as PEM"),
        ("cert", "FILE", "certificate to show the server, as PEM"),
        ("key", "FILE", "that certificate's private key, as PEM"),
        ("name", "NAME", "name that the server's certificate must have"),
    ):
        variable = f"WIDEDEEP_CLIENT_TLS_{part.upper()}"
        parser.add_argument(
            f"--tls-{part}", metavar=metavar, default=os.environ.get(variable), help=f"{meaning} (default: {variable})"
        )
    arguments = parser.parse_args(argv)
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from .client.security import open_channel, tls_credentials

    named = {"ca": arguments.tls_ca, "cert": arguments.tls_cert, "key": arguments.tls_key}
    files = {part: Path(name) for part, name in named.items() if name}
    credentials = tls_credentials(**files) if files else None
    options = [("grpc.ssl_target_name_override", arguments.tls_name)] if arguments.tls_name else []
    with open_channel(arguments.address, credentials, options) as channel:
        try:
            check = health_pb2_grpc.HealthStub(channel).Check
            status = check(health_pb2.HealthCheckRequest(), timeout=arguments.timeout_s).status
        except grpc.RpcError as error:
            print(f"{arguments.address}: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    print(f"{arguments.address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}")
    return int(status != health_pb2.HealthCheckResponse.SERVING)


def token(argv: Sequence[str]) -> int:
    """Make a bearer token, and the line that admits it for the file of `serve --tokens`."""
    parser = argparse.ArgumentParser(
        prog="widedeep token",
        description=f"{token.__doc__} The token is printed once and kept nowhere; the line holds only its digest.",
    )
    parser.add_argument("name", help="whose token it is, as logs will call its calls")
    parser.add_argument("--admin", action="store_true", help="let it load and unload models")
    parser.add_argument("--append", type=Path, metavar="FILE", help="add the line to this file of tokens")
    arguments = parser.parse_args(argv)
    from .online.tokens import append_line, new_token

    secret, line = new_token(arguments.name, is_admin=arguments.admin)
    if arguments.append is None:
        print(f"line for the file of tokens: {line}", file=sys.stderr)
    else:
        append_line(arguments.append, line)
        print(f"added to {arguments.append}: {line}", file=sys.stderr)
    print(secret)
    return 0


def inspect(argv: Sequence[str]) -> int:
    """Show a bundle's members, weights, certificates and metrics."""
    parser = argparse.ArgumentParser(prog="widedeep inspect", description=inspect.__doc__)
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--json", action="store_true", help="print the description as JSON, digest included")
    arguments = parser.parse_args(argv)
    bundle = read_bundle(arguments.bundle)
    if arguments.json:
        described = json.loads((arguments.bundle / BUNDLE_FILE).read_bytes())
        print(json.dumps({**described, "digest": bundle.digest}, indent=2))
    else:
        print(describe_bundle(bundle))
    return 0


def verify(argv: Sequence[str]) -> int:
    """Check a bundle's digests and that it still answers its golden rows."""
    parser = argparse.ArgumentParser(prog="widedeep verify", description=verify.__doc__)
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    path = (arguments := parser.parse_args(argv)).bundle
    from .engine.ensemble import Ensemble

    ensemble = Ensemble.load(path)
    samples = read_samples(path)
    differences = ensemble.verify(samples)
    n_rows = len(next(iter(samples.inputs.values())))
    if arguments.json:
        print(json.dumps({"digest": ensemble.bundle.digest, "rows": n_rows, "differences": differences}, indent=2))
    else:
        print(f"{path}: all digests match; {n_rows} golden rows answered, largest differences:")
        for name, difference in differences.items():
            print(f"  {name}: {difference:.3g}")
    return 0


def tune(argv: Sequence[str]) -> int:
    """Measure how a bundle, or every bundle of a repository, runs best on this machine, for servers to come."""
    parser = argparse.ArgumentParser(
        prog="widedeep tune",
        description=f"{tune.__doc__} Chunk sizes, graph options and threads are tried for each member; what is found "
        "is kept in the cache folder, from which `widedeep serve` takes it. Run it while the machine is idle.",
    )
    parser.add_argument("path", type=Path, help="a bundle, or a repository of <model>/<version>/ folders")
    ServeSettings.add_flags(parser, only=("cache_dir", "providers", "cores"))
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    flags = vars(parser.parse_args(argv))
    path, as_json = flags.pop("path"), flags.pop("json")
    settings = ServeSettings.load(flags)
    from .engine.cache import Cache
    from .engine.tune import tune as tune_bundle
    from .online.repository import Source

    cache = Cache.open(settings.cache_dir)
    if cache.folder is None:
        raise ConfigurationError("there is no cache folder that can be used (cache_dir), so nothing could be kept")
    results = {}
    for model, versions in Source(path).scan().items():
        for number, bundle in versions.items():
            found = tune_bundle(bundle, cache, providers=settings.providers, n_cores=settings.cores or None)
            results[f"{model}/{number}"] = found
            if not as_json:
                print(describe_tuning(f"{model} version {number}", found))
    if as_json:
        print(json.dumps({name: [asdict(one) for one in found] for name, found in results.items()}, indent=2))
    return 0


def _help(commands: dict[str, EntryPoint]) -> str:
    lines = ["usage: widedeep COMMAND ...", "", "commands:"]
    lines += [f"  {name:<10}{_summary(point)}" for name, point in sorted(commands.items())]
    return "\n".join([*lines, "", "`widedeep COMMAND --help` tells more of each; `widedeep --version` the version."])


def _summary(point: EntryPoint) -> str:
    """Return the first line of a command's docstring from its source: importing it may take long, or need an extra."""
    parents, source = None, ""
    for end in range(1, len(names := point.module.split(".")) + 1):
        found = (finder.find_spec(".".join(names[:end]), parents) for finder in sys.meta_path)
        if (spec := next(filter(None, found), None)) is None:
            return ""
        parents, source = spec.submodule_search_locations, spec.origin or ""
    if not source.endswith(".py"):
        return ""
    for node in ast.parse(Path(source).read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == point.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


if __name__ == "__main__":
    sys.exit(main())
