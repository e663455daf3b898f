"""Versions in folders, found by the names that people write."""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.aliases import FILE as ALIASES
from models.aliases import LATEST, Aliases, read_aliases
from models.devices import CPU, place
from models.errors import ManifestError, NoFolderError, UnknownModelError, UnreachableError
from models.folders import (
    NAME,
    VERSION,
    entries_in,
    folders_of,
    is_folder,
    is_there,
    names_in,
    ordinal,
    unreachable,
    versions_in,
)
from models.manifest import FILE, NAME_PATTERN, digest, parse_manifest, read_bytes
from models.null import NAME as NULL
from models.null import NullModel
from models.protocols import Model
from models.release import Release, VersionKey

SHIPPED = Path(__file__).parent / "shipped"

_PREFIX = re.compile(r"[0-9]+(?:\.[0-9]+){0,2}")
# No separator and no dot in a name: whatever is asked for stays inside the repository.
_ASKED = re.compile(rf"(?P<name>{NAME_PATTERN})(?::(?P<wanted>[a-z0-9_.]+))?")
_VERSIONED = re.compile(rf"(?P<name>{NAME_PATTERN}?)_v(?P<prefix>{_PREFIX.pattern})")

_USED = ".used"
_NOTED_EVERY = 3_600.0

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Share:
    """A version and its part of the claims, in percent."""

    version: str
    weight: int


@dataclass(frozen=True, slots=True)
class Target:
    """What a name means now: one version, or several in shares, oldest first."""

    name: str
    shares: tuple[Share, ...]

    @property
    def oldest(self) -> str:
        """The version for who does not divide claims."""
        return self.shares[0].version


class Repository:
    """The versions under `root` and those that ship; where both have one, the one under `root` counts.

    `root` None: only what ships. Nothing here writes but `note_use`. Safe to use from any thread.
    """

    def __init__(
        self, root: Path | None = None, shipped: Path = SHIPPED, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.root = root
        self.shipped = shipped
        self._wall = wall
        self._releases: dict[tuple[str, str], tuple[Stamp, Release]] = {}
        self._aliases: dict[str, tuple[Stamp, Aliases]] = {}
        self._was_filled = False

    def names(self) -> list[str]:
        """Models that have a version. Raises UnreachableError."""
        places = self._places()
        return [name for name in names_in(places) if folders_of(places, name)]

    def versions(self, name: str) -> list[str]:
        """Versions of a model, ascending. Raises UnreachableError."""
        if not NAME.fullmatch(name):
            return []
        return list(folders_of(self._places(), name))

    def walk(self) -> list[Path]:
        """Folders of all versions, by name and ascending, with one look at the root. Raises UnreachableError."""
        places = self._places()
        return [folder for name in names_in(places) for folder in folders_of(places, name).values()]

    def owned(self, name: str) -> list[str]:
        """Versions of a model under `root`, ascending."""
        return sorted(versions_in(self.root / name), key=ordinal) if self.root else []

    def aliases(self, name: str) -> Aliases:
        """Aliases of a model. Raises ManifestError for a file that holds none, UnreachableError."""
        if self.root is None:
            return Aliases()
        try:
            stamp = _stamp(self.root / name / ALIASES)
            known = self._aliases.get(name)
            if known is None or known[0] != stamp:
                known = self._aliases[name] = (stamp, read_aliases(self.root / name))
        except FileNotFoundError:
            return Aliases()
        except OSError as error:
            raise unreachable(self.root, error) from error
        return known[1]

    def resolve(self, reference: str, version: str = LATEST) -> Target:
        """What a name means now; `version` is `latest`, an alias, a version or the beginning of one.

        `claims_filter` and `claims_filter:latest` are the highest version, `claims_filter_v2.1` the highest 2.1.x,
        `claims_filter:2.1.0` that one, `claims_filter:production` what was promoted. Raises UnknownModelError naming
        the nearest, ManifestError or UnreachableError.
        """
        for name, within, wanted in _readings(reference):
            if wanted and version not in (LATEST, wanted):
                raise UnknownModelError(
                    f"{reference!r} and version {version!r} are two versions; name one of them"
                )
            known = [found for found in self.versions(name) if _fits(found, within)]
            shares = self._shares(name, known, wanted or version) if known else ()
            if shares:
                return Target(name, shares)
        raise self._unknown(reference, version)

    def release(self, name: str, version: str) -> Release:
        """A version, its manifest read and checked. Raises UnknownModelError, ManifestError or UnreachableError."""
        folder = self.place(name, version)
        if folder is None:
            raise self._unknown(f"{name}:{version}", LATEST)
        return self.read(folder)

    def read(self, folder: Path) -> Release:
        """The version in a folder that `place` or `walk` gave. Raises ManifestError or UnreachableError."""
        exactly = folder.parent.name, folder.name
        try:
            stamp = _stamp(folder / FILE)
            known = self._releases.get(exactly)
            if known is None or known[0] != stamp:
                known = self._releases[exactly] = (stamp, _read(folder))
        except OSError as error:
            raise unreachable(folder, error) from error
        return known[1]

    def folder(self, key: VersionKey) -> Path:
        """Where the files of a version are. Raises UnknownModelError."""
        if (folder := self.place(key.name, key.version)) is None:
            raise self._unknown(str(key), LATEST)
        return folder

    def place(self, name: str, version: str) -> Path | None:
        """Folder of exactly that version, if there is one. Raises UnreachableError where that cannot be told."""
        if not (NAME.fullmatch(name) and VERSION.fullmatch(version)):
            return None
        for folder in (root / name / version for root in self._places()):
            try:
                if is_there(folder / FILE):
                    return folder
            except OSError as error:
                raise unreachable(folder, error) from error
        return None

    def lacks_manifest(self, name: str, version: str) -> bool:
        """Whether a folder lies under `root` in the place of that version without a manifest: a copy that stopped.

        Raises UnreachableError.
        """
        if self.root is None or not (NAME.fullmatch(name) and VERSION.fullmatch(version)):
            return False
        folder = self.root / name / version
        try:
            return not folder.is_symlink() and folder.is_dir() and not is_there(folder / FILE)
        except OSError as error:
            raise unreachable(folder, error) from error

    def note_use(self, key: VersionKey) -> None:
        """A version is in use: garbage collection leaves it. At most one write an hour and version.

        A repository that cannot be written to keeps no notes, and says nothing: reading from it is all right, and who
        collects its garbage is told that nothing was noted.
        """
        if self.root is None:
            return
        note = self._note(key.name, key.version)
        now = self._wall()
        try:
            if note.exists() and now - note.stat().st_mtime < _NOTED_EVERY:
                return
            note.parent.mkdir(exist_ok=True)
            note.touch()
            os.utime(note, (now, now))
        except OSError:
            return

    def times(self, name: str, version: str) -> tuple[float, float]:
        """When a version was published and last used (or else published), in seconds since the epoch.

        Raises UnknownModelError or OSError.
        """
        if (folder := self.place(name, version)) is None:
            raise self._unknown(f"{name}:{version}", LATEST)
        return self.times_of(folder)

    def times_of(self, folder: Path) -> tuple[float, float]:
        """The same of a version in a folder that `place` or `walk` gave. Raises OSError."""
        published = (folder / FILE).lstat().st_mtime
        note = self._note(folder.parent.name, folder.name)
        return published, max(published, note.stat().st_mtime) if note.exists() else published

    def forget_use(self, name: str, version: str) -> None:
        """The version is gone; so is the note of its use."""
        if self.root is not None:
            self._note(name, version).unlink(missing_ok=True)

    def _note(self, name: str, version: str) -> Path:
        return (self.root or self.shipped) / _USED / f"{name}-{version}"

    def _places(self) -> tuple[Path, ...]:
        if self.root is None:
            return (self.shipped,)
        if not is_folder(self.root):
            raise NoFolderError(
                f"{self.root}: there is no such folder; mount the repository, or push a first version into it"
            )
        filled = bool(entries_in(self.root))
        if self._was_filled and not filled:
            # A mount point without its mount: what ships must not take the place of what was pushed.
            raise UnreachableError(f"{self.root}: it is empty and was not before; mount the repository again")
        self._was_filled = filled
        return (self.root, self.shipped)

    def _shares(self, name: str, known: list[str], wanted: str) -> tuple[Share, ...]:
        """What is wanted of the known versions, which ascend; nothing when it is not among them."""
        if wanted == LATEST:
            return (Share(known[-1], 100),)
        if _PREFIX.fullmatch(wanted):
            return tuple(Share(version, 100) for version in known if _fits(version, wanted))[-1:]
        alias = self.aliases(name).aliases.get(wanted)
        named = alias.now.shares if alias else {}
        if missing := named.keys() - set(known):
            raise UnknownModelError(
                f"{name}:{wanted} names {', '.join(sorted(missing))}, which is not there or not what was asked for; "
                "push it again, promote another, or roll back"
            )
        return tuple(Share(version, named[version]) for version in sorted(named, key=ordinal))

    def _unknown(self, reference: str, version: str) -> UnknownModelError:
        asked = repr(reference) if version == LATEST else f"{reference!r} with version {version!r}"
        near = difflib.get_close_matches(reference, [NULL, *self._labels()], 3, 0.0)
        return UnknownModelError(f"no model {asked} in {self._place}; the nearest are {', '.join(near)}")

    @property
    def _place(self) -> str:
        """For people who ask for what is not there."""
        unnamed = "what ships, and no repository is named (cache.repository, CLAIMSTREAM_CACHE__REPOSITORY)"
        return unnamed if self.root is None else str(self.root)

    def _labels(self) -> list[str]:
        """Names that would have been found."""
        names = self.names()
        minors = {
            f"{name}_v{version.rpartition('.')[0]}" for name in names for version in self.versions(name)
        }
        return sorted(minors | {f"{name}:{alias}" for name in names for alias in self.aliases(name).aliases})


def open_model(
    name: str,
    *,
    repository: Path | None = None,
    device: str = CPU,
    precision: str = "fp32",
    threads: int | None = None,
) -> Model:
    """A verified model, ready to score; of a weighted alias, the version that the first claims get.

    `null` is built in; for other names see `Repository.resolve`, for devices `models.devices.place`. Raises
    UnknownModelError naming the nearest, UnavailableError, ManifestError or ArtifactError, and MemoryError or
    DeviceError where the device is to blame.
    """
    found = place(device)
    if name == NULL:
        return NullModel()
    versions = Repository(repository)
    target = versions.resolve(name)
    release = versions.release(target.name, target.oldest)
    # torch takes seconds to import, which whoever only looks up names, or scores with `null`, does not owe.
    from models.loading import load

    return load(versions.folder(release.key), precision=precision, device=found, threads=threads)


def is_known(name: str, repository: Path | None = None) -> bool:
    """Whether `open_model` would find something of that name."""
    if name == NULL:
        return True
    try:
        Repository(repository).resolve(name)
    except UnknownModelError:
        return False
    return True


def _readings(reference: str) -> Iterator[tuple[str, str, str]]:
    """What a reference may mean: the model, the beginning of its versions, and what is wanted of them."""
    if asked := _ASKED.fullmatch(reference):
        yield asked["name"], "", asked["wanted"] or ""
    if versioned := _VERSIONED.fullmatch(reference):
        yield versioned["name"], versioned["prefix"], ""


def _fits(version: str, prefix: str) -> bool:
    return not prefix or f"{version}.".startswith(f"{prefix}.")


def _stamp(path: Path) -> Stamp:
    state = path.lstat()
    return state.st_mtime_ns, state.st_size, state.st_ino


def _read(folder: Path) -> Release:
    if folder.parent.is_symlink():
        raise ManifestError(f"{folder.parent}: a link; links are not followed")
    content = read_bytes(folder)
    manifest = parse_manifest(content, folder / FILE)
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise ManifestError(
            f"{folder}: its manifest is that of {manifest.name} {manifest.version}; push it anew"
        )
    return Release(VersionKey(manifest.name, manifest.version, digest(content)), manifest)
