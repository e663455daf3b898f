"""The cache of downloaded archives: whole, checked, filled once."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from stream.embedded import downloads
from stream.embedded.downloads import fetched, is_fetched
from stream.errors import FatalError

FILES = {"a.jar": b"first", "b.jar": b"second"}


@pytest.fixture(autouse=True)
def _committed_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(downloads, "sums", lambda name: listed)


def whole(_name: str, target: Path) -> None:
    for name, content in FILES.items():
        (target / name).write_bytes(content)


def unreachable(_name: str, _target: Path) -> None:
    raise FatalError("there is no network")


def test_second_start_needs_no_network(tmp_path: Path) -> None:
    assert not is_fetched("kafka", tmp_path)
    folder = fetched("kafka", tmp_path, whole)
    assert is_fetched("kafka", tmp_path)
    assert fetched("kafka", tmp_path, unreachable) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_tampered_file_is_refused_and_named(tmp_path: Path) -> None:
    folder = fetched("kafka", tmp_path, whole)
    (folder / "b.jar").write_bytes(b"secund")
    with pytest.raises(FatalError, match=r"b\.jar differs from its committed SHA-256"):
        fetched("kafka", tmp_path, unreachable)


def test_missing_file_is_named(tmp_path: Path) -> None:
    folder = fetched("kafka", tmp_path, whole)
    (folder / "a.jar").unlink()
    with pytest.raises(FatalError, match=r"a\.jar is missing"):
        fetched("kafka", tmp_path, unreachable)


def test_file_that_no_sum_names_is_refused(tmp_path: Path) -> None:
    folder = fetched("kafka", tmp_path, whole)
    (folder / "z.jar").write_bytes(b"on the class path too")
    with pytest.raises(FatalError, match=r"z\.jar does not belong there"):
        fetched("kafka", tmp_path, unreachable)


def test_wrong_download_never_becomes_the_cache(tmp_path: Path) -> None:
    def wrong(name: str, target: Path) -> None:
        whole(name, target)
        (target / "a.jar").write_bytes(b"other")

    with pytest.raises(FatalError, match=r"a\.jar differs"):
        fetched("kafka", tmp_path, wrong)
    assert not is_fetched("kafka", tmp_path)
    assert not list(tmp_path.glob("*partial*"))


def test_interrupted_download_never_looks_whole(tmp_path: Path) -> None:
    def interrupted(_name: str, target: Path) -> None:
        (target / "a.jar").write_bytes(FILES["a.jar"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched("kafka", tmp_path, interrupted)
    assert not is_fetched("kafka", tmp_path)
    assert fetched("kafka", tmp_path, whole).is_dir()


def test_what_a_killed_download_left_is_removed_and_nothing_of_another_version(tmp_path: Path) -> None:
    left, other = (
        tmp_path / f"kafka-{digest}-partial-left" for digest in (downloads._digest("kafka"), "123456abcdef")
    )
    for folder in (left, other):
        folder.mkdir()
        (folder / "a.jar").write_bytes(b"fi")
    fetched("kafka", tmp_path, whole)
    assert (left.exists(), other.exists()) == (False, True)


def test_one_of_many_downloads(tmp_path: Path) -> None:
    entered, calls = threading.Barrier(4), []

    def counted(name: str, target: Path) -> None:
        calls.append(name)
        whole(name, target)

    def start() -> None:
        entered.wait()
        fetched("kafka", tmp_path, counted)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["kafka"]


def test_unwritable_home_falls_back_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder can be made below a file")
    monkeypatch.setattr(downloads, "_places", lambda: [blocked / "cache", tmp_path / "other"])
    assert fetched("kafka", None, whole).parent == tmp_path / "other"
    assert f"downloads cannot be kept in {blocked / 'cache'}" in caplog.text


def test_folder_that_others_may_change_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads.tempfile, "gettempdir", lambda: str(tmp_path))
    fallback = tmp_path / f"claimstream-cache-{os.getuid()}"
    assert fallback in downloads._places()
    fallback.mkdir(mode=0o700)
    assert fallback in downloads._places()
    fallback.chmod(0o777)
    assert fallback not in downloads._places()
    # As if others had made it since it was looked at.
    monkeypatch.setattr(downloads, "_places", lambda: [fallback])
    with pytest.raises(FatalError, match="somebody else made it meanwhile"):
        fetched("kafka", None, whole)


def test_no_writable_place_is_an_error_with_reasons(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(FatalError, match="there is no folder to keep downloads in"):
        fetched("kafka", blocked / "cache", whole)


def test_committed_sums_ship_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in ("kafka", "registry"):
        listed = downloads.sums(name)
        assert listed
        assert all(len(digest) == 64 for digest in listed.values())


def test_a_disk_that_fills_up_is_an_error_with_the_folder(tmp_path: Path) -> None:
    def full(_name: str, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FatalError, match=f"kafka cannot be kept in {tmp_path}.*No space left on device"):
        fetched("kafka", tmp_path, full)
    assert not list(tmp_path.glob("*partial*"))


def test_a_lock_that_cannot_be_taken_is_an_error_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / f"kafka-{downloads._digest('kafka')}.lock").mkdir()
    with pytest.raises(FatalError, match=f"kafka cannot be kept in {tmp_path}"):
        fetched("kafka", tmp_path, whole)
