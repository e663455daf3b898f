"""Publishing when things go wrong: a full disk, two at once, a writer that is killed. The repository stays whole."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import publishing
from models.errors import PublishError
from models.housekeeping import DAY, Housekeeping
from models.publishing import Outcome, push
from models.repository import SHIPPED, Repository

SHIPPED_VERSION = SHIPPED / "claims_filter" / "2.1.0"

PUSH = """
import sys, time
from pathlib import Path
from models.publishing import push
from models.repository import Repository
root, folder, version = sys.argv[1:4]
print("ready", flush=True)
sys.stdin.readline()
print(push(Repository(Path(root), Path(root) / "nothing"), Path(folder), version=version).outcome)
"""
HANG = """
import sys, threading
from models import publishing
sealed = publishing._seal
def hang(folder):
    sealed(folder)
    print("written", flush=True)
    threading.Event().wait()
publishing._seal = hang
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository", tmp_path / "nothing")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def process(code: str, root: Path, folder: Path = SHIPPED_VERSION) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", code, str(root), str(folder), "3.0.0"]
    child = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n", child.stderr and child.stderr.read()
    return child


def full(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "fail",
    ["models.publishing.os.fsync", "models.durable.sync_folder", "models.publishing.durable.write_new"],
)
def test_a_full_disk_leaves_the_repository_as_it_was(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, fail: str
) -> None:
    push(repository, SHIPPED_VERSION, version="1.0.0")
    assert repository.root is not None
    before = tree(repository.root)
    with monkeypatch.context() as patch:
        patch.setattr(fail, full)
        with pytest.raises(
            PublishError, match=r"3\.0\.0: cannot be written .*No space left.*the repository is as it was"
        ):
            push(repository, SHIPPED_VERSION, version="3.0.0")
    assert tree(repository.root) == before
    assert push(repository, SHIPPED_VERSION, version="3.0.0").outcome is Outcome.PUBLISHED


def test_a_file_that_cannot_grow_leaves_the_repository_as_it_was(repository: Repository) -> None:
    push(repository, SHIPPED_VERSION, version="1.0.0")
    assert repository.root is not None
    before = tree(repository.root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(PublishError, match="File too large"):
            push(repository, SHIPPED_VERSION, version="3.0.0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert tree(repository.root) == before


def test_a_promotion_on_a_full_disk_changes_nothing(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(repository, SHIPPED_VERSION, version="1.0.0")
    push(repository, SHIPPED_VERSION, version="2.0.0")
    keeper = Housekeeping(repository, lambda: 1e9, lambda: 0.0)
    before = keeper.promote("claims_filter", "1.0.0", "production")
    assert repository.root is not None
    files = tree(repository.root)
    with monkeypatch.context() as patch:
        patch.setattr("models.durable.os.fsync", full)
        with pytest.raises(PublishError, match="No space left"):
            keeper.promote("claims_filter", "2.0.0", "production")
    assert repository.resolve("claims_filter:production") == before
    assert tree(repository.root) == files


def finished(child: subprocess.Popen[str]) -> tuple[str, str]:
    return child.communicate(timeout=60)


def released(*children: subprocess.Popen[str]) -> list[tuple[str, str]]:
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    return [finished(child) for child in children]


def test_of_two_pushes_of_one_content_one_publishes_and_the_other_finds_it_there(
    repository: Repository,
) -> None:
    assert repository.root is not None
    found = released(*(process(PUSH, repository.root) for _ in range(2)))
    assert sorted(text.strip() for text, _ in found) == ["already there", "published"]
    assert repository.versions("claims_filter") == ["3.0.0"]
    assert [path.name for path in repository.root.iterdir()] == ["claims_filter"]


def other_content(folder: Path) -> Path:
    shutil.copytree(SHIPPED_VERSION, folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"threshold": 0.37', '"threshold": 0.5'))
    return folder


def test_of_two_pushes_of_different_contents_one_publishes_and_the_other_is_refused(
    repository: Repository, tmp_path: Path
) -> None:
    assert repository.root is not None
    other = other_content(tmp_path / "other")
    found = released(process(PUSH, repository.root), process(PUSH, repository.root, other))
    assert sorted(text.strip() for text, _ in found) == ["", "published"]
    assert sum("already there with other content" in error for _, error in found) == 1
    assert [path.name for path in repository.root.iterdir()] == ["claims_filter"]


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Does something between the writing of a push and its rename."""
    sealed = publishing._seal

    def seal(folder: Path) -> None:
        sealed(folder)
        monkeypatch.setattr(publishing, "_seal", sealed)
        act()

    monkeypatch.setattr(publishing, "_seal", seal)


def test_who_renames_second_finds_the_version_there(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda: push(repository, SHIPPED_VERSION, version="3.0.0"))
    assert push(repository, SHIPPED_VERSION, version="3.0.0").outcome is Outcome.ALREADY_THERE
    assert repository.root is not None
    assert [path.name for path in repository.root.iterdir()] == ["claims_filter"]


def test_who_renames_second_with_other_content_is_refused(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_content(tmp_path / "other")
    meanwhile(monkeypatch, lambda: push(repository, other, version="3.0.0"))
    with pytest.raises(PublishError, match="already there with other content"):
        push(repository, SHIPPED_VERSION, version="3.0.0")
    assert repository.release("claims_filter", "3.0.0").manifest.threshold == 0.5


def test_a_killed_push_is_never_seen_and_the_next_one_succeeds(repository: Repository) -> None:
    assert repository.root is not None
    child = process(HANG + PUSH, repository.root)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "written\n"
    (half,) = (path for path in repository.root.iterdir() if path.is_dir())
    later = Housekeeping(repository, lambda: half.stat().st_mtime + 2 * DAY, lambda: 0.0)
    assert later.collect(1).half_pushes == [], "a push that still runs was swept"
    child.kill()
    finished(child)
    assert repository.names() == []
    assert push(repository, SHIPPED_VERSION, version="3.0.0").outcome is Outcome.PUBLISHED
    assert later.collect(1).half_pushes == [half.name]
    assert sorted(path.name for path in repository.root.iterdir()) == [".lock", "claims_filter"]


def test_no_promotion_is_lost_when_many_promote_at_once(repository: Repository) -> None:
    versions = [f"1.0.{number}" for number in range(8)]
    for version in versions:
        push(repository, SHIPPED_VERSION, version=version)

    def promote(version: str) -> None:
        Housekeeping(repository, lambda: 1e9, lambda: 0.0).promote("claims_filter", version, "production")

    threads = [threading.Thread(target=promote, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alias = repository.aliases("claims_filter").aliases["production"]
    states = [*alias.before, alias.now]
    assert sorted(next(iter(state.shares)) for state in states) == versions
