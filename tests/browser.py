"""A headless Chromium, driven over the pipe of its DevTools protocol, which needs no library."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
_READ, _WRITE = 3, 4
"""The descriptors at which Chromium looks for the pipe."""


class Browser:
    """One browser, with a profile of its own. `close` last."""

    def __init__(self, profile: Path, flags: Sequence[str] = ()) -> None:
        theirs_read, self._write = os.pipe()
        self._read, theirs_write = os.pipe()

        def place() -> None:
            high = [os.dup2(fd, 100 + i) for i, fd in enumerate((theirs_read, theirs_write))]
            os.dup2(high[0], _READ)
            os.dup2(high[1], _WRITE)

        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", *flags, "about:blank"],
            preexec_fn=place,  # noqa: PLW1509 - descriptors of fixed numbers are to be had in no other way
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_read)
        os.close(theirs_write)
        self._rest = b""
        self._n_sent = 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; what comes meanwhile is kept in `events`."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._n_sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str, *, width: int, dark: bool = False, script: bool = True) -> "Page":
        """Open a page in a window of its own."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = str(self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable", session)
        self.send("Emulation.setFocusEmulationEnabled", session, enabled=True)
        self.send("Emulation.setScriptExecutionDisabled", session, value=not script)
        self.send(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=844,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", session, features=[scheme])
        self.send("Page.navigate", session, url=url)
        return Page(self, session)

    def close(self) -> None:
        os.close(self._write)
        self._process.kill()
        self._process.wait()
        os.close(self._read)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has gone"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        read: dict[str, Any] = json.loads(message)
        return read


class Page:
    """One page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def value(self, expression: str) -> Any:
        """Return what an expression, or the promise that it is, comes to in the page."""
        result = self._browser.send(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self) -> str:
        return str(self.value("document.body ? document.body.innerText : ''"))

    def overflows(self) -> bool:
        """Return whether there is more than fits the width of the window."""
        return bool(self.value("document.documentElement.scrollWidth > window.innerWidth"))

    def requests(self) -> set[str]:
        """Return the URLs of all that it has asked for."""
        return {str(parameters["request"]["url"]) for parameters in self._told("Network.requestWillBeSent")}

    def complaints(self) -> list[Any]:
        """Return what its console has said of errors."""
        return self._told("Log.entryAdded", "Runtime.exceptionThrown")

    def screenshot(self) -> bytes:
        """Return the whole page as PNG."""
        shot = self._browser.send("Page.captureScreenshot", self._session, captureBeyondViewport=True, format="png")
        return base64.b64decode(shot["data"])

    def _told(self, *methods: str) -> list[Any]:
        return [
            event["params"]
            for event in self._browser.events
            if event.get("method") in methods and event.get("sessionId") == self._session
        ]
