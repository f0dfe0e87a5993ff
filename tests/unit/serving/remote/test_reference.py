"""What `oci://` URLs name."""

import pytest
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.remote.reference import Reference

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("oci://ghcr.test/acme/models/digits:1", ("ghcr.test", "acme/models/digits", "1")),
        ("oci://registry:5000/digits", ("registry:5000", "digits", "")),
        (f"oci://[::1]:5000/a_b/c__d-e.f@{DIGEST}", ("[::1]:5000", "a_b/c__d-e.f", DIGEST)),
    ],
)
def test_a_url_names_a_registry_a_repository_and_a_tag(url: str, parts: tuple[str, str, str]) -> None:
    reference = Reference.parse(url)
    assert (reference.host, reference.repository, reference.tag) == parts
    assert str(reference) == url


@pytest.mark.parametrize(
    "url",
    [
        "oci://registry",
        "oci:///digits:1",
        "oci://registry/Digits:1",
        "oci://registry/digits:",
        "oci://registry/digits:a/b",
        "oci://registry/../digits:1",
        "oci://registry/digits//x:1",
        "oci://registry/digits:1?x=y",
        f"oci://registry/digits:1@{DIGEST}",
        "oci://registry/digits@sha256:0",
    ],
)
def test_what_is_no_such_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected oci://"):
        Reference.parse(url)


@pytest.mark.parametrize("mark", [":1", f"@{DIGEST}"])
def test_a_password_in_a_url_is_refused_and_not_told(mark: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^oci://\.\.\.@registry/digits{mark}: expected"):
        Reference.parse(f"oci://user:hushed@registry/digits{mark}")


def test_tls_is_left_out_on_this_machine_and_where_a_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WIDEDEEP_OCI_PLAIN_HTTP", raising=False)
    plain = {
        host: Reference(host, "digits").is_plain
        for host in (
            "localhost:5000",
            "127.0.0.1",
            "[::1]:5000",
            "localhost.test",
            "127.0.0.1.test:80",
            "registry:5000",
        )
    }
    assert [host for host, is_plain in plain.items() if is_plain] == ["localhost:5000", "127.0.0.1", "[::1]:5000"]
    monkeypatch.setenv("WIDEDEEP_OCI_PLAIN_HTTP", "other, registry:5000")
    assert Reference("registry:5000", "digits").is_plain
    assert not Reference("registry:5001", "digits").is_plain
