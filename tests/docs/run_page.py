"""Runs the steps of one page: read as JSON from standard input, outcomes written as JSON lines to standard output.

    unshare --net python run_page.py < steps.json

A step is `{"language": "bash" | "python", "code": ...}`. Shell steps share one bash, Python steps one interpreter;
both are children of this process and in its network, so ports that other processes use do not matter. Ends at the
first step that fails; ends whatever a page left running, such as a server.
"""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import IO, Any

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_END = "-- end of step"

_PYTHON = f"""
import json, sys, traceback
space = {{"__name__": "__main__"}}
for line in sys.stdin:
    status = 0
    try:
        exec(compile(json.loads(line), "<page>", "exec"), space)
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    print(f"\\n{_END} {{status}}", flush=True)
"""


def loopback_up() -> None:
    """Turn the loopback device on, which a new network namespace has but leaves off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


class Session:
    """One bash or Python that takes step after step."""

    def __init__(self, language: str) -> None:
        command = ["bash", "--noprofile", "--norc"] if language == "bash" else [sys.executable, "-u", "-c", _PYTHON]
        self._language = language
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        if language == "bash":
            # The mark on the way out: a server in the background may hold this pipe open for longer.
            self._write(f"set -e\ntrap 'printf \"\\n{_END} %s\\n\" $?' EXIT\n")

    def run(self, code: str) -> tuple[int, str]:
        """Return a step's status and what it, and what runs in the background, has printed."""
        if self._language == "bash":
            # Commands must not read what stands on bash's own input, the steps to come.
            self._write(f"{{\n{code}\n}} </dev/null\nprintf '\\n{_END} %s\\n' $?\n")
        else:
            self._write(json.dumps(code) + "\n")
        output: IO[str] = self._process.stdout  # type: ignore[assignment]  # a pipe was asked for
        lines = []
        for line in output:
            if line.startswith(_END):
                return int(line.removeprefix(_END)), "".join(lines)
            lines.append(line)
        return self._process.wait() or 1, "".join(lines)

    def _write(self, text: str) -> None:
        self._process.stdin.write(text)  # type: ignore[union-attr]  # a pipe was asked for
        self._process.stdin.flush()  # type: ignore[union-attr]


def run(steps: list[dict[str, Any]]) -> None:
    """Run the steps and print what became of each."""
    sessions: dict[str, Session] = {}
    for step in steps:
        started = time.monotonic()
        session = sessions.setdefault(step["language"], None) or Session(step["language"])
        sessions[step["language"]] = session
        status, output = session.run(step["code"])
        seconds = time.monotonic() - started
        print(json.dumps({"status": status, "output": output, "seconds": round(seconds, 2)}), flush=True)  # noqa: T201 - the answer
        if status:
            return


if __name__ == "__main__":
    loopback_up()
    os.setpgid(0, 0)
    try:
        run(json.load(sys.stdin))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        time.sleep(0.5)
        os.killpg(0, signal.SIGKILL)
