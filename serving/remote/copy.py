"""The server's side of a repository or bundle in object storage: a local copy, which another process keeps current.

    <cache_dir>/remote/<hash of the URL>-<number>/   lock, url, and what `mirror` describes

A copy belongs to one server at a time; a second one with the same URL and cache takes the next number. So what one
server serves no more, it may remove.
"""

import fcntl
import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import IO, Any

from ..contract import errors
from ..contract.errors import StorageError
from ..engine.cache import Cache
from ..settings import ServeSettings
from .layout import local_places, split
from .storage import check_url

_LOG = logging.getLogger(__name__)
_RESTART_S = 10.0
"""Between the death of the process that copies and the start of another one."""
_END_S = 5.0

Served = Callable[[], set[tuple[str, int]]]
"""Returns the names and versions of the models that are being served."""


class RemoteCopy:
    """A local copy of what lies at a URL.

    Order of calls: `start`, `follow` once the server has started, `stop`. Owner: the command line. The process that
    copies ends with this one, however that ends.
    """

    def __init__(self, url: str, settings: ServeSettings) -> None:
        """Store what is needed; `start` does the work.

        Args:
            url: of a repository, a model's folder or a bundle.
            settings: of the server: `cache_dir`, `versions` and `poll_interval_s` count here.
        """
        self._url = url
        self._settings = settings
        self._is_stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._follower: threading.Thread | None = None
        self._wanted: Mapping[str, Sequence[int]] = {}
        self._path = Path()
        self._temporary: Path | None = None

    def start(self) -> Path:
        """Copy, and return the folder to serve. Starts no thread in this process.

        Raises:
            NotFound: there is no bundle at the URL.
            StorageError: the store cannot be reached, or refuses, and there is no earlier copy.
            BundleError: a bundle there is damaged, and there is no earlier version of it.
            ConfigurationError: the URL holds a password, or the library for it is missing.
        """
        check_url(self._url)
        self._home, self._lock = self._take_home()
        self._process = self._launch()
        for message in self._messages():
            if "failed" in message:
                kind = getattr(errors, str(message["failed"]), StorageError)
                raise kind(message["text"])
            if self._heed(message):
                return self._path
        raise StorageError(f"the process that copies {self._url} has died")

    def follow(self, served: Served) -> None:
        """Keep the copy current while the server runs, where the settings say so, and remove what is served no more."""
        self._remove_superseded(served)
        if not self._settings.poll_interval_s:
            self._end()  # it has done its work
        else:
            self._follower = threading.Thread(target=self._follow, args=(served,), name="widedeep-copy", daemon=True)
            self._follower.start()

    def stop(self) -> None:
        """End the process that copies; the copy stays, in the cache, for servers to come."""
        self._is_stopping.set()
        self._end()
        if self._follower is not None:
            self._follower.join()
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
        return subprocess.Popen(  # noqa: S603 - this program itself
            [
                *(sys.executable, "-m", "widedeep.serving.remote.mirror", self._url, str(self._home)),
                *("--versions", str(settings.versions), "--interval-s", str(settings.poll_interval_s)),
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
            yield json.loads(line)

    def _heed(self, message: Mapping[str, Any]) -> bool:
        """Return whether a message tells of what there is to serve."""
        if "say" in message:
            _LOG.log(logging.getLevelNamesMapping()[message["say"].upper()], "%s", message["text"])
        if "current" not in message:
            return False
        self._path, self._wanted = Path(message["current"]), message["wanted"]
        return True

    def _follow(self, served: Served) -> None:
        while not self._is_stopping.is_set():
            for message in self._messages():
                if "failed" in message:
                    _LOG.warning("%s", message["text"])
                elif self._heed(message):
                    self._remove_superseded(served)
            if not self._is_stopping.wait(_RESTART_S):
                _LOG.warning("the process that copies %s has ended; starting another one", self._url)
                self._end()
                self._process = self._launch()
                if self._is_stopping.is_set():  # meanwhile: `stop` may have ended the one before
                    self._end()

    def _remove_superseded(self, served: Served) -> None:
        """Remove versions older than those wanted, once those are served and these are not."""
        being_served = served()
        for place in local_places(self._home / "models"):
            model, version = split(place)
            wanted = self._wanted.get(model, ())
            is_settled = bool(wanted) and being_served.issuperset((model, one) for one in wanted)
            if is_settled and version < min(wanted) and (model, version) not in being_served:
                _LOG.info("removed the local copy of %s, which is served no more", place)
                shutil.rmtree(self._home / "models" / place, ignore_errors=True)
