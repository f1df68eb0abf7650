"""The wheel: built from the source distribution, installed into an environment of its own, and searched with there."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vsearch

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("vsearch", "index", "training")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2]))"


def of_the_packages() -> set[str]:
    """Return each file that the packages and cli.py consist of, relative to the root."""
    found = [p for package in PACKAGES for p in (ROOT / package).rglob("*") if p.is_file()]
    kept = [p for p in found if "__pycache__" not in p.parts and not p.name.startswith(".")]
    return {"cli.py", *(p.relative_to(ROOT).as_posix() for p in kept)}


def call(command: Sequence[str | Path], cwd: Path) -> str:
    """Run `command` in `cwd` without the checkout's environment; return its stdout, and fail with its stderr."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "COVERAGE", "XDG_"))}
    environment = {**kept, "HOME": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(kind: str, source: Path, output: Path) -> Path:
    output.mkdir()
    return output / call([sys.executable, "-c", BUILD, kind, output], source).split()[-1]


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built in a copy of what it is made of, so that no older build gets into it."""
    folder = tmp_path_factory.mktemp("source")
    names = of_the_packages() | {"pyproject.toml", "README.md", "LICENSE"}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return build("sdist", folder, tmp_path_factory.mktemp("dist") / "sdist")


@pytest.fixture(scope="module")
def wheel(source_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as a release does."""
    folder = tmp_path_factory.mktemp("unpacked")
    safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.2 has none
    with tarfile.open(source_archive) as archive:
        archive.extractall(folder, **safely)
    (unpacked,) = folder.iterdir()
    return build("wheel", unpacked, tmp_path_factory.mktemp("dist") / "wheel")


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with nothing but the wheel in it; packages it requires are those of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    call([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
    python = folder / "venv" / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    call([*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", wheel], folder)
    own = Path(call([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
    borrowed = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (own / "requirements.pth").write_text("\n".join(borrowed) + "\n")  # a path; no .pth file there is read
    return folder / "venv"


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    about = {name for name in inside if ".dist-info/" in name}
    expected = of_the_packages()
    assert {"vsearch/py.typed", "index/py.typed", "training/py.typed", "vsearch/bundled/model.safetensors"} <= expected
    assert inside - about == expected
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in about)


def test_the_wheel_is_for_any_system_and_small_enough_for_the_index(wheel: Path) -> None:
    assert wheel.name == f"vsearch_photos-{vsearch.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 100e6


def test_the_metadata_say_what_the_project_file_says(metadata: Message) -> None:
    assert metadata["Name"] == "vsearch-photos"
    assert metadata["Version"] == vsearch.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.13"}
    assert metadata["Author"] == "The vsearch authors"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {u.partition(", ")[0] for u in metadata.get_all("Project-URL", [])} == set(PROJECT["urls"])
    assert {"Repository", "Documentation", "Issues", "Changelog"} <= set(PROJECT["urls"])
    assert metadata.get_all("Classifier") == PROJECT["classifiers"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])


def test_a_plain_install_requires_what_the_project_file_lists(metadata: Message) -> None:
    required = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    names = sorted(line.split(">")[0] for line in PROJECT["dependencies"])
    assert sorted(r.split("<")[0].split(">")[0] for r in required) == names


def test_the_commands_point_to_the_cli(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("/entry_points.txt")]
        assert archive.read(name).decode().split() == ["[console_scripts]", "vsearch", "=", "cli:main"]


def test_the_installed_command_indexes_and_searches(installed: Path, tmp_path: Path) -> None:
    program, photos = installed / "bin" / "vsearch", tmp_path / "photos"
    photos.mkdir()
    for name, colour in (("sea.png", (20, 60, 160)), ("grass.png", (40, 150, 40))):
        noise = np.random.default_rng(3).integers(0, 60, (120, 160, 3))
        Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(photos / name)
    built = call([program, "build-index", "photos", "--library", "library", "--device", "cpu"], tmp_path)
    assert built.startswith("2 added in ")
    rows = json.loads(call([program, "search", "green grass", "--json", "--library", "library"], tmp_path))
    assert {Path(row["path"]).name for row in rows} == {"sea.png", "grass.png"}
    assert all(row["caption"] for row in rows)
    facts = call([program, "info", "--library", "library"], tmp_path)
    assert f"vsearch      {vsearch.__version__}\n" in facts
    assert str(installed.relative_to(tmp_path.anchor)) in facts and str(ROOT / "vsearch") not in facts


def test_the_installed_packages_are_those_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    script = "import cli, index, training, vsearch; print(*(m.__file__ for m in (cli, index, training, vsearch)))"
    places = call([installed / "bin" / "python", "-c", script], tmp_path).split()
    assert [Path(p).is_relative_to(installed) for p in places] == [True] * 4


def test_the_installed_recipes_are_found(installed: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [
        installed / "bin" / "vsearch",
        "train",
        "no-such-recipe",
        "--data",
        "nothing.h5",
        "--output",
        "run",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "devise-tuned" in done.stderr
