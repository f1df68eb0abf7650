"""The distribution that vsearch is installed from: its name, its version and how to install its extras."""

from __future__ import annotations

NAME = "vsearch-photos"  # `vsearch` on the package index is a program of other people
NAMESPACE = f"https://github.com/{NAME}/vsearch/ns/1.0/"  # of our XMP properties: in many files, never to change


def install_hint(extra: str) -> str:
    """Return the command that installs `extra`, one of the optional dependencies in pyproject.toml."""
    return f"pip install '{NAME}[{extra}]'"


def version() -> str:
    """Return the version of the installed distribution, or that of the source where none is installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    import vsearch

    try:
        return installed(NAME)
    except PackageNotFoundError:
        return vsearch.__version__
