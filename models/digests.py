"""Digests of files: chunk by chunk for whoever loads, as a whole for whoever checks by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from blake3 import blake3

from models.errors import ArtifactError

CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileDigests:
    """Size of a file, its BLAKE3 and SHA-256 in hexadecimal, and the BLAKE3 of each chunk of CHUNK_BYTES."""

    bytes: int
    blake3: str
    sha256: str
    chunks: tuple[str, ...]


def chunk_digest(chunk: memoryview | bytes) -> str:
    """BLAKE3 of one chunk. Gives the interpreter lock up meanwhile."""
    return blake3(chunk).hexdigest()


def spans(size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each chunk of a file of so many bytes."""
    return ((start, min(start + CHUNK_BYTES, size)) for start in range(0, size, CHUNK_BYTES))


def digest_file(path: Path, advance: Callable[[int], None] = lambda _: None) -> FileDigests:
    """Read a file once for all its digests; `advance` is told the bytes of each chunk. Raises OSError."""
    with path.open("rb") as file:
        return digest_chunks(chunks_of(file, advance))


def chunks_of(file: BinaryIO, advance: Callable[[int], None]) -> Iterator[bytes]:
    """The rest of a file in chunks of CHUNK_BYTES."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
        advance(len(chunk))


def digest_chunks(content: Iterable[bytes]) -> FileDigests:
    """The digests of a file that comes in chunks of CHUNK_BYTES, only the last of them smaller."""
    whole, other = blake3(), hashlib.sha256()
    chunks: list[str] = []
    size = 0
    with ThreadPoolExecutor(1) as beside:
        for chunk in content:
            hashed = beside.submit(other.update, chunk)
            whole.update(chunk)
            chunks.append(chunk_digest(chunk))
            hashed.result()
            size += len(chunk)
    return FileDigests(size, whole.hexdigest(), other.hexdigest(), tuple(chunks))


class ChunkChecks:
    """Checks chunks beside the transfer that brings them; the first bad one is raised by `add` or `finish`."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="digest")
        self._pending: list[Future[Any]] = []

    def add(self, chunk: memoryview, digest: str, place: str) -> None:
        """Begin to check a chunk that is complete; `place` names it in the error."""
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()
        self._pending.append(self._pool.submit(_check, chunk, digest, place))

    def finish(self) -> None:
        """Wait for all. Raises ArtifactError for the first chunk that is not what it should be."""
        for pending in self._pending:
            pending.result()
        self._pending.clear()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> ChunkChecks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_chunks(content: memoryview, digests: Iterable[str], place: str) -> None:
    """Check a whole file that is there already. Raises ArtifactError."""
    with ChunkChecks() as checks:
        for (start, end), digest in zip(spans(len(content)), digests, strict=True):
            checks.add(content[start:end], digest, f"{place}, bytes {start} to {end}")
        checks.finish()


def _check(chunk: memoryview, digest: str, place: str) -> None:
    if (found := chunk_digest(chunk)) != digest:
        raise ArtifactError(
            f"{place}: its BLAKE3 is {found[:12]}…, the manifest says {digest[:12]}…; "
            "this copy is damaged: push the version anew if the repository's is"
        )
