"""The files of a version against its manifest: sizes, digests, and that each is what it has to be."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models import artifact
from models.digests import FileDigests, chunks_of, digest_chunks
from models.errors import ArtifactError
from models.features import digest
from models.manifest import FileEntry, Manifest, MeasuredBytes
from models.vocabulary import FILE as VOCABULARY
from models.vocabulary import parsed

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with the files of a version: under `anchor`, to which the user's own links may lead, no part is one."""

    anchor: Path
    parts: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.anchor.joinpath(*self.parts)

    @classmethod
    def of_version(cls, folder: Path) -> Place:
        """The place of the version in `<name>/<version>`."""
        return cls(folder.parent.parent, (folder.parent.name, folder.name))

    def open(self, name: str, size: int) -> int:
        """A descriptor of a file. Raises ArtifactError."""
        return artifact.opened(self.anchor, *self.parts, name, size=size)


def damaged(place: Place, manifest: Manifest, advance: Advance = lambda _: None) -> Iterator[ArtifactError]:
    """What is wrong with the files, one error a file; `advance` is told the bytes that were read."""
    for name, file in manifest.files.items():
        try:
            with open(place.open(name, file.bytes), "rb") as source:  # noqa: PTH123 - a descriptor
                check_digests(digest_chunks(chunks_of(source, advance)), file, place.folder / name)
        except ArtifactError as error:
            yield error
        except OSError as error:
            yield ArtifactError(f"{place.folder / name}: cannot be read: {error.strerror}")


def check_digests(found: FileDigests, file: FileEntry, path: Path) -> None:
    """Raises ArtifactError when a file is not the one of its manifest."""
    if found.bytes != file.bytes:
        raise ArtifactError(
            f"{path}: {found.bytes} bytes, its manifest says {file.bytes}; it is truncated or another"
        )
    for algorithm, seen, wanted in (
        ("BLAKE3", found.blake3, file.blake3),
        ("SHA-256", found.sha256, file.sha256),
    ):
        if seen != wanted:
            raise ArtifactError(
                f"{path}: its {algorithm} is {seen[:12]}…, its manifest says {wanted[:12]}…; it is damaged or another"
            )
    if found.chunks != file.chunks:
        raise ArtifactError(
            f"{path}: the digests of its chunks are not those of its manifest; train or push it anew"
        )


def measured(place: Place, manifest: Manifest) -> MeasuredBytes:
    """Bytes of the version in each tier; on a device, of its largest precision.

    Raises ArtifactError for a file that is not of its kind, or weights that were trained on other features.
    """
    tensors = {}
    for name, kind in artifact.kinds(manifest).items():
        with _mapped(place, name, manifest.files[name].bytes) as content:
            tensors[name] = artifact.check(content, str(place.folder / name), kind)
            if name == VOCABULARY and manifest.features_digest is not None:
                check_features(manifest, parsed(bytes(content), str(place.folder / name)), str(place.folder))
    size = sum(file.bytes for file in manifest.files.values())
    device = max(tensors[variant.file] for variant in manifest.precisions.values())
    return MeasuredBytes(device=device, memory=size, redis=size, repository=size)


def check_features(manifest: Manifest, words: Sequence[str], label: str) -> None:
    """Raises ArtifactError when the weights were trained on other features; without a digest nothing is known."""
    wanted = manifest.features_digest
    if wanted is not None and (found := digest(manifest.features, words)) != wanted:
        raise ArtifactError(
            f"{label}: its weights were trained on another feature spec ({wanted}) than the manifest and {VOCABULARY} "
            f"declare ({found}): restore both as `models train` wrote them, or train anew"
        )


@contextmanager
def _mapped(place: Place, name: str, size: int) -> Iterator[memoryview]:
    with open(place.open(name, size), "rb") as source:  # noqa: PTH123 - a descriptor
        if size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(source.fileno(), size, prot=mmap.PROT_READ) as area:
            content = memoryview(area)
            try:
                yield content
            finally:
                content.release()
