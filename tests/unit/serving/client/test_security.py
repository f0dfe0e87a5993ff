from pathlib import Path

import pytest
from tls_files import Authority
from widedeep.serving.client.security import Security, from_environment, tls_credentials
from widedeep.serving.contract.errors import ConfigurationError, InvalidInput


def test_a_token_goes_over_plain_channels_only_where_that_is_said() -> None:
    with pytest.raises(InvalidInput, match="plaintext_token=True where the way is safe"):
        Security(None, "secret", ())
    security = Security(None, "secret\n", [("x", "y")], plaintext_token=True)
    assert security.credentials is None
    assert security.metadata == (("x", "y"), ("authorization", "Bearer secret"))


def test_over_tls_a_token_is_part_of_the_credentials(tmp_path: Path) -> None:
    plain = tls_credentials(ca=Authority(tmp_path).path)
    security = Security(plain, "secret", ())
    assert security.credentials not in (None, plain)
    assert security.metadata == ()
    assert Security(plain, "", ()).credentials is plain


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ü"])
def test_what_cannot_stand_in_a_header_is_no_token_and_not_repeated(token: str) -> None:
    with pytest.raises(InvalidInput, match="expected a token of printable ASCII characters") as refused:
        Security(None, token, (), plaintext_token=True)
    assert token not in str(refused.value)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path / 'ca.pem'} cannot be read"):
        tls_credentials(ca=tmp_path / "ca.pem")
    with pytest.raises(ConfigurationError, match="come together"):
        tls_credentials(cert=tmp_path / "cert.pem")


def test_variables_give_what_a_client_is_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment() == {"credentials": None, "token": "", "plaintext_token": False}
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("WIDEDEEP_CLIENT_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("WIDEDEEP_CLIENT_PLAINTEXT_TOKEN", "true")
    found = from_environment()
    assert Security(found["credentials"], found["token"], (), plaintext_token=found["plaintext_token"]).metadata == (
        ("authorization", "Bearer secret"),
    )
    monkeypatch.setenv("WIDEDEEP_CLIENT_TLS_CA", str(Authority(tmp_path).path))
    assert from_environment()["credentials"] is not None
    monkeypatch.setenv("WIDEDEEP_CLIENT_TLS_CA", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="none cannot be read"):
        from_environment()
