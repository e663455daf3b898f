"""Where a transfer puts its chunks: checked against the manifest and written while the next ones arrive."""

from __future__ import annotations

import mmap
import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from models.digests import CHUNK_BYTES, chunk_digest
from models.errors import ArtifactError
from models.release import Release

Write = Callable[[str, int, memoryview], None]

_BUFFERS = 4
_THREADS = 2
_LOOK_SECONDS = 0.1


class Sink:
    """Takes the chunks of one version in any order, from any number of threads; memory is a few chunks, ever.

    A transfer asks for a `buffer`, fills it and gives it to `put`. `write(file, offset, chunk)` gets only what was
    checked. The first error, ArtifactError for a bad chunk, is raised by the next call and by `finish`.
    """

    def __init__(self, release: Release, write: Write) -> None:
        self._files = release.manifest.files
        self._label = str(release.key)
        self._write = write
        self._missing = {
            (name, index) for name, file in self._files.items() for index in range(len(file.chunks))
        }
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="sink")
        self._pending: list[Future[Any]] = []
        self._error: BaseException | None = None
        largest = max((min(file.bytes, CHUNK_BYTES) for file in self._files.values()), default=0)
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(memoryview(mmap.mmap(-1, max(largest, 1))))

    def buffer(self, file: str, index: int) -> memoryview:
        """Room for one chunk, of its exact size. Waits until one of the few is free."""
        size = min(CHUNK_BYTES, self._files[file].bytes - index * CHUNK_BYTES)
        while True:
            self._raise()
            try:
                return self._free.get(timeout=_LOOK_SECONDS)[:size]
            except queue.Empty:
                continue

    def put(self, file: str, index: int, chunk: memoryview) -> None:
        """A chunk is complete: check it and write it, beside the transfer of the next."""
        self._raise()
        self._pending.append(self._pool.submit(self._keep, file, index, chunk))

    def finish(self) -> None:
        """Wait for all. Raises the first error, or ArtifactError when a chunk never came."""
        for pending in self._pending:
            pending.result()
        self._raise()
        if self._missing:
            file, index = min(self._missing)
            raise ArtifactError(f"{self._label}: {file}: chunk {index} did not arrive; load it again")

    def close(self) -> None:
        """Stop writing; nothing is written after this returns."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _keep(self, file: str, index: int, chunk: memoryview) -> None:
        try:
            expected = self._files[file].chunks[index]
            if (found := chunk_digest(chunk)) != expected:
                raise ArtifactError(
                    f"{self._label}: {file}, chunk {index}: its BLAKE3 is {found[:12]}…, the manifest says "
                    f"{expected[:12]}…; this copy is damaged: if it is the repository's, push the version anew"
                )
            self._write(file, index * CHUNK_BYTES, chunk)
            self._missing.discard((file, index))
        except BaseException as error:
            self._error = self._error or error
            raise
        finally:
            self._free.put(memoryview(chunk.obj))

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
