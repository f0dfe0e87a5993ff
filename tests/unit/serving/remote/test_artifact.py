"""What a manifest must say to be a bundle's."""

import json
from typing import Any

import pytest
from widedeep.serving.contract.errors import BundleError
from widedeep.serving.remote.artifact import _layers

DIGEST = "sha256:" + "0" * 64


def manifest(**changes: Any) -> Any:
    return {"schemaVersion": 2, "artifactType": "application/vnd.widedeep.bundle.v1", "layers": [layer()], **changes}


def layer(title: object = "bundle.json", digest: object = DIGEST, size: object = 3) -> Any:
    return {"digest": digest, "size": size, "annotations": {"org.opencontainers.image.title": title}}


def test_layers_have_the_names_of_files() -> None:
    found = _layers(json.dumps(manifest()).encode(), "oci://r/digits:1")
    assert {name: (one.digest, one.size) for name, one in found.items()} == {"bundle.json": (DIGEST, 3)}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (manifest(layers=[layer(title)]), "expected a file below the bundle's folder")
        for title in ("", ".", "..", "../a", "/a", "a/../b", "a//b", "./a", "a/", "a\\b", "c:a", "a\nb", 3)
    ]
    + [
        (manifest(layers=[layer(), layer()]), "two layers have one title"),
        (manifest(layers=[layer(digest="md5:0")]), "expected sha256"),
        (manifest(layers=[layer(digest="sha256:../../x")]), "expected sha256"),
        (manifest(layers=[layer(size=-1)]), "expected bytes"),
        (manifest(layers=[layer(size="3")]), "expected bytes"),
        (manifest(layers=[{"digest": DIGEST, "size": 3}]), "cannot read its manifest"),
        (manifest(layers=None), "cannot read its manifest"),
        (manifest(artifactType="application/vnd.acme"), "expected an artifact of type"),
        ({"schemaVersion": 2, "manifests": []}, "expected an artifact of type"),
        ([], "cannot read its manifest"),
    ],
)
def test_what_is_no_bundles_manifest_is_refused(value: Any, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        _layers(json.dumps(value).encode(), "oci://r/digits:1")
