"""What the steps of a pipeline and its consumer are told once: how often, how much, and whom to wake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, in seconds, each thing is done or looked at again when no signal comes."""

    commit: float = 0.2
    gauges: float = 1.0
    hold: float = 0.02
    fair: float = 0.1
    paused_poll: float = 0.05


# One of the largest batches is scored while a poll is read and decoded, which may take longer: another is ready then.
BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """What intake compares the stores with. The arena has room for one poll beyond `claims`.

    When every lane holds `ahead` claims, intake lets the log keep the rest: larger polls cost less a claim.
    `budget`: seconds from a claim's timestamp to its acknowledgement.
    """

    claims: int
    bytes: int
    output_claims: int
    ahead: int
    budget: float


@dataclass(frozen=True, slots=True)
class PollLimits:
    """`wait` seconds for a first record; when records are flowing, at most `coalesce` seconds for `claims` of them.

    Where `held_bytes` come together of records that may not be taken yet, no partition is read.
    """

    claims: int
    wait: float
    coalesce: float
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Signals:
    """Wakes of the other loops, and of whoever waits for progress in a drain."""

    intake: Callable[[], None]
    scoring: Callable[[], None]
    slow: Callable[[], None]
    output: Callable[[], None]
    loader: Callable[[], None]
    progress: Callable[[], None]
    transactions: Callable[[], None]
