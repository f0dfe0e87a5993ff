"""The server's side of a local copy."""

import logging
import sys
from pathlib import Path

import pytest
from small_bundle import make_bundle
from waiting import wait_for
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.remote import copy as copy_module
from widedeep.serving.remote.copy import RemoteCopy
from widedeep.serving.settings import ServeSettings


@pytest.mark.parametrize("scheme", ["s3", "oci", "https"])
def test_a_url_with_a_password_is_refused_and_written_nowhere(scheme: str, tmp_path: Path) -> None:
    settings = ServeSettings(cache_dir=str(tmp_path))
    with pytest.raises(ConfigurationError, match="a URL may hold no password") as raised:
        RemoteCopy(f"{scheme}://user:hushed@host/models", settings)
    assert "hushed" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_what_is_shown_of_a_url_has_no_signature(tmp_path: Path) -> None:
    copy = RemoteCopy("https://host/models?sig=hushed", ServeSettings(cache_dir=str(tmp_path)))
    assert copy.state().url == "https://host/models"


def test_a_malformed_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="malformed URL: Invalid IPv6 URL"):
        RemoteCopy("https://[host/models", ServeSettings(cache_dir=str(tmp_path)))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # they go with the process
def test_a_process_that_copies_and_cannot_be_started_anew_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setattr(copy_module, "_RESTART_S", 0.05)
    make_bundle(tmp_path / "models" / "animals" / "1")
    settings = ServeSettings(cache_dir=str(tmp_path / "cache"), poll_interval_s=0.1)
    copy = RemoteCopy(f"file://{tmp_path}/models", settings)
    try:
        copy.start()
        with monkeypatch.context() as context, caplog.at_level(logging.WARNING):
            context.setattr(sys, "executable", str(tmp_path / "nothing"))
            assert copy._process is not None
            copy._process.kill()
            wait_for(lambda: caplog.text.count("it cannot be started") > 1, "attempts")
            assert copy.state().is_up is False
        wait_for(lambda: copy.state().is_up, "the process that copies")
    finally:
        copy.stop()
