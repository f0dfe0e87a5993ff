"""The server's side of a local copy."""

from pathlib import Path

import pytest
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.remote.copy import RemoteCopy
from widedeep.serving.settings import ServeSettings


@pytest.mark.parametrize("scheme", ["s3", "oci", "https"])
def test_a_url_with_a_password_is_refused_and_written_nowhere(scheme: str, tmp_path: Path) -> None:
    copy = RemoteCopy(f"{scheme}://user:hushed@host/models", ServeSettings(cache_dir=str(tmp_path)))
    with pytest.raises(ConfigurationError, match="a URL may hold no password") as raised:
        copy.start()
    copy.stop()
    assert "hushed" not in str(raised.value)
    assert not list(tmp_path.iterdir())
