"""What workers report to the supervisor, and what it tells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models import CacheStatus
from stream.decisions import BatchingStatus
from stream.metrics import Snapshot

STOP = "stop"

CacheAction = Literal["preload", "evict"]


@dataclass(frozen=True, slots=True)
class Joining:
    """A worker has its models warm and joins the group: from now on it may hold claims."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has its models warm and has joined the group."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker left; `unfinished` claims stay uncommitted. `error` is empty after a clean end.

    An `exit_code` other than 0 and 1 is that of an error which the next worker would meet as well.
    """

    unfinished: int
    error: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class CacheCommand:
    """Asks a worker to load models, or to let them go; `number` comes back with the answer."""

    number: int
    action: CacheAction
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CacheAnswer:
    """What became of a command, one line a model; `failed` when any of it did not happen."""

    number: int
    lines: tuple[str, ...]
    failed: bool


Told = Joining | Ready | Snapshot | CacheStatus | BatchingStatus | CacheAnswer
Report = Told | Ended
