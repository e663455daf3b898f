"""Versions are published once and for all, and removed when nothing needs them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from models.errors import (
    ArtifactError,
    ManifestError,
    PublishError,
    UnknownModelError,
)
from models.housekeeping import DAY
from models.publishing import PUSH, Outcome, push
from models.repository import Repository, Share
from tests.repositories import SHIPPED_VERSION, Clock, edited, empty, flip, keeping, link, pushed, tree


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return empty(tmp_path)


def test_a_push_is_whole_read_only_and_leaves_nothing_beside_it(repository: Repository) -> None:
    found = push(repository, SHIPPED_VERSION, version="3.0.0")
    assert found.outcome is Outcome.PUBLISHED
    files = ["claims_filter/3.0.0/manifest.json", "claims_filter/3.0.0/model.safetensors"]
    assert tree(repository.root) == [
        "claims_filter",
        "claims_filter/3.0.0",
        *files,
        "claims_filter/3.0.0/vocabulary.json",
    ]
    assert {(path.stat().st_mode & 0o777) for path in found.folder.iterdir()} == {0o444}
    assert repository.release("claims_filter", "3.0.0").key == found.key


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o002])
def test_whatever_the_umask_others_can_read_what_was_pushed(repository: Repository, mask: int) -> None:
    before = os.umask(mask)
    try:
        folder = push(repository, SHIPPED_VERSION, version="3.0.0").folder
    finally:
        os.umask(before)
    expected = 0o755 | 0o777 & ~mask
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [expected] * 2


def test_a_push_leaves_the_rights_of_a_folder_that_was_there(repository: Repository) -> None:
    pushed(repository, "1.0.0")
    model = repository.root / "claims_filter"
    model.chmod(0o700)
    pushed(repository, "1.1.0")
    assert model.stat().st_mode & 0o777 == 0o700


def test_the_same_content_again_is_no_error_and_other_content_is(
    repository: Repository, tmp_path: Path
) -> None:
    first = push(repository, SHIPPED_VERSION)
    again = push(repository, SHIPPED_VERSION)
    assert (again.key, again.outcome) == (first.key, Outcome.ALREADY_THERE)
    other = shutil.copytree(SHIPPED_VERSION, tmp_path / "other")
    text = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(text.replace('"threshold": 0.37', '"threshold": 0.5'))
    with pytest.raises(
        PublishError, match=r"already there with other content.*push yours under another with --version"
    ):
        push(repository, other)
    assert repository.release("claims_filter", "2.1.0").key == first.key


def test_what_ships_counts_as_there(tmp_path: Path) -> None:
    assert push(Repository(tmp_path), SHIPPED_VERSION).outcome is Outcome.ALREADY_THERE
    assert tree(tmp_path) == []


def test_a_push_mends_a_damaged_version(repository: Repository) -> None:
    weights = push(repository, SHIPPED_VERSION).folder / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"rubbish")
    assert push(repository, SHIPPED_VERSION).outcome is Outcome.REPAIRED
    assert weights.read_bytes() == (SHIPPED_VERSION / "model.safetensors").read_bytes()
    assert push(repository, SHIPPED_VERSION).outcome is Outcome.ALREADY_THERE


def test_a_push_measures_the_bytes(repository: Repository, tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED_VERSION, tmp_path / "other")
    edited(folder, bytes={"device": 1, "memory": 1, "redis": 1, "repository": 1})
    push(repository, folder)
    measured = repository.release("claims_filter", "2.1.0").manifest.bytes
    assert (measured.device, measured.memory) == (922_628, 982_968)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "vocabulary.json").unlink(), "No such file"),
        (lambda folder: (folder / "vocabulary.json").write_bytes(b"[]"), "2 bytes, the manifest says 57596"),
        (lambda folder: os.truncate(folder / "model.safetensors", 100), "100 bytes, the manifest says"),
        (lambda folder: flip(folder / "vocabulary.json", 10), "its BLAKE3 is|nor JSON"),
        (lambda folder: flip(folder / "model.safetensors", -1), "its BLAKE3 is"),
        (lambda folder: link(folder / "model.safetensors"), "links are not followed"),
        (lambda folder: edited(folder, colour="red"), "colour: Extra inputs"),
        (lambda folder: edited(folder, version=2), "version: Input should be a valid string"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json: cannot be read"),
        (
            lambda folder: edited(folder, precisions={"fp32": {"file": "vocabulary.json"}}),
            "neither|header|safetensors",
        ),
    ],
)
def test_a_folder_with_a_fault_is_not_pushed(
    repository: Repository, tmp_path: Path, spoil: object, said: str
) -> None:
    folder = shutil.copytree(SHIPPED_VERSION, tmp_path / "other")
    spoil(folder)  # type: ignore[operator]
    with pytest.raises((ArtifactError, ManifestError), match=said):
        push(repository, folder)
    assert tree(repository.root) == []


def test_only_a_repository_can_be_written_to() -> None:
    with pytest.raises(PublishError, match="no repository to write to; name its folder"):
        push(Repository(), SHIPPED_VERSION, version="3.0.0")


def test_a_version_that_an_alias_names_stays(repository: Repository) -> None:
    keeper = keeping(pushed(repository, "1.0.0", "2.0.0"))
    keeper.promote("claims_filter", "1.0.0", "production")
    with pytest.raises(PublishError, match=r"1\.0\.0 is what production means; promote another"):
        keeper.remove("claims_filter", "1.0.0")
    keeper.promote("claims_filter", "2.0.0", "production")
    keeper.remove("claims_filter", "1.0.0")
    assert repository.versions("claims_filter") == ["2.0.0"]
    with pytest.raises(PublishError, match=r"meant 1\.0\.0, which was removed"):
        keeper.rollback("claims_filter", "production")


def test_what_ships_stays(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="ships with claimstream and stays"):
        keeping(Repository(tmp_path)).remove("claims_filter", "2.1.0")
    with pytest.raises(UnknownModelError, match=r"no model 'claims_filter:9\.0\.0'"):
        keeping(Repository(tmp_path)).remove("claims_filter", "9.0.0")


def test_a_copy_without_its_manifest_is_removed_and_pushed_anew(repository: Repository) -> None:
    keeper = keeping(pushed(repository, "1.0.0", "2.0.0"))
    keeper.promote("claims_filter", "2.0.0", "production")
    (repository.root / "claims_filter" / "2.0.0" / "manifest.json").unlink()
    assert repository.versions("claims_filter") == ["1.0.0"]
    with pytest.raises(PublishError, match=r"is there, but .*manifest\.json.*; remove it and push anew"):
        pushed(repository, "2.0.0")
    keeper.remove("claims_filter", "2.0.0")
    pushed(repository, "2.0.0")
    assert repository.resolve("claims_filter:production").shares == (Share("2.0.0", 100),)
    assert [path for path in tree(repository.root) if PUSH in path] == []


def test_a_copy_without_its_manifest_is_removed_where_that_version_ships(tmp_path: Path) -> None:
    rest = tmp_path / "claims_filter" / "2.1.0"
    rest.mkdir(parents=True)
    (rest / "model.safetensors").write_bytes(b"half")
    keeping(Repository(tmp_path)).remove("claims_filter", "2.1.0")
    assert tree(tmp_path) == [".lock"]
    assert Repository(tmp_path).versions("claims_filter") == ["2.1.0"]


@pytest.mark.parametrize(
    ("name", "version"), [("..", "1.0.0"), ("claims_filter", ".."), ("claims_filter", ""), ("", "")]
)
def test_only_what_is_called_as_versions_are_is_removed(
    repository: Repository, name: str, version: str
) -> None:
    pushed(repository, "1.0.0")
    (repository.root.parent / "1.0.0").mkdir()
    assert not repository.lacks_manifest(name, version)
    with pytest.raises(UnknownModelError):
        keeping(repository).remove(name, version)
    assert repository.versions("claims_filter") == ["1.0.0"]


def test_only_names_become_aliases(repository: Repository) -> None:
    pushed(repository, "1.0.0")
    for alias in ("latest", "2.1", "../x", "Production"):
        with pytest.raises(PublishError, match="is no name for an alias"):
            keeping(repository).promote("claims_filter", "1.0.0", alias)


def test_what_ships_can_be_promoted(tmp_path: Path) -> None:
    keeping(Repository(tmp_path)).promote("claims_filter", "2.1.0", "production")
    assert Repository(tmp_path).resolve("claims_filter:production").shares == (Share("2.1.0", 100),)


def test_removing_the_last_version_leaves_nothing(repository: Repository) -> None:
    keeping(pushed(repository, "1.0.0")).remove("claims_filter", "1.0.0")
    assert tree(repository.root) == [".lock"]


def test_garbage_is_what_nobody_used_and_nothing_names(repository: Repository) -> None:
    pushed(repository, "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0")
    published = repository.times("claims_filter", "1.0.0")[0]
    keeper = keeping(repository, published + 40 * DAY)
    for version in ("1.1.0", "1.2.0"):
        keeper.promote("claims_filter", version, "production")
    used = repository.release("claims_filter", "1.3.0").key
    Repository(repository.root, wall=Clock(published + 20 * DAY)).note_use(used)
    planned = keeper.collect(30, dry_run=True)
    assert [found.version for found in planned.versions] == ["1.0.0", "1.4.0"]
    assert repository.versions("claims_filter")[0] == "1.0.0"
    assert keeper.collect(30) == planned
    assert repository.versions("claims_filter") == ["1.1.0", "1.2.0", "1.3.0", "1.5.0"]


def test_half_pushes_go_after_a_day_when_nobody_holds_them(repository: Repository) -> None:
    pushed(repository, "1.0.0")
    half = repository.root / f"{PUSH}abc"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    age = half.stat().st_mtime
    assert keeping(repository, age + DAY / 2).collect(30).half_pushes == []
    assert keeping(repository, age + DAY * 2).collect(30).half_pushes == [half.name]
    assert not half.exists()
