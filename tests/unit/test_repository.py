"""Versions in a repository, found by name; manifests as they are read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import (
    ManifestError,
    NoFolderError,
    UnknownModelError,
    UnreachableError,
)
from models.manifest import encoded, read_manifest
from models.publishing import push
from models.repository import Repository, Share, is_known
from tests.repositories import SHIPPED_VERSION, Clock, edited, empty, keeping, pushed


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return empty(tmp_path)


@pytest.mark.parametrize(
    ("reference", "version", "found"),
    [
        ("claims_filter", "latest", "10.0.0"),
        ("claims_filter:latest", "latest", "10.0.0"),
        ("claims_filter_v2", "latest", "2.2.0"),
        ("claims_filter_v2.1", "latest", "2.1.3"),
        ("claims_filter_v2.1.0", "latest", "2.1.0"),
        ("claims_filter_v10", "latest", "10.0.0"),
        ("claims_filter:2.1.0", "latest", "2.1.0"),
        ("claims_filter:2.1.0", "2.1.0", "2.1.0"),
        ("claims_filter:2.1", "latest", "2.1.3"),
        ("claims_filter:production", "latest", "2.1.0"),
        ("claims_filter", "production", "2.1.0"),
        ("claims_filter", "2.1.0", "2.1.0"),
        ("claims_filter", "2.1", "2.1.3"),
        ("claims_filter_v2", "2.1.0", "2.1.0"),
        ("claims_filter_v2", "production", "2.1.0"),
    ],
)
def test_resolves_the_names_that_people_write(
    repository: Repository, reference: str, version: str, found: str
) -> None:
    pushed(repository, "2.1.0", "2.1.3", "2.2.0", "10.0.0")
    keeping(repository).promote("claims_filter", "2.1.0", "production")
    target = repository.resolve(reference, version)
    assert (target.name, target.shares) == ("claims_filter", (Share(found, 100),))


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("claim_filter", "latest"),
        ("claims_filter_v3", "latest"),
        ("claims_filter_v1", "latest"),
        ("claims_filter:2.1.9", "latest"),
        ("claims_filter:staging", "latest"),
        ("claims_filter", "3"),
        ("claims_filter", "../2.1.0"),
        ("claims_filter_v2.2", "2.1.0"),
        ("", "latest"),
        ("../claims_filter", "latest"),
        ("claims_*", "latest"),
        ("claims_filter\0", "latest"),
        ("claims_filter\n", "latest"),
        ("/etc", "latest"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    repository: Repository, reference: str, version: str
) -> None:
    pushed(repository, "2.1.0", "2.2.0")
    with pytest.raises(UnknownModelError, match=r"the nearest are .*claims_filter_v2"):
        repository.resolve(reference, version)


def test_two_versions_at_once_are_refused(repository: Repository) -> None:
    pushed(repository, "2.1.0", "2.2.0")
    with pytest.raises(UnknownModelError, match="are two versions"):
        repository.resolve("claims_filter:2.1.0", "2.2.0")


def test_what_ships_and_what_was_pushed_are_visible_together(tmp_path: Path) -> None:
    repository = pushed(Repository(tmp_path), "2.2.0")
    assert repository.versions("claims_filter") == ["2.1.0", "2.2.0"]
    assert repository.owned("claims_filter") == ["2.2.0"]
    assert repository.names() == ["claims_filter"]
    assert is_known("null")
    assert is_known("claims_filter:2.2.0", tmp_path)
    assert not is_known("claims_filter:2.2.0")


def test_a_repository_that_became_empty_is_not_replaced_by_what_ships(tmp_path: Path) -> None:
    root = tmp_path / "models"
    repository = pushed(Repository(root), "2.2.0")
    assert repository.resolve("claims_filter").shares[0].version == "2.2.0"
    root.rename(tmp_path / "away")
    root.mkdir()
    with pytest.raises(UnreachableError, match="is empty and was not before; mount the repository again"):
        repository.resolve("claims_filter")
    root.rmdir()
    (tmp_path / "away").rename(root)
    assert repository.resolve("claims_filter").shares[0].version == "2.2.0"


def test_an_absent_folder_is_no_empty_repository(tmp_path: Path) -> None:
    with pytest.raises(NoFolderError, match="there is no such folder; mount the repository"):
        Repository(tmp_path / "unmounted").resolve("claims_filter")


def test_a_release_is_read_again_when_its_file_changes(repository: Repository) -> None:
    pushed(repository, "2.1.0")
    first = repository.release("claims_filter", "2.1.0")
    assert repository.release("claims_filter", "2.1.0") is first
    assert repository.folder(first.key) == repository.root / "claims_filter" / "2.1.0"
    manifest = repository.folder(first.key) / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(manifest.read_text().replace("0.37", "0.5"))
    assert repository.release("claims_filter", "2.1.0").key != first.key


@pytest.mark.parametrize(
    "linked", ["claims_filter", "claims_filter/2.1.0", "claims_filter/2.1.0/manifest.json"]
)
def test_links_are_not_followed(repository: Repository, tmp_path: Path, linked: str) -> None:
    pushed(repository, "2.1.0")
    path = repository.root / linked
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(ManifestError, match="links are not followed"):
        repository.release("claims_filter", "2.1.0")


def test_an_alias_that_names_what_is_gone_says_so(repository: Repository) -> None:
    pushed(repository, "2.1.0", "2.2.0")
    keeping(repository).promote("claims_filter", "2.1.0", "production")
    shutil.rmtree(repository.root / "claims_filter" / "2.1.0")
    with pytest.raises(UnknownModelError, match=r"production names 2\.1\.0, which is not there"):
        repository.resolve("claims_filter:production")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../model.safetensors", "leads into another folder"),
        ("a/b", "leads into another folder"),
        ("a\\b", "leads into another folder"),
        ("/etc/passwd", "is an absolute path"),
        ("a\0b", "holds a NUL"),
        (".hidden", "is hidden"),
        ("", "is empty"),
        ("manifest.json", "is the manifest's"),
        ("a\x1b[2J", "cannot be printed"),
        ("a" * 201, "more than 200 letters"),
    ],
)
def test_a_file_name_that_leads_elsewhere_is_refused_by_its_fault(
    tmp_path: Path, name: str, fault: str
) -> None:
    folder = shutil.copytree(SHIPPED_VERSION, tmp_path / "other")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edited(folder, files=files | {name: files["vocabulary.json"]})
    with pytest.raises(ManifestError, match=f"files: .*not a plain file name: it .*{fault}"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "name: Field required"),
        ('{"a": NaN}', "NaN is no number"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ManifestError, match=said):
        read_manifest(tmp_path)


def test_a_manifest_says_a_thing_once(tmp_path: Path) -> None:
    text = (
        (SHIPPED_VERSION / "manifest.json")
        .read_text()
        .replace('"threshold"', '"threshold": 0.1, "threshold"')
    )
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ManifestError, match="'threshold' is there twice"):
        read_manifest(tmp_path)


def test_the_shipped_manifest_is_written_as_every_manifest_is() -> None:
    assert (SHIPPED_VERSION / "manifest.json").read_bytes() == encoded(read_manifest(SHIPPED_VERSION))


def test_use_is_noted_once_an_hour(repository: Repository) -> None:
    key = push(repository, SHIPPED_VERSION).key
    clock = Clock(4e9)
    noting = Repository(repository.root, wall=clock)
    noting.note_use(key)
    clock.time += 3_599
    noting.note_use(key)
    assert repository.times(key.name, key.version)[1] == 4e9
    clock.time += 2
    noting.note_use(key)
    assert repository.times(key.name, key.version)[1] == 4e9 + 3_601


def test_a_note_that_cannot_be_written_is_no_error(repository: Repository) -> None:
    key = push(repository, SHIPPED_VERSION).key
    (repository.root / ".used").write_bytes(b"in the way")
    repository.note_use(key)
    Repository().note_use(key)


def test_looking_up_names_needs_no_torch() -> None:
    code = (
        "import sys, models.publishing, models.housekeeping, models.tiers.repository as _; "
        "from models.repository import Repository; Repository().resolve('claims_filter'); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
