"""Container images without a Docker engine: a base made of Debian's packages, and Buildah in a chroot.

Needs root, Debian's `buildah` and `mmdebstrap`. Package indexes and their certificates are those that pip and apt of
this machine are set up for; they reach the build as a secret and a mount, and no image keeps them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TOOLS = ("buildah", "mmdebstrap")
BASE_PACKAGES = "python3,libstdc++6"
BUILD_PACKAGES = f"{BASE_PACKAGES},python3-pip,dash,coreutils,findutils,grep"
_INDEX_OPTIONS = ("cert", "extra-index-url", "index-url", "proxy", "timeout", "trusted-host")


def missing() -> str:
    """Return why images cannot be built here, empty where they can."""
    if os.geteuid():
        return "building images in a chroot needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)} (Debian's packages of that name)" if absent else ""


def call(*command: str | Path, **options: Any) -> str:
    """Run a command and return what it printed; raise AssertionError with all of its output where it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, (
        f"{command[0]} ended with {done.returncode}:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    )
    return done.stdout


class Buildah:
    """Buildah with a store of its own below `folder`, which also keeps the bases between runs.

    Owner: a test module; `close` deletes the store.
    """

    def __init__(self, folder: Path) -> None:
        """Begin with an empty store."""
        self.folder = folder
        self._store = folder / "store"
        shutil.rmtree(self._store, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Delete the store with all images and containers."""
        shutil.rmtree(self._store, ignore_errors=True)

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command line of a subcommand."""
        places = ["--root", self._store / "images", "--runroot", self._store / "run"]
        return [*map(str, ["buildah", "--storage-driver", "vfs", *places, *arguments])]

    def call(self, *arguments: str | Path, **options: Any) -> str:
        """Run a subcommand and return what it printed."""
        return call(*self.command(*arguments), **options)

    def import_bases(self) -> dict[str, str]:
        """Make what images stand on and are built on, as build arguments."""
        names = {"BASE": "localhost/base", "BUILD_BASE": "localhost/build-base"}
        for name, packages in zip(names.values(), (BASE_PACKAGES, BUILD_PACKAGES), strict=True):
            archive = self.folder / f"{Path(name).name}.tar"
            if not archive.exists():
                _bootstrap(packages, archive)
            self.build(name, self.folder, dockerfile=f"FROM scratch\nADD {archive.name} /\n")
        return {**names, "GPU_BASE": names["BUILD_BASE"]}

    def build(self, name: str, context: Path, *, dockerfile: str | None = None, **arguments: str) -> None:
        """Build an image of a folder: with its Dockerfile, or one given as text.

        Raises:
            AssertionError: the build failed, or Buildah said that it could not clean up.
        """
        settings = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        pip = self.folder / "pip.conf"
        pip.write_text(_pip_settings())
        # Stages are named after an argument, which Buildah sees too late to know that they are used.
        options = ["--isolation=chroot", "--format=docker", "--network=host", "--skip-unused-stages=false"]
        mounts = ["--volume=/etc/ssl/certs:/etc/ssl/certs:ro", f"--secret=id=pip,src={pip}"]
        file = "-" if dockerfile else str(context / "Dockerfile")
        command = self.command("bud", *options, *mounts, *settings, "--tag", name, "--file", file, context)
        done = subprocess.run(command, input=dockerfile, capture_output=True, text=True, check=False)
        said = done.stdout[-6000:] + done.stderr[-6000:]
        assert done.returncode == 0, said
        assert "level=error" not in done.stderr, said

    def export(self, name: str, archive: Path) -> "Archive":
        """Write an image to a file as `docker save` does."""
        archive.unlink(missing_ok=True)
        self.call("push", "--quiet", name, f"docker-archive:{archive}:{name}")
        return Archive.read(archive)


@dataclass(frozen=True)
class Archive:
    """An image in a file.

    Attributes:
        path: the file.
        config: how the image runs: user, environment, labels and so on.
        layers: names of the layers in the file, lowest first.
    """

    path: Path
    config: dict[str, Any]
    layers: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Archive":
        """Read what the file says of the image."""
        with tarfile.open(path) as file:
            (manifest,) = json.load(file.extractfile("manifest.json"))  # type: ignore[arg-type]
            config = json.load(file.extractfile(manifest["Config"]))["config"]  # type: ignore[arg-type]
        return cls(path, config, tuple(manifest["Layers"]))

    def sizes(self) -> tuple[int, int]:
        """Return the sum of the layers' sizes, in bytes: as they are, and as a registry keeps them (gzip)."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sizes = list(pool.map(self._sizes, self.layers))
        return sum(plain for plain, _ in sizes), sum(compressed for _, compressed in sizes)

    def files(self) -> Iterator[tarfile.TarInfo]:
        """Yield the entries of all layers, lowest first; what a higher layer hides is among them."""
        with tarfile.open(self.path) as file:
            for layer in self.layers:
                with tarfile.open(fileobj=file.extractfile(layer)) as entries:
                    yield from entries

    def read_file(self, name: str) -> bytes:
        """Return the content of a regular file, of the highest layer that has it."""
        with tarfile.open(self.path) as file:
            for layer in reversed(self.layers):
                with tarfile.open(fileobj=file.extractfile(layer)) as entries:
                    for entry in entries:
                        if entry.name.removeprefix("./") == name and (content := entries.extractfile(entry)):
                            return content.read()
        raise KeyError(name)

    def _sizes(self, layer: str) -> tuple[int, int]:
        plain = compressed = 0
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        with tarfile.open(self.path) as file:
            content = file.extractfile(layer)
            while content and (chunk := content.read(1 << 20)):
                plain += len(chunk)
                compressed += len(packer.compress(chunk))
        return plain, compressed + len(packer.flush())


class Container:
    """A container of an image, in which commands run as the image's user in the network of this machine."""

    def __init__(self, buildah: Buildah, image: str, *volumes: tuple[Path, str]) -> None:
        """Make it; each volume is a folder here and where it is mounted, not to be written to."""
        self._buildah = buildah
        self._volumes = [f"--volume={source}:{target}:ro" for source, target in volumes]
        self.name = buildah.call("from", image).strip()
        self.root = Path(buildah.call("mount", self.name).strip())

    def command(self, *command: str | Path, environment: Sequence[str] = ()) -> list[str]:
        """Return the command line that runs a command in the container."""
        options = ["--isolation=chroot", "--network=host", *self._volumes, *(f"--env={pair}" for pair in environment)]
        return self._buildah.command("run", *options, self.name, "--", *command)

    def call(self, *command: str | Path, environment: Sequence[str] = ()) -> str:
        """Run a command and return what it printed."""
        return call(*self.command(*command, environment=environment))

    def process(self, *arguments: str) -> int:
        """Return the id of the process in the container whose command line ends with these arguments."""
        wanted = "\0".join(arguments).encode() + b"\0"
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:  # ended meanwhile
                continue
            if line.startswith(b"/opt/widedeep/bin/python\0") and line.endswith(wanted):
                return int(folder.name)
        raise LookupError(arguments)


def _bootstrap(packages: str, archive: Path) -> None:
    """Unpack packages of this machine's release of Debian, without what their scripts would set up."""
    release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    assert release, "/etc/os-release names no release"
    sources = [path for path in map(Path, _SOURCES) if path.exists()]
    partial = archive.with_suffix(".partial.tar")
    hook = '--extract-hook=mkdir -p "$1/tmp" && chmod 1777 "$1/tmp"'
    call("mmdebstrap", "--quiet", "--variant=extract", f"--include={packages}", hook, release[1], partial, *sources)
    partial.rename(archive)


_SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")


def _pip_settings() -> str:
    """Return pip's settings here that say where packages come from, as a pip.conf; local folders are left out."""
    lines = ["[global]"]
    for line in call(sys.executable, "-m", "pip", "config", "list").splitlines():
        key, _, value = line.partition("=")
        option, value = key.rpartition(".")[2], value.strip("'\"")
        if option in _INDEX_OPTIONS and "file:" not in value:
            lines.append(f"{option} = {value}")
    return "\n".join(dict.fromkeys(lines)) + "\n"
