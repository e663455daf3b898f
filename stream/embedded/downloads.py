"""Java archives from Maven, resolved once, checked against committed sums, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import filelock
import platformdirs

from stream.errors import FatalError

_RESOLVE_SECONDS = 600


def cache_folder() -> Path:
    """Where downloads are kept: the user's cache folder, or a temporary one where that cannot be written."""
    preferred = Path(platformdirs.user_cache_dir("claimstream"))
    try:
        preferred.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=preferred):
            return preferred
    except OSError:
        fallback = Path(tempfile.gettempdir()) / f"claimstream-cache-{os.getuid()}"
        fallback.mkdir(mode=0o700, exist_ok=True)
        return fallback


def fetched(name: str, cache: Path | None = None, download: Callable[[str, Path], None] | None = None) -> Path:
    """The folder with all files that `<name>.sha256` lists; they are downloaded when they are not there yet.

    One process downloads, others wait. A folder appears only when it is whole and every sum is right. Raises FatalError
    that names the file whose sum is wrong, or says why the download failed.
    """
    folder = (cache or cache_folder()) / f"{name}-{_digest(name)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            _fill(name, folder, download or resolve)
    verify(name, folder)
    return folder


def verify(name: str, folder: Path) -> None:
    """Compare every file with its committed sum."""
    for file, expected in sums(name).items():
        path = folder / file
        if not path.is_file() or _sha256(path) != expected:
            raise FatalError(f"{path} is missing or differs from its committed SHA-256 sum; delete {folder} and try again")


def sums(name: str) -> dict[str, str]:
    """File name to SHA-256, as committed."""
    lines = resources.files(__package__).joinpath(f"{name}.sha256").read_text().splitlines()
    return {file: digest for digest, file in (line.split() for line in lines)}


def resolve(name: str, target: Path) -> None:
    """Let jgo resolve `<name>.toml` and put all archives into `target`."""
    with tempfile.TemporaryDirectory(dir=target.parent) as room, resources.as_file(
        resources.files(__package__).joinpath(f"{name}.toml")
    ) as environment:
        command = [sys.executable, "-m", "jgo", "--ignore-config", "--resolver", "python", "--quiet", "--timeout", "60"]
        command += ["--repo-cache", f"{room}/repository", "--cache-dir", f"{room}/environment", "--links", "copy"]
        answer = subprocess.run(
            [*command, "--file", str(environment), "sync"],
            capture_output=True,
            text=True,
            timeout=_RESOLVE_SECONDS,
            check=False,
        )
        if answer.returncode != 0:
            last = (answer.stderr.strip() or answer.stdout.strip() or "no output").splitlines()[-1]
            raise FatalError(f"downloading {name} failed, is there a network? jgo said: {last}")
        for archive in sorted(Path(room, "environment").rglob("*.jar")):
            shutil.move(archive, target / archive.name)


def _fill(name: str, folder: Path, download: Callable[[str, Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{name}-partial-") as partial:
        whole = Path(partial, "files")
        whole.mkdir()
        download(name, whole)
        verify(name, whole)
        whole.rename(folder)


def _digest(name: str) -> str:
    text = "".join(f"{file}{digest}" for file, digest in sorted(sums(name).items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
