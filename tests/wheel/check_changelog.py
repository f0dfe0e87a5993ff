"""Fail where CHANGELOG.md tells nothing of the version in pyproject.toml; run in the repository's folder."""

import re
import sys
import tomllib
from pathlib import Path

version = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
section = re.search(
    rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)",
    Path("CHANGELOG.md").read_text(),
    re.MULTILINE | re.DOTALL,
)
if section is None or not section[1].strip():
    sys.exit(f"CHANGELOG.md: expected a section `## [{version}] - YYYY-MM-DD` that says what is new")
