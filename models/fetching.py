"""Verified bytes of a version: out of memory, or brought there from Redis or the repository."""

from __future__ import annotations

import logging
import mmap
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from models.errors import AbsentError, ArtifactError, NoRoomError, TierError
from models.release import Content, Release
from models.tiers.memory import MemoryTier
from models.tiers.protocol import ByteTier, Guard, TierName
from models.tiers.sink import Sink
from models.turns import Turn

log = logging.getLogger(__name__)

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Fetched:
    """The files of a version, the tier that gave them, and what lets go of them."""

    content: Content
    source: TierName
    free: Callable[[], None]


class Fetcher:
    """Walks the tiers that hold bytes. A bad copy is purged, a tier that fails is passed by."""

    def __init__(self, memory: MemoryTier, sources: Sequence[ByteTier]) -> None:
        self._memory = memory
        self._sources = sources
        self._private = 0
        self._lock = threading.Lock()

    @property
    def private_bytes(self) -> int:
        """Bytes of versions that lie in this process's own memory."""
        return self._private

    def fetch(self, release: Release, guard: Guard, turn: Turn, own: Callable[[], None]) -> Fetched:
        """`turn` is taken for a transfer, not while waiting for other processes. `own` is called before the bytes come
        into this process's own memory, and may wait for room.

        Raises ArtifactError or AbsentError of the last tier that was asked; and what `guard` and `own` raise.
        """
        for _ in range(_TRIES):
            guard.check()
            turn.give_back()
            source = TierName.MEMORY
            if not self._memory.holds(release.key):
                try:
                    source = self._bring(release, guard, turn)
                except (NoRoomError, OSError) as error:
                    log.warning("%s: not kept in memory: %s", release.key, error)
                    break
            if (holding := self._memory.lease(release)) is not None:
                return Fetched(holding.content, source, holding.release)
        turn.give_back()
        own()
        return self._privately(release, guard, turn)

    def _bring(self, release: Release, guard: Guard, turn: Turn) -> TierName:
        """Into memory. The tier that gave it; memory itself when another process was faster."""
        with self._memory.loading(release, guard) as loading:
            if loading is None:
                return TierName.MEMORY
            turn.take()
            source = self._walk(release, loading.sink, guard)
            loading.keep(turn.seconds)
            return source

    def _privately(self, release: Release, guard: Guard, turn: Turn) -> Fetched:
        """Into this process's own memory, until `free` is called."""
        turn.take()
        maps = {name: mmap.mmap(-1, max(file.bytes, 1)) for name, file in release.manifest.files.items()}
        content = {
            name: memoryview(maps[name])[: file.bytes] for name, file in release.manifest.files.items()
        }
        for area in maps.values():
            # Python knows the advice where it was built, which is no kernel that takes it.
            with suppress(OSError, AttributeError):
                area.madvise(mmap.MADV_HUGEPAGE)

        def write(file: str, offset: int, chunk: memoryview) -> None:
            content[file][offset : offset + len(chunk)] = chunk

        source = self._walk(release, lambda: Sink(release, write), guard)
        self._count(release.bytes)
        return Fetched(content, source, lambda: self._count(-release.bytes))

    def _walk(self, release: Release, sink: Callable[[], Sink], guard: Guard) -> TierName:
        failed: TierError | ArtifactError | None = None
        for tier in self._sources:
            attempt = sink()
            try:
                if not tier.holds(release.key):
                    continue
                tier.read(release, attempt, guard)
                attempt.finish()
            except (AbsentError, ArtifactError) as error:
                tier.purge(release.key)
                failed = error
            except NoRoomError:
                raise
            except TierError as error:
                failed = error
            else:
                return tier.name
            finally:
                attempt.close()
            log.warning("%s: not from %s: %s", release.key, tier.name, failed)
        raise failed or AbsentError(f"{release.key}: no tier holds it; push it to the repository")

    def _count(self, change: int) -> None:
        with self._lock:
            self._private += change
