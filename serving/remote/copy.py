"""The server's side of a repository or bundle in object storage: a local copy, which another process keeps current.

    <cache_dir>/remote/<hash of the URL>-<number>/   lock, url, and what `mirror` describes

A copy belongs to one server at a time; a second one with the same URL and cache takes the next number. So what one
server serves no more, it may remove.
"""

import fcntl
import hashlib
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import IO, Any

from ..contract import errors
from ..contract.errors import StorageError
from ..engine.cache import Cache
from ..settings import ServeSettings
from ..signals import LOOK_S, blocked
from .layout import local_places, split
from .storage import check_url

_LOG = logging.getLogger(__name__)
_RESTART_S = 10.0
"""Between the death of the process that copies and the start of another one."""
_END_S = 5.0
_QUERY = re.compile(r"(://[^\s?\"']*)\?[^\s\"']*")
"""Of a URL: it may be signed, and what is shown is shown to everybody."""

Served = Callable[[], set[tuple[str, int]]]
"""Returns the names and versions of the models that are being served."""


@dataclass(frozen=True, slots=True)
class State:
    """A store at one moment.

    Attributes:
        url: where it is, without what may be secret.
        is_copying: whether the first copy is still under way.
        is_up: whether the last look at it succeeded; None before the first one has ended.
        trouble: why the last look did not succeed; "" where it did.
        seen_s: when a look has last succeeded, in seconds since the epoch; 0 where none has.
        left_out: model and version that it has, but that could not be brought -> why.
    """

    url: str
    is_copying: bool = True
    is_up: bool | None = None
    trouble: str = ""
    seen_s: float = 0.0
    left_out: Mapping[tuple[str, int], str] = field(default_factory=dict)


class RemoteCopy:
    """A local copy of what lies at a URL.

    Order of calls: `start`, `follow` once the server has started, `stop`; `state` from any thread, at any time. Owner:
    the command line. The process that copies ends with this one, however that ends.
    """

    def __init__(self, url: str, settings: ServeSettings) -> None:
        """Store what is needed; `start` does the work.

        Args:
            url: of a repository, a model's folder or a bundle.
            settings: of the server: `cache_dir`, `versions`, `poll_interval_s` and `name` count here.

        Raises:
            ConfigurationError: the URL holds a password.
        """
        check_url(url)
        self._url = url
        self._settings = settings
        self._is_stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, name="widedeep-copy", daemon=True)
        self._first: Future[Path] = Future()
        self._state = State(_QUERY.sub(r"\1", url))
        self._wanted: Mapping[str, Sequence[int]] = {}
        self._served: Served | None = None
        self._removing = threading.Lock()
        self._temporary: Path | None = None

    def start(self) -> Path:
        """Copy, and return the folder to serve.

        Raises:
            NotFound: there is no bundle at the URL.
            StorageError: the store cannot be reached, or refuses, and there is no earlier copy.
            BundleError: a bundle there is damaged, and there is no earlier version of it.
            ConfigurationError: the library for the URL is missing.
        """
        self._home, self._lock = self._take_home()
        self._process = self._launch()
        self._reader.start()
        while not self._first.done():
            wait((self._first,), LOOK_S)
        return self._first.result()

    def follow(self, served: Served) -> None:
        """Remove what is served no more, now and whenever the copy has changed."""
        self._served = served
        self._remove_superseded()

    def state(self) -> State:
        """Return what there is to see of the store now."""
        return self._state

    def stop(self) -> None:
        """End the process that copies; the copy stays, in the cache, for servers to come."""
        self._is_stopping.set()
        self._end()
        if self._reader.is_alive():
            self._reader.join()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _take_home(self) -> tuple[Path, IO[str]]:
        """Return the folder of the copy, and the lock on it, which lasts as long as this process."""
        cache = Cache.open(self._settings.cache_dir).folder
        if cache is None:
            cache = self._temporary = Path(tempfile.mkdtemp(prefix="widedeep-"))
        name = hashlib.sha256(self._url.encode()).hexdigest()[:16]
        for number in count():
            home = cache / "remote" / f"{name}-{number}"
            home.mkdir(parents=True, exist_ok=True)
            lock = (home / "lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            (home / "url").write_text(self._url + "\n")
            return home, lock
        raise AssertionError

    def _launch(self) -> subprocess.Popen[str]:
        settings = self._settings
        with blocked(signal.SIGINT):  # Ctrl-C reaches the whole group, and waits until this can ignore it
            return subprocess.Popen(  # noqa: S603 - this program itself
                [
                    *(sys.executable, "-m", "widedeep.serving.remote.mirror", self._url, str(self._home)),
                    *("--versions", str(settings.versions), "--interval-s", str(settings.poll_interval_s)),
                    *(("--is-served",) if self._first.done() else ()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def _end(self) -> None:
        """End the process that copies, if it was started, and take note of its end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _messages(self) -> Iterator[Mapping[str, Any]]:
        """Return what the process tells, until it ends."""
        if self._process is None or self._process.stdout is None:
            return
        for line in self._process.stdout:
            if line.endswith("\n"):  # one that is killed may leave half a line
                yield json.loads(line)

    def _read(self) -> None:
        """Heed what the process tells; nobody waits for it in vain."""
        try:
            self._follow()
        except Exception as error:
            if self._first.done():
                raise
            self._first.set_exception(error)

    def _follow(self) -> None:
        """Heed what the process tells, and start another one when it dies, as long as there is something to follow."""
        while True:
            for message in self._messages():
                self._heed(message)
            if not self._first.done():
                self._first.set_exception(StorageError(f"the process that copies {self._url} has died"))
            if not self._settings.poll_interval_s or self._first.exception() is not None:
                self._end()  # it has done its work
                return
            if self._is_stopping.is_set():
                return
            self._state = replace(self._state, is_up=False, trouble="the process that copies has ended")
            if self._is_stopping.wait(_RESTART_S):
                return
            _LOG.warning("the process that copies %s has ended; starting another one", self._url)
            self._end()
            try:
                self._process = self._launch()
            except OSError as error:  # what has killed the one before, a lack of memory say, may last
                _LOG.error("it cannot be started: %s", error)
            if self._is_stopping.is_set():  # meanwhile: `stop` may have ended the one before
                self._end()

    def _heed(self, message: Mapping[str, Any]) -> None:
        """Take note of a message; `mirror` says what there are."""
        if "say" in message:
            _LOG.log(logging.getLevelNamesMapping()[message["say"].upper()], "%s", message["text"])
        if "failed" in message:
            self._fail(str(message["failed"]), message["text"])
        if "lost" in message:
            self._state = replace(self._state, is_up=False, trouble=self._shown(message["lost"]))
        if "left_out" in message:
            left_out = {self._key(place): self._shown(why) for place, why in message["left_out"].items()}
            self._state = replace(self._state, is_up=True, trouble="", seen_s=time.time(), left_out=left_out)
        if "current" in message:
            self._wanted = message["wanted"]
            self._state = replace(self._state, is_copying=False)
            if not self._first.done():
                self._first.set_result(Path(message["current"]))
            self._remove_superseded()

    def _fail(self, kind: str, text: str) -> None:
        """Take note that there is nothing to serve, or that what is served cannot be followed."""
        if self._first.done():
            _LOG.warning("%s", text)
        else:
            self._first.set_exception(getattr(errors, kind, StorageError)(text))

    def _shown(self, text: str) -> str:
        """Return a text of the log as everybody may read it."""
        return _QUERY.sub(r"\1", text).replace(f"{self._home}/", "")

    def _key(self, place: str) -> tuple[str, int]:
        """Return the model under the name that it is served by, and the version."""
        model, version = split(place)
        return self._settings.name or model, version

    def _remove_superseded(self) -> None:
        """Remove versions older than those wanted, once those are served and these are not."""
        if self._served is None:
            return
        with self._removing:
            being_served = self._served()
            for place in local_places(self._home / "models"):
                model, version = split(place)
                wanted = self._wanted.get(model, ())
                is_settled = bool(wanted) and being_served.issuperset((model, one) for one in wanted)
                if is_settled and version < min(wanted) and (model, version) not in being_served:
                    _LOG.info("removed the local copy of %s, which is served no more", place)
                    shutil.rmtree(self._home / "models" / place, ignore_errors=True)
