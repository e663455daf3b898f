"""Java archives from Maven: downloaded once, checked against committed sums, kept in a cache folder."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import filelock
import platformdirs

from stream.embedded import maven
from stream.errors import FatalError

log = logging.getLogger(__name__)

Download = Callable[[str, Path], None]


def fetched(name: str, cache: Path | None = None, download: Download = maven.resolve) -> Path:
    """The folder with exactly the files that `<name>.sha256` lists; downloaded when it is not there yet.

    One process downloads, others wait. A folder appears only when it is whole and every sum is right. Raises
    FatalError that names the file whose sum is wrong, or says why the download failed or cannot be kept or read.
    """
    folders = [place / f"{name}-{_digest(name)}" for place in ([cache] if cache else _places())]
    folder = next(filter(_is_there, folders), None) or _writable(folders)
    try:
        if not folder.is_dir():
            with filelock.FileLock(folder.with_suffix(".lock")):
                if not folder.is_dir():
                    _fill(name, folder, download)
        verify(name, folder)
    except OSError as error:
        raise FatalError(
            f"{name} cannot be kept in {folder.parent}, or not be read from there: {error}"
        ) from error
    return folder


def is_fetched(name: str, cache: Path | None = None) -> bool:
    """Whether the next start needs no network."""
    return any(_is_there(place / f"{name}-{_digest(name)}") for place in ([cache] if cache else _places()))


def verify(name: str, folder: Path) -> None:
    """Raises FatalError when a sum differs from the committed one, or a file is missing or too many."""
    remedy = f"delete {folder} and start again"
    expected = sums(name)
    for file, digest in expected.items():
        path = folder / file
        if not path.is_file():
            raise FatalError(f"{path} is missing; {remedy}")
        if _sha256(path) != digest:
            raise FatalError(f"{path} differs from its committed SHA-256 sum; {remedy}")
    for path in folder.iterdir():
        if path.name not in expected:
            raise FatalError(f"{path} does not belong there: no committed SHA-256 sum names it; {remedy}")


def sums(name: str) -> dict[str, str]:
    """File name to SHA-256, as committed."""
    lines = resources.files(__package__).joinpath(f"{name}.sha256").read_text().splitlines()
    return {file: digest for digest, file in (line.split() for line in lines)}


def _is_there(folder: Path) -> bool:
    """Not where one may not even look."""
    try:
        return folder.is_dir()
    except OSError:
        return False


def _places() -> list[Path]:
    """The user's cache folder, then a temporary one of the user's own for homes that cannot be written."""
    preferred, fallback = Path(platformdirs.user_cache_dir("claimstream")), _fallback()
    return [preferred, fallback] if _is_private(fallback) else [preferred]


def _fallback() -> Path:
    return Path(tempfile.gettempdir()) / f"claimstream-cache-{os.getuid()}"


def _is_private(folder: Path) -> bool:
    """Whether nobody else can change what is run from there."""
    try:
        state = folder.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o022


def _writable(folders: list[Path]) -> Path:
    """The first folder whose parent takes files."""
    reasons = []
    for folder in folders:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.parent == _fallback() and not _is_private(folder.parent):
                raise PermissionError(errno.EPERM, "somebody else made it meanwhile")
            with tempfile.TemporaryFile(dir=folder.parent):
                return folder
        except OSError as error:
            log.warning("downloads cannot be kept in %s: %s", folder.parent, error.strerror)
            reasons.append(f"{folder.parent}: {error.strerror}")
    raise FatalError(
        f"there is no folder to keep downloads in ({'; '.join(reasons)}); name one that can be written"
    )


def _fill(name: str, folder: Path, download: Download) -> None:
    # The lock is this digest's: another version of the program may be downloading its own beside this.
    prefix = f"{folder.name}-partial-"
    for abandoned in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix) as partial:
        whole = Path(partial, "files")
        whole.mkdir()
        log.info("downloading %s to %s", name, folder)
        download(name, whole)
        verify(name, whole)
        whole.rename(folder)


def _digest(name: str) -> str:
    """Distinguishes the folders of different versions."""
    text = "".join(f"{file}{digest}" for file, digest in sorted(sums(name).items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
