"""Versions of random bytes, for benchmarks of the tiers: nothing that a tier does depends on what a file means."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Mapping

from blake3 import blake3

from models.digests import chunk_digest, spans
from models.features import FeatureSpec
from models.manifest import Architecture, FileEntry, Manifest, MeasuredBytes, Variant, digest, encoded
from models.release import Content, Release, VersionKey

_BLOCK = 1 << 20


def make_release(name: str, version: str, sizes: Mapping[str, int]) -> tuple[Release, Content]:
    """A version whose files have these names and sizes in bytes, and its content; the first file is the weights."""
    content = {file: _random(size) for file, size in sizes.items()}
    total = sum(sizes.values())
    manifest = Manifest(
        name=name,
        version=version,
        features=FeatureSpec(length=4, codes=1, token_attributes=(), number_attributes=(), buckets=1),
        architecture=Architecture(width=8, heads=1, layers=1),
        threshold=0.5,
        precisions={"fp32": Variant(file=next(iter(sizes)))},
        bytes=MeasuredBytes(device=total, memory=total, redis=total, repository=total),
        files={file: _entry(data) for file, data in content.items()},
        data="random bytes",
        parents=(),
    )
    return Release(VersionKey(name, version, digest(encoded(manifest))), manifest), content


def _random(size: int) -> memoryview:
    """One random block again and again, each with its place in front: quick to make, no two chunks alike."""
    area = mmap.mmap(-1, max(size, 1))
    block = os.urandom(_BLOCK)
    for start in range(0, size, _BLOCK):
        part = (start.to_bytes(8, "little") + block[8:])[: size - start]
        area[start : start + len(part)] = part
    return memoryview(area)[:size]


def _entry(data: memoryview) -> FileEntry:
    return FileEntry(
        bytes=len(data),
        blake3=blake3(data).hexdigest(),
        sha256=hashlib.sha256(data).hexdigest(),
        chunks=tuple(chunk_digest(data[start:end]) for start, end in spans(len(data))),
    )


class Unhurried:
    """A guard that lets a load take as long as it takes."""

    def check(self) -> None:
        """Nothing ends it."""

    def remaining(self) -> float:
        return float("inf")
