import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest
from widedeep.serving import cli
from widedeep.serving.online.server import Server


def command(monkeypatch: pytest.MonkeyPatch, value: str, name: str = "extra") -> None:
    """Let one more command be installed."""
    point = EntryPoint(name, value, cli.COMMANDS_GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: {cli.COMMANDS_GROUP: [point]}[group])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_with_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    for line in (
        "serve     Serve a bundle or a repository over gRPC.",
        "inspect   Show",
        "verify    Check",
        "demo      Train",
    ):
        assert line in out


def test_help_imports_no_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; from widedeep.serving.cli import main; main(['--help']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "demo      Train" in out
    assert not {"widedeep.export", "onnxruntime", "grpc", "scipy"} & set(out.split())


@pytest.mark.parametrize("value", ["nowhere.to.be:found", "json:nothing", "widedeep.serving.cli:nothing", "sys:exit"])
def test_a_command_without_a_source_is_listed_without_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    command(monkeypatch, value)
    assert cli.main(["--help"]) == 0
    assert "  extra" in capsys.readouterr().out


def test_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"widedeep {version('widedeep')}\n"


def test_an_unknown_command_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sevre"]) == 2
    err = capsys.readouterr().err
    assert "unknown command 'sevre'" in err
    assert "serve" in err


def test_a_library_that_is_missing_is_told_with_the_extras_that_bring_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, "a_library_not_installed.cli:run [export,train]")
    assert cli.main(["extra"]) == 1
    assert capsys.readouterr().err == (
        "widedeep extra needs a_library_not_installed, which is not installed: install widedeep[export,train]\n"
    )


def test_a_module_of_our_own_that_is_missing_is_a_bug_and_not_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, "widedeep.serving.nothing:run")
    with pytest.raises(ModuleNotFoundError):
        cli.main(["extra"])


def test_inspect_shows_the_bundle(bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(bundle_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("animals: classification, 3 outputs, 2 members\n")
    assert "Parity with the trained models" in out


def test_inspect_as_json_is_the_description_with_its_digest(
    bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", "--json", str(bundle_path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    digest = shown.pop("digest")
    assert len(digest) == 64
    assert shown == json.loads((bundle_path / "bundle.json").read_text())


@pytest.mark.parametrize("name", ["inspect", "verify"])
def test_a_changed_file_is_named_and_the_status_is_1(
    name: str, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle_path, copy)
    with (copy / "members" / "deep.onnx").open("ab") as file:
        file.write(b"\0")
    assert cli.main([name, str(copy)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"widedeep {name}: {copy / 'members/deep.onnx'} has changed: expected SHA-256 ")


@pytest.mark.parametrize("name", ["inspect", "verify"])
def test_a_folder_that_is_no_bundle_is_told_so(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"widedeep {name}: {tmp_path} is not a bundle: it has no bundle.json\n"


def test_a_file_that_cannot_be_read_ends_without_a_traceback(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert cli.main(["inspect", str(bundle_path)]) == 1
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder; expected a repository or a bundle"),
        ([".", "--port", "70000"], "setting port: "),
        ([".", "--config", "nowhere.toml"], "configuration file nowhere.toml does not exist"),
    ],
)
def test_serve_says_what_is_wrong_before_it_listens(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_an_empty_variable_names_no_configuration_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WIDEDEEP_CONFIG", "")
    assert cli.main(["serve", "nowhere"]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err


def test_serve_refuses_an_abbreviated_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", ".", "--vers", "2"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --vers" in capsys.readouterr().err


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    """Put back what `serve` sets."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signal_handlers")
def test_a_signal_before_the_server_listens_ends_it_at_once_with_0(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(server: Server) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(20)
        raise AssertionError("the signal was not seen")

    monkeypatch.setattr(Server, "start", start)
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", str(bundle_path)])
    assert caught.value.code == 0
