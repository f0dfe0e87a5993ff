import argparse
from pathlib import Path
from typing import Any

import pytest
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.settings import ServeSettings

# setting -> the value, how a flag or variable spells it, how TOML spells it
SETTINGS: dict[str, tuple[Any, str, str]] = {
    "host": ("127.0.0.1", "127.0.0.1", '"127.0.0.1"'),
    "port": (9000, "9000", "9000"),
    "name": ("pets", "pets", '"pets"'),
    "max_batch_rows": (8, "8", "8"),
    "max_queue_delay_us": (500, "500", "500"),
    "max_queue_rows": (99, "99", "99"),
    "max_queue_calls": (7, "7", "7"),
    "max_request_rows": (1000, "1000", "1_000"),
    "max_message_bytes": (4096, "4096", "4096"),
    "handler_threads": (3, "3", "3"),
    "versions": (2, "2", "2"),
    "max_streams": (5, "5", "5"),
    "workers": (2, "2", "2"),
    "cores": (1, "1", "1"),
    "providers": (
        {"deep": ("CUDAExecutionProvider", "CPUExecutionProvider"), "": ("CPUExecutionProvider",)},
        "deep=CUDAExecutionProvider,CPUExecutionProvider;CPUExecutionProvider",
        '{ deep = ["CUDAExecutionProvider", "CPUExecutionProvider"], "" = "CPUExecutionProvider" }',
    ),
    "provider_fallback": (True, "true", "true"),
    "allow_model_control": (True, "true", "true"),
    "drain_wait_s": (0.5, "0.5", "0.5"),
    "grace_s": (2.0, "2", "2"),
    "front_end": ("grpcio", "grpcio", '"grpcio"'),
    "cache_dir": ("/var/cache/widedeep", "/var/cache/widedeep", '"/var/cache/widedeep"'),
    "tls_cert": ("server.pem", "server.pem", '"server.pem"'),
    "tls_key": ("server.key", "server.key", '"server.key"'),
    "tls_client_ca": ("ca.pem", "ca.pem", '"ca.pem"'),
    "tokens": ("tokens", "tokens", '"tokens"'),
    "max_connection_age_s": (60.0, "60", "60"),
    "metrics": (False, "false", "false"),
    "metrics_host": ("127.0.0.1", "127.0.0.1", '"127.0.0.1"'),
    "metrics_port": (9002, "9002", "9002"),
    "poll_interval_s": (1.5, "1.5", "1.5"),
    "log_level": ("warning", "warning", '"warning"'),
    "log_format": ("json", "json", '"json"'),
    "log_calls": (True, "true", "true"),
    "tracing": (True, "true", "true"),
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(f"WIDEDEEP_{name.upper()}", raising=False)


def parsed(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    ServeSettings.add_flags(parser)
    return vars(parser.parse_args(arguments))


def toml(folder: Path, text: str) -> Path:
    (folder / "widedeep.toml").write_text(text)
    return folder / "widedeep.toml"


def test_every_setting_is_tested_here() -> None:
    assert SETTINGS.keys() == ServeSettings.model_fields.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_can_be_a_flag_a_variable_or_a_key_of_the_file(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    value, text, in_toml = SETTINGS[name]
    default = getattr(ServeSettings.load({}), name)
    assert default != value
    flag = name.replace("_", "-")
    flags = parsed(f"--{flag}" if value else f"--no-{flag}") if isinstance(value, bool) else parsed(f"--{flag}", text)
    assert getattr(ServeSettings.load(flags), name) == value
    assert getattr(ServeSettings.load({}, toml(tmp_path, f"{name} = {in_toml}")), name) == value
    monkeypatch.setenv(f"WIDEDEEP_{name.upper()}", text)
    assert getattr(ServeSettings.load({}), name) == value


def test_flags_come_before_variables_before_the_file_before_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = toml(tmp_path, "port = 1\nversions = 1\ncores = 1\n")
    monkeypatch.setenv("WIDEDEEP_PORT", "2")
    monkeypatch.setenv("WIDEDEEP_VERSIONS", "2")
    settings = ServeSettings.load(parsed("--port", "3"), file)
    assert (settings.port, settings.versions, settings.cores, settings.max_streams) == (3, 2, 1, 64)


def test_a_switch_can_be_turned_off_by_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDEDEEP_ALLOW_MODEL_CONTROL", "true")
    assert ServeSettings.load({}).allow_model_control
    assert not ServeSettings.load(parsed("--no-allow-model-control")).allow_model_control


@pytest.mark.parametrize(
    ("setting", "text", "message"),
    [
        ("port", "70000", "setting port: .* 65535, got '70000'"),
        ("port", "-1", "setting port: .* 0, got '-1'"),
        ("port", "http", "setting port: .* integer.*, got 'http'"),
        ("max_batch_rows", "0", "setting max_batch_rows: .* 1, got '0'"),
        ("max_message_bytes", str(1 << 31), "setting max_message_bytes"),
        ("max_request_rows", str(1 << 31), "setting max_request_rows"),
        ("grace_s", "inf", "setting grace_s: .* finite"),
        ("grace_s", "1e300", "setting grace_s: .* 3600"),
        ("drain_wait_s", "1e300", "setting drain_wait_s: .* 3600"),
        ("max_queue_delay_us", str(10**19), "setting max_queue_delay_us: .* 3600000000"),
        ("front_end", "aio", "setting front_end: .*'auto', 'grpcio' or 'native', got 'aio'"),
        ("log_level", "loud", "setting log_level: .*'debug', 'info', 'warning' or 'error', got 'loud'"),
        ("name", "a/b", "setting name: .*got 'a/b'"),
        ("provider_fallback", "perhaps", "setting provider_fallback"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_settings_name(
    setting: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ServeSettings.load({setting: text})
    monkeypatch.setenv(f"WIDEDEEP_{setting.upper()}", text)
    with pytest.raises(ConfigurationError, match=message):
        ServeSettings.load({})


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"setting port: .*; setting cores: "):
        ServeSettings.load({"port": -1, "cores": "many"})


def test_an_unknown_key_of_the_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"setting prot: .* not permitted"):
        ServeSettings.load({}, toml(tmp_path, "prot = 1"))


@pytest.mark.parametrize("text", ["port =", "\x00", "port = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"configuration file .*widedeep\.toml cannot be read: "):
        ServeSettings.load({}, toml(tmp_path, text))


def test_a_file_that_is_not_text_is_refused_by_name(tmp_path: Path) -> None:
    toml(tmp_path, "").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"configuration file .*widedeep\.toml cannot be read: "):
        ServeSettings.load({}, tmp_path / "widedeep.toml")


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"configuration file .*nowhere\.toml does not exist"):
        ServeSettings.load({}, tmp_path / "nowhere.toml")


def test_variables_that_are_empty_or_name_no_setting_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDEDEEP_PORT", "")
    monkeypatch.setenv("WIDEDEEP_SERVICE_HOST", "10.0.0.7")
    assert ServeSettings.load({}).model_dump() == ServeSettings().model_dump()
    assert ServeSettings().port == 8001


def test_the_link_that_kubernetes_makes_for_a_service_is_no_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WIDEDEEP_PORT", "tcp://10.0.0.7:8001")
    assert ServeSettings.load({}, toml(tmp_path, "port = 9000")).port == 9000


def test_the_cache_lies_where_the_desktops_rule_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert ServeSettings.load({}).cache_dir == str(tmp_path / ".cache" / "widedeep")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert ServeSettings.load({}).cache_dir == str(tmp_path / ".cache" / "widedeep")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert ServeSettings.load({}).cache_dir == str(tmp_path / "xdg" / "widedeep")


def test_there_may_be_no_cache() -> None:
    assert ServeSettings.load(parsed("--cache-dir", "")).cache_dir == ""


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ServeSettings().port = 1


def test_help_tells_every_flag_with_its_default() -> None:
    parser = argparse.ArgumentParser()
    ServeSettings.add_flags(parser)
    text = " ".join(parser.format_help().split())
    for name in SETTINGS:
        assert "--" + name.replace("_", "-") in text
    assert "port to listen on; 0 picks a free one (default: 8001)" in text
