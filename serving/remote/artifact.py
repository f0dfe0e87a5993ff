"""A bundle as an artifact in an OCI registry: each of its files is a layer, titled with the file's name.

    oci://<host>/<repository>:<tag>          one bundle; @sha256:<digest> names it for ever
    oci://<host>/<repository>                a model's folder: the tags that are numbers are its versions
    oci://<host>/<repository>/<model>:<tag>  where push puts <model>/<version> of a repository

What reads the layers of any artifact by their titles, `oras pull` for one, gets the bundle's folder. Blobs go up first,
each once, then the manifest, with which the tag changes all at once.
"""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from ..contract.bundle import BUNDLE_FILE, Bundle, listed_files, read_bundle
from ..contract.errors import BundleError, ConfigurationError, NotFound, StorageError
from ..contract.versions import number_of
from .download import Transfer
from .progress import Progress
from .reference import Reference
from .registry import MANIFEST, Registry, digest_of, to_json
from .storage import StoredFile
from .upload import FILES_AT_ONCE, send_files

ARTIFACT = "application/vnd.widedeep.bundle.v1"
"""The type of the artifact."""
DIGEST_ANNOTATION = "vnd.widedeep.bundle.digest"

_TITLE = "org.opencontainers.image.title"
"""Source: OCI Image Specification 1.1, annotations."""
_LAYER = "application/octet-stream"
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
"""Source: OCI Image Specification 1.1, guidance for an empty descriptor."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ASKED = 16
"""So many of the newest versions of a model are asked for their digests when they are listed."""
_ASKED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Layer:
    digest: str
    size: int


class Artifact:
    """What an `oci://` URL names, read as a folder: a bundle, or a model's folder of bundles.

    `list` comes before `read`, which then gives files of the manifest that `list` saw, from any thread.
    """

    def __init__(self, reference: Reference, registry: Registry | None = None) -> None:
        """Store the parts.

        Raises:
            ConfigurationError: `oras` is not installed.
        """
        self.reference = reference
        self.registry = registry or Registry(reference)
        self._seen = ""
        self._layers: Mapping[str, _Layer] = {}

    @property
    def url(self) -> str:
        """What a user calls it."""
        return str(self.reference)

    @property
    def root(self) -> str:
        """Where it lies, without the tag; the last part is the model's name."""
        return f"{self.reference.host}/{self.reference.repository}"

    def at(self, place: str) -> Self:
        """Return a bundle below this model's folder, or this repository; itself for "".

        Raises:
            ConfigurationError: a tag has nothing below it.
        """
        if not place:
            return self
        if self.reference.tag:
            raise ConfigurationError(f"{self.url} names one bundle; leave the tag out to name all versions of a model")
        model, _, version = place.rpartition("/")
        if not model:
            return type(self)(self.reference.tagged(version), self.registry)
        return type(self)(Reference.parse(f"{self.url}/{model}:{version}"))

    def list(self) -> dict[str, StoredFile]:
        """Return the files of the bundle, or of a model's folder the description of each version; {} for none.

        Raises:
            BundleError: it is no bundle.
            NotFound: of the model there are no versions.
            StorageError: the registry cannot be reached, or refuses.
        """
        if not self.reference.tag:
            return self._versions()
        try:
            digest = self.registry.manifest_digest(self.reference.tag)
            if not digest or digest != self._seen:
                manifest = self.registry.read_manifest(self.reference.tag)
                self._layers, self._seen = _layers(manifest, self.url), digest_of(manifest)
        except FileNotFoundError:
            return {}
        return {name: StoredFile(layer.size, "", layer.digest) for name, layer in self._layers.items()}

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes of a file from `start` up to `end`; a whole file that is damaged is refused.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: the registry cannot be reached, or refuses.
        """
        if name not in self._layers:
            raise FileNotFoundError(name)
        layer = self._layers[name]
        data = self.registry.read(layer.digest, start, layer.size if end is None else end)
        if end is None and not start and digest_of(data) != layer.digest:
            raise StorageError(f"{self.url}: {name} is damaged: expected {layer.digest}, got {digest_of(data)}")
        return data

    def _versions(self) -> dict[str, StoredFile]:
        try:
            tags = self.registry.tags()
        except FileNotFoundError:
            tags = []
        numbers = sorted((tag for tag in tags if number_of(tag) is not None), key=int, reverse=True)
        if not numbers:
            others = f"it has the tags {', '.join(sorted(tags)[:10])}: name one" if tags else "it has no tags"
            raise NotFound(f"{self.url} is no model's folder: expected tags that are version numbers; {others}")
        with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="widedeep-tags") as pool:
            marks = dict(zip(numbers, pool.map(self._mark, numbers[:_ASKED]), strict=False))
        found = {tag: marks.get(tag, "") for tag in numbers}
        return {f"{tag}/{BUNDLE_FILE}": StoredFile(0, "", mark) for tag, mark in found.items() if mark is not None}

    def _mark(self, tag: str) -> str | None:
        """Return the digest of what a tag names; None where it has gone meanwhile."""
        try:
            return self.registry.manifest_digest(tag)
        except FileNotFoundError:
            return None


def push_artifact(path: Path, artifact: Artifact, *, force: bool, progress: Progress) -> Transfer:
    """Store a bundle in a registry, checked before; the registry checks the digest of all that comes.

    Args:
        path: the bundle's folder.
        artifact: with the tag that the bundle is to have.
        force: move a tag that names another bundle.
        progress: told of bytes that went up.

    Raises:
        BundleError: it is no sound bundle, or the tag names something else.
        ConfigurationError: there is no tag.
        StorageError: the registry cannot be reached, or refuses, or the tag is moved by someone else.
    """
    bundle = read_bundle(path)
    reference, registry = artifact.reference, artifact.registry
    if not reference.tag or reference.is_digest:
        raise ConfigurationError(f"{artifact.url}: a bundle is pushed to a tag: {reference.tagged('1')}")
    digests = {BUNDLE_FILE: bundle.digest, **listed_files(bundle)}
    layers = {name: _Layer(f"sha256:{digest}", (path / name).stat().st_size) for name, digest in digests.items()}
    manifest = _manifest(bundle, layers)
    size = sum(layer.size for layer in layers.values()) + len(manifest)
    there = {name: file.mark for name, file in artifact.list().items()}
    if there == {name: layer.digest for name, layer in layers.items()}:
        return Transfer(bundle.digest, size, 0)
    if there and not force:
        raise BundleError(
            f"{artifact.url} holds another bundle; a version stays as it was pushed: push to a new tag, or move this "
            "one with --force"
        )
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="widedeep-tags") as pool:
        has = dict(zip(layers, pool.map(lambda layer: registry.has(layer.digest), layers.values()), strict=True))
    missing = {layers[name].digest: name for name in layers if not has[name]}.values()
    progress.begin(artifact.url, sum(layers[name].size for name in missing))
    try:
        send_files(path, missing, lambda name, file, sent: registry.put(layers[name].digest, file, sent), progress)
        if not registry.has(digest_of(_EMPTY)):
            registry.put_bytes(digest_of(_EMPTY), _EMPTY)
        registry.put_manifest(reference.tag, manifest)
        progress.add(len(manifest))
    except FileNotFoundError as error:
        raise StorageError(
            f"{artifact.url}: the registry takes nothing here, must it be made before? {error}"
        ) from error
    finally:
        moved = progress.end()
    if registry.read_manifest(reference.tag) != manifest:
        raise StorageError(f"{artifact.url} does not name what was sent: does another push go on?")
    return Transfer(bundle.digest, size, moved)


def _manifest(bundle: Bundle, layers: Mapping[str, _Layer]) -> bytes:
    """Return the manifest of a bundle, always the same for the same one."""
    created_by = " ".join(f"{name}/{version}" for name, version in bundle.created_by.items() if name == "widedeep")
    return to_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": _descriptor(_EMPTY_TYPE, _Layer(digest_of(_EMPTY), len(_EMPTY))),
            "layers": [
                {**_descriptor(_LAYER, layer), "annotations": {_TITLE: name}} for name, layer in sorted(layers.items())
            ],
            "annotations": {
                _TITLE: bundle.name,
                DIGEST_ANNOTATION: bundle.digest,
                **({"vnd.widedeep.created-by": created_by} if created_by else {}),
            },
        }
    )


def _descriptor(kind: str, layer: _Layer) -> dict[str, Any]:
    return {"mediaType": kind, "digest": layer.digest, "size": layer.size}


def _layers(text: bytes, url: str) -> dict[str, _Layer]:
    """Return the files that a manifest lists.

    Raises:
        BundleError: it is no bundle's manifest, or a file's name leads out of the folder.
    """
    try:
        manifest = json.loads(text)
        kind = manifest.get("artifactType") or manifest.get("config", {}).get("mediaType")
        if kind != ARTIFACT:
            raise BundleError(f"{url} is no bundle: expected an artifact of type {ARTIFACT}, got {kind}")
        found = [(layer["annotations"][_TITLE], _Layer(layer["digest"], layer["size"])) for layer in manifest["layers"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{url} is no bundle: cannot read its manifest: {type(error).__name__} {error}") from error
    for name, layer in found:
        if not _is_plain(name):
            raise BundleError(f"{url} has a layer titled {name!r}: expected a file below the bundle's folder")
        if not (isinstance(layer.digest, str) and _DIGEST.fullmatch(layer.digest)):
            raise BundleError(f"{url}: {name} has the digest {layer.digest!r}: expected sha256:<64 digits>")
        if not isinstance(layer.size, int) or layer.size < 0:
            raise BundleError(f"{url}: {name} has the size {layer.size!r}: expected bytes")
    if len(dict(found)) != len(found):
        raise BundleError(f"{url}: two layers have one title")
    return dict(found)


def _is_plain(name: object) -> bool:
    """Return whether a title is a relative path that leads nowhere but down, and means the same on all systems."""
    if not isinstance(name, str) or not name.isprintable() or "\\" in name or ":" in name:
        return False
    path = PurePosixPath(name)
    return str(path) == name and not path.is_absolute() and ".." not in path.parts and name != "."
