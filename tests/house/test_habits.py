"""The files that a project is kept by: workflows, hooks, licence, changelog, citation, guides."""

from __future__ import annotations

import re
import runpy
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import vsearch

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GUIDES = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def load(path: Path) -> dict[Any, Any]:
    content = yaml.safe_load(path.read_text("utf-8"))
    assert isinstance(content, dict)
    return content


def steps(workflow: dict[Any, Any], job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workflow["jobs"][job]["steps"]
    return found


def test_the_workflows_are_those_of_test_and_release() -> None:
    assert [p.name for p in WORKFLOWS] == ["release.yml", "test.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_is_whole(path: Path) -> None:
    workflow = load(path)
    assert workflow["name"] == path.stem
    assert workflow[True]  # YAML 1.1 reads the key `on` so
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"].startswith("ubuntu-") and job["timeout-minutes"] <= 60
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            assert "run" in step or re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"]), step


def test_the_test_workflow_runs_everything_on_every_python() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "test.yml")
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    offered = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert versions == offered == ["3.11", "3.12"]
    assert steps(workflow, "test")[-1]["run"] == "make test"


def test_the_test_workflow_installs_the_torch_that_the_project_wants() -> None:
    commands = " ".join(s.get("run", "") for s in steps(load(ROOT / ".github" / "workflows" / "test.yml"), "test"))
    for package in ("torch>", "torchvision>"):
        (wanted,) = [d for d in PROJECT["optional-dependencies"]["train"] if d.startswith(package)]
        assert f'"{wanted}"' in commands


def test_a_release_is_built_then_published_without_a_password() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    publish = workflow["jobs"]["publish"]
    assert publish["needs"] == "build" and publish["permissions"] == {"id-token": "write"}
    assert publish["steps"][-1] == {"uses": "pypa/gh-action-pypi-publish@release/v1"}
    assert "permissions" not in workflow["jobs"]["build"]
    runs = [s["run"] for s in steps(workflow, "build") if "run" in s]
    assert runs[0].startswith("python .github/check_release.py") and "python -m build" in runs


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A checkout that is ready to be released as v1.2.3."""
    (tmp_path / "vsearch").mkdir()
    (tmp_path / "vsearch" / "__init__.py").write_text('"""The model."""\n\n__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-12-01\n")
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 1.2.3\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


HOME = PROJECT["urls"]["Repository"]


def faults(root: Path, tag: str = "v1.2.3", repository: str = HOME) -> list[str]:
    found: list[str] = runpy.run_path(str(ROOT / ".github" / "check_release.py"))["faults"](root, tag, repository)
    return found


def test_a_release_that_agrees_passes(release: Path) -> None:
    assert faults(release) == []


def test_a_release_by_another_tag_or_from_another_repository_is_refused(release: Path) -> None:
    assert faults(release, tag="v1.2.4") == ["the tag is v1.2.4, but vsearch/__init__.py says 1.2.3"]
    assert faults(release, repository="https://example.org/fork") == [
        f"this is https://example.org/fork, but pyproject.toml names {HOME}"
    ]


def test_a_release_without_its_changelog_or_with_an_old_citation_is_refused(release: Path) -> None:
    (release / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    (release / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 1.2.2\n")
    assert faults(release) == [
        'CHANGELOG.md has no "## [1.2.3] - DATE"',
        "CITATION.cff does not say version: 1.2.3",
    ]


def test_the_hooks_are_the_tools_of_the_checks() -> None:
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert set(hooks) == {"ruff", "ruff-format", "typos", "mypy", "check-added-large-files"}
    extras = PROJECT["optional-dependencies"]
    installed = {re.split(r"[<>=]", requirement)[0] for requirement in [*extras["test"], *extras["hooks"]]}
    homes = {"check-added-large-files": "pre-commit-hooks"}
    for hook in hooks.values():
        tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert hook["entry"].startswith(".venv/bin/") and hook["language"] == "system"
        assert homes.get(tool, tool) in installed, tool


def test_lint_runs_what_the_hooks_run() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)
    assert recipe
    for tool in ("ruff check", "ruff format --check", "typos"):
        assert f"$(BIN)/{tool}" in recipe[1]


def test_the_licence_is_whole_and_named() -> None:
    text = read("LICENSE")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert all(f"\n   {n}. " in text for n in range(1, 10)) and "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]


def test_the_citation_is_of_this_version() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert str(citation["version"]) == vsearch.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert citation["authors"] == PROJECT["authors"]
    assert {"cff-version", "message", "title", "type"} <= set(citation)


def test_the_changelog_begins_with_what_is_not_released() -> None:
    sections = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert sections[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", section) for section in sections[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    used = set(re.findall(r"^#{3,4} ([A-Z]\w+)$", read("CHANGELOG.md"), re.MULTILINE))
    assert {"Added", "Changed", "Fixed"} <= used <= kinds


@pytest.mark.parametrize("name", GUIDES)
def test_links_of_the_guides_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", read(name))
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_guide_names_targets_that_make_has() -> None:
    targets = set(re.findall(r"(?:^ +|`)make ([a-z]+)", read("CONTRIBUTING.md"), re.MULTILINE))
    assert {"test", "lint", "types", "layers", "unit", "hooks"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), target
