"""An environment for each contender, made once and kept while its packages stay the same."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_MADE_FILE = "packages.json"


class InstallError(Exception):
    """Packages cannot be installed; says which and why."""


def python_of(folder: Path, packages: Sequence[str]) -> Path:
    """Return the interpreter of an environment with these packages; this one if there are none.

    Raises:
        InstallError: pip cannot install them.
    """
    if not packages:
        return Path(sys.executable)
    python = folder / "bin" / "python"
    made = folder / _MADE_FILE
    if made.exists() and json.loads(made.read_bytes()) == list(packages):
        return python
    print(f"installing {' '.join(packages)}", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, text=True)
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, *packages], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise InstallError(f"cannot install {' '.join(packages)}: {said[-1] if said else error}") from error
    made.write_text(json.dumps(list(packages)))
    return python
