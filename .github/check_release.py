"""Check that a release is what it says: python .github/check_release.py TAG REPOSITORY_URL.

Exits with the reason if the tag is not "v" + version, if changelog or citation file name another version, or if the
repository is not the one that the package will name as its home.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def faults(root: Path, tag: str, repository: str) -> list[str]:
    """Return what is wrong with releasing the checkout at `root` as `tag` from `repository`; empty if nothing is."""
    match = re.search(r'^__version__ = "(.+)"$', (root / "vsearch" / "__init__.py").read_text("utf-8"), re.MULTILINE)
    if not match:
        return ["vsearch/__init__.py has no __version__"]
    version = match[1]
    home = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
    checks = [
        (tag == f"v{version}", f"the tag is {tag}, but vsearch/__init__.py says {version}"),
        (
            re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", text(root, "CHANGELOG.md"), re.MULTILINE),
            f'CHANGELOG.md has no "## [{version}] - DATE"',
        ),
        (f"\nversion: {version}\n" in text(root, "CITATION.cff"), f"CITATION.cff does not say version: {version}"),
        (repository == home, f"this is {repository}, but pyproject.toml names {home}"),
    ]
    return [message for fine, message in checks if not fine]


def text(root: Path, name: str) -> str:
    return (root / name).read_text("utf-8")


if __name__ == "__main__":
    found = faults(Path(__file__).resolve().parents[1], *sys.argv[1:])
    sys.exit("\n".join(found))
