"""Real `widedeep serve` processes of what lies at a URL, with what they log kept apart."""

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from small_bundle import rows
from widedeep.serving.client import Client


class Serving:
    """A server of the model `animals` that was started from the command line; it may not listen yet."""

    def __init__(self, url: str, cache: Path, *flags: str, variables: Mapping[str, str] | None = None) -> None:
        usual = ("--host", "127.0.0.1", "--port", "0", "--drain-wait-s", "0", "--cache-dir", str(cache))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "widedeep.serving.cli", "serve", url, *usual, *flags],
            env={**os.environ, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @cached_property
    def address(self) -> str:
        """Where it listens; waits until it does."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("listening on "):
                return line.split()[2]
        raise AssertionError(self.process.communicate()[1])

    def answer(self) -> tuple[str, list[list[float]]]:
        """Return the version that answers a call, and its answer."""
        with Client(self.address, model="animals") as client:
            answer = client.predict(rows(3))
            assert answer.probabilities.shape == (3, 3)
            return answer.version, answer.probabilities.tolist()

    def answers(self) -> str:
        """Return the version that answers a call."""
        return self.answer()[0]

    def stop(self) -> str:
        """Have it end; returns what it has logged."""
        self.process.terminate()
        _, err = self.process.communicate(timeout=40)
        assert self.process.returncode == 0, err
        return err
