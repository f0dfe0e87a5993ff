"""What the wheel can do with nothing installed but itself, its dependencies and pytest.

Run by `make wheel-test` with the repository that make_bundle.py has written in the working directory.
"""

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from widedeep.serving.client import Client
from widedeep.serving.contract.bundle import Samples, read_samples

COMMAND = str(Path(sys.executable).with_name("widedeep"))
BUNDLE = Path("repository/iris/1")
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
STOP_S = 60


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)


class Serving:
    """A `widedeep serve` that has said where it listens."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "serve", "repository", "--host", "127.0.0.1", "--port", "0", "--drain-wait-s", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"listening on (\S+)", line):
                self.address = found[1]
                return
        raise AssertionError(f"the server ended with {self.process.wait()} after saying {self.said!r}")


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    server = Serving()
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.fixture(scope="module")
def samples() -> Samples:
    return read_samples(BUNDLE)


@pytest.mark.parametrize(
    "name", ["keras", "lightgbm", "onnx", "pandas", "pyarrow", "scipy", "skl2onnx", "sklearn", "tensorflow", "xgboost"]
)
def test_no_extra_is_installed(name: str) -> None:
    assert importlib.util.find_spec(name) is None


def test_the_installed_package_is_tested_and_not_the_source() -> None:
    import widedeep.serving

    assert "site-packages" in str(widedeep.serving.__file__)


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    for command in ("serve", "inspect", "verify", "demo", "score", "train", "report", "push", "pull"):
        assert re.search(rf"^  {command} +\w+", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "extras"),
    [
        (["demo"], "export,train,batch,test"),
        (["score", str(BUNDLE), "rows", "out"], "batch"),
        (["train", "--data", "rows.csv", "--target", "y", "--output", "out"], "export,train"),
        (["report", str(BUNDLE)], "export,batch"),
    ],
)
def test_a_command_that_needs_extras_names_them(arguments: list[str], extras: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    expected = rf"widedeep {arguments[0]} needs \w+, which is not installed: install widedeep\[{extras}\]\n"
    assert re.fullmatch(expected, done.stderr)


@pytest.mark.parametrize(
    ("url", "needed"),
    [("s3://bucket/1", "fsspec: install widedeep[s3]"), ("oci://host/1", "oras: install widedeep[oci]")],
)
def test_a_url_says_what_reaches_it(url: str, needed: str) -> None:
    for arguments in (["push", str(BUNDLE), url], ["pull", url, "out"], ["serve", url]):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr == f"widedeep {arguments[0]}: {url} needs {needed}\n"


def test_inspect_shows_members_and_weights() -> None:
    done = run("inspect", str(BUNDLE))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("iris: classification, 3 outputs, 2 members\n")
    assert json.loads(run("inspect", "--json", str(BUNDLE)).stdout)["name"] == "iris"


def test_verify_passes_the_bundle_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    done = run("verify", str(BUNDLE))
    assert done.returncode == 0, done.stderr
    assert "all digests match" in done.stdout
    damaged = tmp_path / "damaged"
    shutil.copytree(BUNDLE, damaged)
    with (damaged / "members" / "linear.onnx").open("ab") as file:
        file.write(b"\0")
    done = run("verify", str(damaged))
    assert done.returncode == 1
    assert "linear.onnx has changed" in done.stderr


def test_the_server_says_what_it_serves(serving: Serving) -> None:
    assert "serving iris version 1: linear (CPU), bayes (CPU)" in serving.said


def test_golden_rows_get_their_golden_answer(serving: Serving, samples: Samples) -> None:
    with Client(serving.address, model="iris") as client:
        answer = client.predict(samples.inputs, list(samples.outputs))
    assert answer.outputs.keys() == samples.outputs.keys()
    for name, expected in samples.outputs.items():
        if name == "label":
            assert answer[name].tolist() == expected.tolist()
        else:
            np.testing.assert_allclose(answer[name], expected, atol=1e-6)


def test_columns_by_name_get_the_same_answer(serving: Serving, samples: Samples) -> None:
    rows = samples.inputs["tabular"]
    with Client(serving.address, model="iris") as client:
        answer = client.predict({name: rows[:, i].tolist() for i, name in enumerate(FEATURES)})
    np.testing.assert_allclose(answer.probabilities, samples.outputs["probabilities"], atol=1e-6)
    assert answer.label.tolist() == samples.outputs["label"][:, 0].tolist()


def test_sigterm_ends_it_with_0(serving: Serving) -> None:
    serving.process.send_signal(signal.SIGTERM)
    said, _ = serving.process.communicate(timeout=STOP_S)
    assert serving.process.returncode == 0
    assert said.splitlines()[-1] == "stopped"
