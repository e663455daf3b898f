"""A published version as the tiers see it: what it is called, and what its bytes must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.manifest import Manifest

# File name to its bytes.
Content = Mapping[str, memoryview]


@dataclass(frozen=True, slots=True, order=True)
class VersionKey:
    """Names one content: a version of the same name with another manifest is another key."""

    name: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def folder(self) -> str:
        """The key as one plain file name."""
        return f"{self.name}-{self.version}-{self.digest}"

    @classmethod
    def of_folder(cls, folder: str) -> VersionKey:
        """The key whose `folder` this is. Raises ValueError for any other text."""
        name, version, digest = folder.rsplit("-", 2)
        return cls(name, version, digest)


@dataclass(frozen=True, slots=True)
class Release:
    """A version: its manifest was read from the repository, its files may come from any tier."""

    key: VersionKey
    manifest: Manifest

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.manifest.files.values())
