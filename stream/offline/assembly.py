"""The output while it grows: results gathered into batches that suit its format."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow as pa

from models import durable
from stream.offline.files import opened, suffix_of

# Small row groups make Parquet large and slow to read; of large ones much is left to write when all is scored.
_TOGETHER = 16_384


class Assembly:
    """A file that is written from its beginning, and good for nothing before `finish`. Every method raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._write = self._stack.enter_context(opened(path, suffix_of(path)))
        self._waiting: list[pa.RecordBatch] = []

    def add(self, results: pa.RecordBatch) -> None:
        """Take the next results."""
        self._waiting.append(results)
        if sum(batch.num_rows for batch in self._waiting) >= _TOGETHER:
            self._flush()

    def finish(self) -> None:
        """Write what is left, and let it be durable."""
        self._flush()
        self._stack.close()
        durable.sync(self._path)

    def abandon(self) -> None:
        """Let go of the file; after `finish` it stays as it is. An error of what is thrown away is none."""
        with suppress(OSError):
            self._stack.close()

    def _flush(self) -> None:
        if self._waiting:
            self._write(pa.concat_batches(self._waiting))
            self._waiting = []
