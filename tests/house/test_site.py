"""The documentation's site: it builds without a warning, and its command reference is what `--help` prints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def run(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The finished process of `python -m WORDS`."""
    return subprocess.run([sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True, timeout=300)


def cog(page: Path) -> subprocess.CompletedProcess[str]:
    return run("cogapp", "--check", "-I", str(DOCS), "-I", str(ROOT), str(page))


def test_command_reference_is_current() -> None:
    done = cog(DOCS / "reference" / "commands.md")
    assert done.returncode == 0, f"run `make docs`: {done.stdout}{done.stderr}"


def test_a_stale_command_reference_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "commands.md"
    text = (DOCS / "reference" / "commands.md").read_text("utf-8")
    assert "--min-score" in text
    page.write_text(text.replace("--min-score", "--least-score"), "utf-8")
    assert cog(page).returncode != 0


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = run("sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees"), str(DOCS), str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()


def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_build", "*.md", "images"))
    (tmp_path / "docs" / "conf.py").write_text(
        (DOCS / "conf.py").read_text("utf-8").replace("Path(__file__).resolve().parents[1]", repr(str(ROOT))), "utf-8"
    )
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[nowhere](nowhere.md)\n", "utf-8")
    done = run("sphinx", "-W", "-q", str(tmp_path / "docs"), str(tmp_path / "site"))
    assert done.returncode != 0
    assert "nowhere" in done.stderr
