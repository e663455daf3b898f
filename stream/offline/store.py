"""What a run has scored so far, durable portion by portion in a folder beside its output, until the output is whole.

A portion is one Arrow file, synced and renamed: a run that is killed goes on behind the last one. The output itself
grows beside them and is renamed at the end, so that nobody ever sees half of it; what a killed run had of it is written
anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from models import durable
from models.locks import FileLock
from stream.errors import ClaimstreamError, UsageError
from stream.offline.assembly import Assembly
from stream.offline.files import suffix_of
from stream.offline.identity import Identity, difference_of
from stream.offline.portions import Portion
from stream.offline.scorer import Scored
from stream.publishing import Reject
from stream.publishing.file_kinds import mode_of

_SEGMENT = re.compile(r"(\d{12})-(\d{12})\.arrow")
_RUN, _FINISHED, _LOCK = "run.json", "finished", "lock"
# With a point in front: what a write that was killed leaves.
_OURS = re.compile(rf"{_SEGMENT.pattern}|run\.json|finished|lock|assembled\.\w+|\.[\w.-]+\.[0-9a-f]{{32}}")
_LOST = b"claimstream.lost"


class Store:
    """The portions of one run. Not for two processes at once: the second is refused."""

    def __init__(self, output: Path, lock: FileLock) -> None:
        self._output = output
        self._lock = lock
        self._folder = folder_of(output)
        self._assembly: Assembly | None = None
        self.done = self._contiguous()

    @classmethod
    def open(cls, output: Path, identity: Identity) -> Store:
        """What was begun for this output, or a fresh start.

        Raises UsageError where the output is there already, or what was begun belongs to another input, mapping, model
        or batch size, or cannot be read or written; nothing is changed then.
        """
        suffix_of(output)
        folder = folder_of(output)
        if mode_of(folder) is None:
            if mode_of(output) is not None:
                raise _is_there(output)
            _create(folder)
        _check_ours(folder)
        try:
            lock = FileLock.attempt(folder / _LOCK, shared=False)
        except OSError as error:
            raise _unusable(folder, error) from error
        if lock is None:
            raise UsageError(f"another run writes {output}: wait for it, or name another --output")
        try:
            _check(folder, identity)
            store = cls(output, lock)
            if output.exists() and not store.delivered:
                raise _is_there(output)
        except OSError as error:
            lock.release()
            raise _unusable(folder, error) from error
        except BaseException:
            lock.release()
            raise
        return store

    @property
    def delivered(self) -> bool:
        """Whether the output stands at its place, and only the portions are still to be removed."""
        return (self._folder / _FINISHED).exists() and not self._assembled.exists() and self._output.exists()

    def keep(self, portion: Portion, scored: Scored) -> None:
        """Let what came of a portion be durable, and the output grow by it. Raises ClaimstreamError."""
        lost = json.dumps([asdict(each) for each in scored.lost]).encode()
        kept = scored.results.replace_schema_metadata({_LOST: lost})
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, kept.schema) as writer:
            writer.write_batch(kept)
        try:
            assembly = self._growing()
            name = f"{portion.first:012d}-{portion.end:012d}.arrow"
            durable.write(self._folder / name, buffer.getvalue().to_pybytes())
            assembly.add(scored.results)
        except OSError as error:
            raise self._unwritable(error) from error
        self.done = portion.end

    def lost(self) -> list[Reject]:
        """Claims without a result, in the order of the file."""
        if self.delivered:
            return [Reject(**each) for each in json.loads((self._folder / _FINISHED).read_bytes())]
        return [
            Reject(**each) for reader in self._readers() for each in json.loads(reader.schema.metadata[_LOST])
        ]

    def deliver(self) -> str | None:
        """Finish the output, put it in its place, and discard the portions. Raises ClaimstreamError."""
        if not self.delivered:
            try:
                self._growing().finish()
                lost = json.dumps([asdict(each) for each in self.lost()]).encode()
                durable.write(self._folder / _FINISHED, lost)
                if self._output.exists():
                    raise _is_there(self._output)
                self._assembled.replace(self._output)
                durable.sync_folder(self._output.parent)
            except OSError as error:
                raise self._unwritable(error) from error
        return self.discard()

    def discard(self) -> str | None:
        """Remove the portions, and let another run have the output; what is to be said where some of it stays."""
        try:
            self._remove()
        except OSError as error:
            return (
                f"{self._folder} cannot be removed: {error.strerror or error}; nothing in it is needed, remove it by"
                " hand"
            )
        return None

    def _remove(self) -> None:
        """What tells that the output is whole, and of what, goes last."""
        if self._assembly is not None:
            self._assembly.abandon()
            self._assembly = None
        last = [self._folder / name for name in (_FINISHED, _RUN, _LOCK)]
        for path in [*(path for path in self._folder.iterdir() if path not in last), *last]:
            if _OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)
        # NFS keeps a file that is open, under another name, and with it the folder.
        self._lock.release()
        self._folder.rmdir()

    def close(self) -> None:
        """Let another run have it."""
        if self._assembly is not None:
            self._assembly.abandon()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _assembled(self) -> Path:
        return self._folder / f"assembled{self._output.suffix}"

    def _growing(self) -> Assembly:
        """The output so far, begun with the portions that an earlier run has left."""
        if self._assembly is None:
            self._assembly = Assembly(self._assembled)
            for reader in self._readers():
                for place in range(reader.num_record_batches):
                    self._assembly.add(reader.get_batch(place).replace_schema_metadata(None))
        return self._assembly

    def _readers(self) -> Iterator[Any]:
        start = 0
        segments = self._segments()
        while start in segments:
            end, path = segments[start]
            with pa.memory_map(str(path)) as source:
                yield pa.ipc.open_file(source)
            start = end

    def _segments(self) -> dict[int, tuple[int, Path]]:
        """End and place of each portion, by its first claim."""
        found = ((_SEGMENT.fullmatch(path.name), path) for path in self._folder.iterdir())
        return {int(match[1]): (int(match[2]), path) for match, path in found if match}

    def _contiguous(self) -> int:
        segments, done = self._segments(), 0
        while done in segments:
            done = segments[done][0]
        return done

    def _unwritable(self, error: OSError) -> ClaimstreamError:
        return ClaimstreamError(
            f"{self._output} cannot be written: {error.strerror or error}; mend that, and the same command goes on at"
            f" claim {self.done:,}"
        )


def folder_of(output: Path) -> Path:
    """Where the portions of an output are until it is whole."""
    return output.with_name(f"{output.name}.partial")


def _create(folder: Path) -> None:
    """Leaves it to the lock who says what for: another run may have made it, or use it, meanwhile."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; name another --output") from error


def _check_ours(folder: Path) -> None:
    """Raises UsageError for a folder with anything in it that no run leaves: all of it is removed in the end."""
    try:
        foreign = [path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name)]
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}; name another --output") from error
    if foreign:
        raise UsageError(f"{folder} is not what a run leaves: it holds {foreign[0]}; name another --output")


def _check(folder: Path, identity: Identity) -> None:
    """Raises UsageError when what was begun in the folder is something else. Only for who holds its lock."""
    try:
        begun = json.loads((folder / _RUN).read_bytes())
    except FileNotFoundError:
        # A fresh start, or whoever made the folder was killed before it said what for.
        durable.write(folder / _RUN, json.dumps(asdict(identity), indent=1).encode())
        return
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} is not what a run leaves: {error}; remove it to start over") from error
    if difference := difference_of(begun, identity):
        raise UsageError(
            f"{folder} {difference}. Go on with what it was begun with, name another --output, or remove that folder to"
            " start over."
        )


def _unusable(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{folder} cannot be gone on with: {error.strerror or error}; call it as whoever began it, or name another"
        " --output"
    )


def _is_there(output: Path) -> UsageError:
    return UsageError(f"{output} is there already: name another --output, or remove it first")
