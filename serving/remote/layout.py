"""Where bundles lie below a folder: it is one itself, or has `<version>/` or `<model>/<version>/` below it.

The same on disk and in a store, so that what lies below one comes to lie below the other.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from ..contract.bundle import BUNDLE_FILE, check_name
from ..contract.errors import BundleError, NotFound
from ..contract.versions import number_of


def places(names: Iterable[str], url: str = "") -> list[str]:
    """Return the places of bundles among files: "" for the folder itself, else `<version>` or `<model>/<version>`.

    Models come by name, their versions by number. What lies elsewhere is passed over; so are versions beside models,
    which somebody has put one folder too high.

    Args:
        names: of files, relative to the folder.
        url: of the folder, for messages.

    Raises:
        BundleError: the folder is a bundle and has others below it.
    """
    found = (name.removesuffix(BUNDLE_FILE).removesuffix("/") for name in names if is_description(name))
    known = sorted((place for place in found if _is_place(place)), key=_order)
    if "" in known and len(known) > 1:
        both = f"{BUNDLE_FILE} and {known[1]}/{BUNDLE_FILE}"
        raise BundleError(f"{url}: expected one bundle or a repository, found both: {both}")
    in_models = [place for place in known if "/" in place]
    return in_models or known


def is_description(name: str) -> bool:
    """Return whether a file is the description of a bundle."""
    return name == BUNDLE_FILE or name.endswith(f"/{BUNDLE_FILE}")


def local_places(folder: Path) -> list[str]:
    """Return the places of bundles below a folder on disk, as `places` does."""
    patterns = (BUNDLE_FILE, f"*/{BUNDLE_FILE}", f"*/*/{BUNDLE_FILE}")
    found = [path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern)]
    return places(found, str(folder))


def split(place: str) -> tuple[str, int]:
    """Return the model and the version of a place; the model is "" where the place does not name it.

    Args:
        place: not that of the folder itself.
    """
    model, _, version = place.rpartition("/")
    number = number_of(version)
    if number is None:
        raise ValueError(f"{place!r} is not <version> or <model>/<version>")
    return model, number


def choose(found: Collection[str], version: str, url: str) -> str:
    """Return the place of one version of the only model there is.

    Args:
        found: the places of a model folder.
        version: a number, or "latest".
        url: of the folder, for messages.

    Raises:
        NotFound: it is no model folder, or has no such version.
    """
    if not found or any(not place or "/" in place for place in found):
        raise NotFound(f"{url}: a version can be chosen of a model folder, <version>/{BUNDLE_FILE}; this is none")
    by_number = {split(place)[1]: place for place in found}
    wanted = max(by_number) if version == "latest" else number_of(version)
    if wanted not in by_number:
        raise NotFound(f"{url} has no version {version!r}; it has {', '.join(map(str, sorted(by_number)))}")
    return by_number[wanted]


def _is_place(place: str) -> bool:
    model, slash, version = place.rpartition("/")
    if not place:
        return True
    if number_of(version) is None:
        return False
    try:
        check_name("model", model if slash else "_")
    except BundleError:
        return False
    return True


def _order(place: str) -> tuple[str, int]:
    return split(place) if place else ("", -1)
