"""One worker's place in its instance, as the supervisor knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from models import CacheStatus
from stream.backoff import Backoff
from stream.decisions import BatchingStatus
from stream.metrics import Snapshot
from stream.pieces import Pieces
from stream.reports import Ended

_LOOP = 3


@dataclass(slots=True)
class Slot:
    """Its process comes and goes, its number stays."""

    number: int
    process: BaseProcess | None = None
    connection: Connection | None = None
    pieces: Pieces = field(default_factory=Pieces)
    # When its process joined the group.
    joined: float | None = None
    # Seconds without a report.
    silent: float = 0.0
    ready: bool = False
    latest: Snapshot = field(default_factory=Snapshot)
    cache: CacheStatus | None = None
    batching: BatchingStatus | None = None
    start_at: float | None = None
    ended: Ended | None = None
    # Why a process of it ended last.
    error: str = ""
    # Claims that its last worker left when it failed.
    left: int = 0
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def joining(self) -> bool:
        """Whether its process may hold claims."""
        return self.joined is not None

    def steady(self, now: float, seconds: float) -> bool:
        """Whether its process has been in the group for so long."""
        return self.joined is not None and now - self.joined >= seconds

    def loops(self, now: float, seconds: float) -> bool:
        """Whether it keeps ending before it has been in the group for so long."""
        return self.backoff.failures >= _LOOP and not self.steady(now, seconds)
